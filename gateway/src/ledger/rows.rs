//! What the SQL adapters have in common: the words of the columns, and what becomes of a row in Rust.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::{CampaignError, LedgerError};
use crate::coupon::{
    Audit, Campaign, CampaignChange, CampaignState, CouponId, NewCampaign, Offset, Outcome, PartitionNo, Reason,
    RequestId, Settled, ShardAudit, ShardNo, UserId, spread,
};

/// Generations kept: enough to see what happened this week, few enough to stay small under swaps.
pub(super) const GENERATIONS_MAX: u64 = 100;

/// A row of `issue_outcome`.
pub(super) struct OutcomeRow {
    /// In hexadecimal.
    pub(super) request_id: String,
    pub(super) status: &'static str,
    pub(super) coupon_id: Option<CouponId>,
    pub(super) user_id: Option<UserId>,
    pub(super) grant_no: Option<u32>,
    pub(super) shard_no: Option<ShardNo>,
    pub(super) picked_shard_no: Option<ShardNo>,
    pub(super) generation: Option<u64>,
    pub(super) fingerprint: Option<i64>,
    pub(super) partition: PartitionNo,
    pub(super) offset: Offset,
    pub(super) arrived_at_ms: Option<i64>,
    pub(super) settled_at_ms: i64,
    /// Those that are kept with a grant, as JSON.
    pub(super) terms: Option<String>,
}

impl OutcomeRow {
    pub(super) fn of(settled: &Settled) -> Self {
        let subject = settled.subject.as_ref();
        let (status, grant_no, shard_no) = match settled.outcome {
            Outcome::Issued { shard, grant_no } => ("ISSUED", Some(grant_no), Some(shard)),
            Outcome::Rejected(reason) => (reason.as_str(), None, None),
        };
        Self {
            request_id: hexadecimal(&settled.request_id),
            status,
            coupon_id: subject.map(|subject| subject.coupon_id),
            user_id: subject.map(|subject| subject.user_id),
            grant_no,
            shard_no,
            picked_shard_no: subject.map(|subject| subject.picked_shard),
            generation: subject.map(|subject| subject.generation),
            fingerprint: subject.and_then(|subject| subject.fingerprint).map(|fingerprint| fingerprint.0),
            partition: settled.partition,
            offset: settled.offset,
            arrived_at_ms: subject.map(|subject| subject.arrived_at_ms),
            settled_at_ms: settled.settled_at_ms,
            terms: subject.filter(|_| grant_no.is_some()).map(|subject| json(&subject.terms)),
        }
    }
}

/// As an array, in the order of the columns.
impl Serialize for OutcomeRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = (
            &self.request_id,
            self.status,
            self.coupon_id,
            self.user_id,
            self.grant_no,
            self.shard_no,
            self.picked_shard_no,
            self.generation,
            self.fingerprint,
            self.partition,
            self.offset,
            self.arrived_at_ms,
            self.settled_at_ms,
            &self.terms,
        );
        row.serialize(serializer)
    }
}

pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("rows are JSON")
}

pub(super) fn hexadecimal(request: &RequestId) -> String {
    uuid::Uuid::from_bytes(*request.as_bytes()).simple().to_string()
}

/// The outcome that a row's columns tell.
pub(super) fn outcome(status: &str, shard: Option<u32>, grant_no: Option<u32>) -> Result<Outcome, LedgerError> {
    let step = "read the outcome";
    if status == "ISSUED" {
        return match (shard, grant_no) {
            (Some(shard), Some(grant_no)) => Ok(Outcome::Issued { shard: ShardNo(shard), grant_no }),
            _ => Err(corrupt(step, "a grant without a shard or a number")),
        };
    }
    let reason = Reason::ALL.into_iter().find(|reason| reason.as_str() == status);
    reason.map(Outcome::Rejected).ok_or_else(|| corrupt(step, format!("unknown status `{status}`")))
}

/// The state that a row's column tells.
pub(super) fn state(word: &str) -> Result<CampaignState, LedgerError> {
    match word {
        "OPEN" => Ok(CampaignState::Open),
        "PAUSED" => Ok(CampaignState::Paused),
        "CLOSED" => Ok(CampaignState::Closed),
        other => Err(corrupt("read a campaign", format!("unknown state `{other}`"))),
    }
}

