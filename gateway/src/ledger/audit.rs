//! The audit of a campaign, from rows that were read in one snapshot.

use std::collections::BTreeMap;

use super::LedgerError;
use super::rows::{self, Columns, column, count};
use crate::coupon::{Audit, Campaign, Reason, Recount, ShardAudit, ShardNo};

/// The outcomes of a campaign, added up.
#[derive(Default, PartialEq, Eq)]
struct Totals {
    granted: u64,
    sold_out: u64,
    user_limit: u64,
    invalid: u64,
    users: u64,
    shards: BTreeMap<ShardNo, ShardTotals>,
}

#[derive(Default, PartialEq, Eq)]
struct ShardTotals {
    granted: u64,
    picked: u64,
}

impl Totals {
    /// Adds up the rows of `select_tallies.sql`.
    fn of_tallies<R: Columns>(tallies: &[R]) -> Result<Self, LedgerError> {
        let mut totals = Self::default();
        for row in tallies {
            let number = |name| count(row, "read the tallies", name);
            let granted = number("granted")?;
            totals.granted += granted;
            totals.sold_out += number("sold_out")?;
            totals.user_limit += number("user_limit")?;
            totals.invalid += number("invalid")?;
            totals.users += number("users")?;
            let shard = totals.shard(column(row, "read the tallies", "shard_no")?);
            shard.granted += granted;
            shard.picked += number("picked")?;
        }
        Ok(totals)
    }

    /// Adds up the rows of `recount_outcomes.sql` and the one of `recount_users.sql`.
    fn of_outcomes<R: Columns>(outcomes: &[R], users: &R) -> Result<Self, LedgerError> {
        let step = "count the outcomes";
        let mut totals = Self { users: count(users, step, "users")?, ..Self::default() };
        for row in outcomes {
            let (status, outcomes): (String, u64) = (column(row, step, "status")?, count(row, step, "outcomes")?);
            match Reason::ALL.into_iter().find(|reason| reason.as_str() == status) {
                None => totals.granted += outcomes,
                Some(Reason::SoldOut) => totals.sold_out += outcomes,
                Some(Reason::UserLimit) => totals.user_limit += outcomes,
                Some(Reason::Invalid) => totals.invalid += outcomes,
            }
            if let Some(shard) = column(row, step, "shard_no")? {
                totals.shard(shard).granted += outcomes;
            }
            if let Some(picked) = column(row, step, "picked_shard_no")? {
                totals.shard(picked).picked += outcomes;
            }
        }
        Ok(totals)
    }

    fn shard(&mut self, shard: u32) -> &mut ShardTotals {
        self.shards.entry(ShardNo(shard)).or_default()
    }
}

/// From the tallies.
pub(super) fn audit<R: Columns>(campaign: &Campaign, tallies: &[R]) -> Result<Audit, LedgerError> {
    Ok(of_totals(campaign, Totals::of_tallies(tallies)?))
}

/// From the tallies, compared with the outcomes themselves. `deletion` is the row of `select_deletion_began.sql`.
pub(super) fn recount<R: Columns>(
    campaign: &Campaign,
    tallies: &[R],
    outcomes: &[R],
    users: &R,
    deletion: &R,
) -> Result<Audit, LedgerError> {
    let (tallied, counted) = (Totals::of_tallies(tallies)?, Totals::of_outcomes(outcomes, users)?);
    let recount = Recount {
        agrees: tallied == counted,
        outcomes_deleted: rows::outcomes_deleted(deletion)?,
        granted: counted.granted,
        sold_out: counted.sold_out,
        user_limit: counted.user_limit,
        invalid: counted.invalid,
        users: counted.users,
        users_over_limit: count(users, "count the users", "users_over_limit")?,
    };
    Ok(Audit { recount: Some(recount), ..of_totals(campaign, tallied) })
}

fn of_totals(campaign: &Campaign, totals: Totals) -> Audit {
    let Totals { granted, sold_out, user_limit, invalid, users, mut shards } = totals;
    let remaining = campaign.remaining();
    let stock: BTreeMap<ShardNo, u64> = campaign.shards.iter().map(|stock| (stock.shard_no, stock.remaining)).collect();
    for shard_no in stock.keys() {
        shards.entry(*shard_no).or_default();
    }
    let shard = |(shard_no, ShardTotals { granted, picked })| ShardAudit {
        shard_no,
        remaining: stock.get(&shard_no).copied().unwrap_or(0),
        granted,
        picked,
    };
    Audit {
        coupon_id: campaign.coupon_id,
        total: campaign.total,
        granted,
        remaining,
        balanced: granted + remaining == campaign.total,
        sold_out,
        user_limit,
        invalid,
        per_user_limit: campaign.per_user_limit,
        users,
        shards: shards.into_iter().map(shard).collect(),
        recount: None,
    }
}
