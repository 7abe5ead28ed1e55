//! The audit of a campaign, from rows that were read in one snapshot.

use std::collections::BTreeMap;

use super::LedgerError;
use super::rows::{Columns, column, count};
use crate::coupon::{Audit, Campaign, Reason, ShardAudit, ShardNo};

/// A row of `audit_outcomes.sql`.
struct Tally {
    status: String,
    shard: Option<u32>,
    picked: Option<u32>,
    outcomes: u64,
}

impl Tally {
    fn of(row: &impl Columns) -> Result<Self, LedgerError> {
        let step = "count the outcomes";
        Ok(Self {
            status: column(row, step, "status")?,
            shard: column(row, step, "shard_no")?,
            picked: column(row, step, "picked_shard_no")?,
            outcomes: count(row, step, "outcomes")?,
        })
    }
}

/// Adds up the rows of `audit_outcomes.sql` and the one of `audit_users.sql`.
pub(super) fn audit<R: Columns>(campaign: &Campaign, outcomes: &[R], users: &R) -> Result<Audit, LedgerError> {
    let tallies = outcomes.iter().map(Tally::of).collect::<Result<Vec<_>, _>>()?;
    let total_of =
        |status: &str| tallies.iter().filter(|tally| tally.status == status).map(|tally| tally.outcomes).sum();
    let granted: u64 = total_of("ISSUED");
    let remaining = campaign.remaining();
    Ok(Audit {
        coupon_id: campaign.coupon_id,
        total: campaign.total,
        granted,
        remaining,
        balanced: granted + remaining == campaign.total,
        sold_out: total_of(Reason::SoldOut.as_str()),
        user_limit: total_of(Reason::UserLimit.as_str()),
        invalid: total_of(Reason::Invalid.as_str()),
        per_user_limit: campaign.per_user_limit,
        users_over_limit: count(users, "count the users", "users_over_limit")?,
        users: count(users, "count the users", "users")?,
        shards: by_shard(campaign, &tallies),
    })
}

fn by_shard(campaign: &Campaign, tallies: &[Tally]) -> Vec<ShardAudit> {
    let empty = |shard_no| ShardAudit { shard_no, remaining: 0, granted: 0, picked: 0 };
    let mut shards: BTreeMap<ShardNo, ShardAudit> = BTreeMap::new();
    for stock in &campaign.shards {
        shards.entry(stock.shard_no).or_insert(empty(stock.shard_no)).remaining = stock.remaining;
    }
    for tally in tallies {
        if let Some(shard_no) = tally.shard.map(ShardNo) {
            shards.entry(shard_no).or_insert(empty(shard_no)).granted += tally.outcomes;
        }
        if let Some(shard_no) = tally.picked.map(ShardNo) {
            shards.entry(shard_no).or_insert(empty(shard_no)).picked += tally.outcomes;
        }
    }
    shards.into_values().collect()
}
