-- One statement, so one snapshot: every campaign up to newest_version is in it. One row even if nothing changed. Closed
-- campaigns come without shards.
SELECT newest.version AS newest_version, campaign.coupon_id, campaign.policy_id, campaign.total,
       campaign.per_user_limit, campaign.state, campaign.opens_at_ms, campaign.closes_at_ms, shard.shard_no,
       shard.remaining
  FROM campaign_version AS newest
  LEFT JOIN campaign ON campaign.version > ?
  LEFT JOIN coupon_issue_shard AS shard ON shard.coupon_id = campaign.coupon_id AND campaign.state <> 'CLOSED'
 WHERE newest.only_row = 1
 ORDER BY campaign.coupon_id, shard.shard_no
