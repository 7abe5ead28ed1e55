UPDATE campaign
   SET version = (SELECT version FROM campaign_version WHERE only_row = 1)
 WHERE coupon_id = ?