/// Whether a campaign is as `new` would make it.
pub(super) fn has_terms_of(campaign: &Campaign, new: &NewCampaign) -> bool {
    campaign.policy_id == new.policy_id
        && campaign.total == new.total
        && campaign.per_user_limit == new.per_user_limit
        && campaign.shards.len() == new.shards as usize
        && campaign.opens_at_ms == new.opens_at_ms
        && campaign.closes_at_ms == new.closes_at_ms
}

/// Makes a change to what was read of a campaign.
pub(super) fn apply(campaign: &mut Campaign, change: CampaignChange) -> Result<(), CampaignError> {
    if campaign.state == CampaignState::Closed && change != CampaignChange::Close {
        return Err(CampaignError::Closed(campaign.coupon_id));
    }
    match change {
        CampaignChange::Pause => campaign.state = CampaignState::Paused,
        CampaignChange::Resume => campaign.state = CampaignState::Open,
        CampaignChange::Close => campaign.state = CampaignState::Closed,
        CampaignChange::TopUp(amount) => top_up(campaign, amount)?,
        CampaignChange::Reshard(shards) => campaign.shards = spread(campaign.remaining(), shards),
    }
    Ok(())
}

/// Whether a change replaces the shards.
pub(super) fn moves_stock(change: CampaignChange) -> bool {
    matches!(change, CampaignChange::TopUp(_) | CampaignChange::Reshard(_))
}

fn top_up(campaign: &mut Campaign, amount: u64) -> Result<(), CampaignError> {
    let total = campaign.total.saturating_add(amount);
    if total > NewCampaign::TOTAL_MAX {
        return Err(CampaignError::TotalTooLarge);
    }
    campaign.total = total;
    let shards = u32::try_from(campaign.shards.len()).unwrap_or(u32::MAX);
    for (shard, more) in campaign.shards.iter_mut().zip(spread(amount, shards)) {
        shard.remaining += more.remaining;
    }
    Ok(())
}

/// A row of `audit_outcomes.sql`.
pub(super) struct Tally {
    pub(super) status: String,
    pub(super) shard: Option<u32>,
    pub(super) picked: Option<u32>,
    pub(super) outcomes: u64,
}

/// The row of `audit_users.sql`.
pub(super) struct Holders {
    pub(super) users: u64,
    pub(super) over_limit: u64,
}

/// Adds up what was read of a campaign in one snapshot.
pub(super) fn audit(campaign: &Campaign, holders: &Holders, tallies: &[Tally]) -> Audit {
    let of_status = |word: &str| tallies.iter().filter(|tally| tally.status == word).map(|tally| tally.outcomes).sum();
    let granted = of_status("ISSUED");
    let remaining = campaign.remaining();
    let mut shards: BTreeMap<ShardNo, ShardAudit> = campaign
        .shards
        .iter()
        .map(|stock| (stock.shard_no, ShardAudit { remaining: stock.remaining, ..line(stock.shard_no) }))
        .collect();
    for tally in tallies {
        if let Some(shard_no) = tally.shard.map(ShardNo) {
            shards.entry(shard_no).or_insert(line(shard_no)).granted += tally.outcomes;
        }
        if let Some(shard_no) = tally.picked.map(ShardNo) {
            shards.entry(shard_no).or_insert(line(shard_no)).picked += tally.outcomes;
        }
    }
    Audit {
        coupon_id: campaign.coupon_id,
        total: campaign.total,
        granted,
        remaining,
        balanced: granted + remaining == campaign.total,
        sold_out: of_status(Reason::SoldOut.as_str()),
        user_limit: of_status(Reason::UserLimit.as_str()),
        invalid: of_status(Reason::Invalid.as_str()),
        per_user_limit: campaign.per_user_limit,
        users_over_limit: holders.over_limit,
        users: holders.users,
        shards: shards.into_values().collect(),
    }
}

fn line(shard_no: ShardNo) -> ShardAudit {
    ShardAudit { shard_no, remaining: 0, granted: 0, picked: 0 }
}

/// A row that holds what this program never writes.
pub(super) fn corrupt(step: &'static str, what: impl Into<String>) -> LedgerError {
    LedgerError::Permanent { step, source: what.into().into() }
}
