//! Decoding of rows, written once for both databases. Each function names the columns that its statement selects.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::mysql::MySqlRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, MySql, Row, Sqlite, Type};

use super::outcome_row::arm_no;
use super::{
    CampaignChanges, GenerationRow, Grants, LedgerError, ListedOutcome, LockedStock, LogIdentity, OffsetChange,
    OffsetChangeReason, PartitionOffset, Place, PolicyVersion, RecordedOutcome, RolloutReport, RolloutRow, Shards,
    StoredComponent,
};
use crate::coupon::{
    Arm, Campaign, CampaignState, CouponId, GroupNo, Offset, Outcome, PartitionNo, PolicyId, Reason, RequestId,
    ShardNo, ShardStock, Terms,
};

/// A type that both databases can decode. With it, a function over rows needs one bound instead of one per column.
pub(super) trait Value:
    for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, MySql> + Type<MySql>
{
}

impl<T> Value for T where T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, MySql> + Type<MySql> {}

/// A row of either database.
pub(super) trait Columns {
    fn value<T: Value>(&self, name: &str) -> Result<T, sqlx::Error>;
}

impl Columns for SqliteRow {
    fn value<T: Value>(&self, name: &str) -> Result<T, sqlx::Error> {
        self.try_get(name)
    }
}

impl Columns for MySqlRow {
    fn value<T: Value>(&self, name: &str) -> Result<T, sqlx::Error> {
        self.try_get(name)
    }
}

/// Transient, because settlement rejects records on a permanent error, and a table of the wrong shape is not
/// the fault of a record.
pub(super) fn column<T: Value>(row: &impl Columns, step: &'static str, name: &str) -> Result<T, LedgerError> {
    row.value(name).map_err(|source| LedgerError::Transient { step, source: source.into() })
}

/// For a column that is never negative: neither database has an unsigned type in which all drivers agree.
pub(super) fn count(row: &impl Columns, step: &'static str, name: &str) -> Result<u64, LedgerError> {
    let number: i64 = column(row, step, name)?;
    u64::try_from(number).map_err(|_| corrupt(step, format!("{name} {number} is negative")))
}

/// For a value that sluice never writes.
fn corrupt(step: &'static str, problem: impl Into<String>) -> LedgerError {
    LedgerError::Permanent { step, source: problem.into().into() }
}

pub(super) fn campaigns<R: Columns>(campaigns: &[R], shards: &[R]) -> Result<Vec<Campaign>, LedgerError> {
    let step = "read the campaigns";
    let mut stock = stock_of_coupons(shards)?;
    let shards_of = |row: &R| coupon_id(row, step).map(|coupon| stock.remove(&coupon).unwrap_or_default());
    let shards = campaigns.iter().map(shards_of).collect::<Result<Vec<_>, _>>()?;
    campaigns.iter().zip(shards).map(|(row, shards)| campaign(row, step, shards)).collect()
}

fn campaign(row: &impl Columns, step: &'static str, shards: Vec<ShardStock>) -> Result<Campaign, LedgerError> {
    let state: String = column(row, step, "state")?;
    let state = CampaignState::ALL.into_iter().find(|known| known.as_str() == state).ok_or(state);
    Ok(Campaign {
        coupon_id: coupon_id(row, step)?,
        policy_id: policy_id(row, step)?,
        group: GroupNo::FIRST,
        total: count(row, step, "total")?,
        per_user_limit: column(row, step, "per_user_limit")?,
        state: state.map_err(|state| corrupt(step, format!("unknown state `{state}`")))?,
        opens_at_ms: column(row, step, "opens_at_ms")?,
        closes_at_ms: column(row, step, "closes_at_ms")?,
        shards,
    })
}

/// 0 is no coupon.
fn some_coupon_id(row: &impl Columns, step: &'static str) -> Result<Option<CouponId>, LedgerError> {
    let coupon: i64 = column(row, step, "coupon_id")?;
    if coupon == 0 { Ok(None) } else { coupon_id(row, step).map(Some) }
}

fn coupon_id(row: &impl Columns, step: &'static str) -> Result<CouponId, LedgerError> {
    let coupon: i64 = column(row, step, "coupon_id")?;
    coupon.try_into().map_err(|_| corrupt(step, format!("coupon_id {coupon} is out of range")))
}

fn policy_id(row: &impl Columns, step: &'static str) -> Result<PolicyId, LedgerError> {
    let policy: i64 = column(row, step, "policy_id")?;
    policy.try_into().map_err(|_| corrupt(step, format!("policy_id {policy} is out of range")))
}

/// Of rows that repeat a campaign for each of its shards.
pub(super) fn campaign_changes<R: Columns>(rows: &[R]) -> Result<CampaignChanges, LedgerError> {
    let step = "read the changed campaigns";
    let version = rows.first().map_or(Ok(0), |row| count(row, step, "newest_version"))?;
    let mut changes = CampaignChanges { version, campaigns: Vec::new(), closed: Vec::new() };
    for row in rows {
        if column::<Option<i64>>(row, step, "coupon_id")?.is_none() {
            continue;
        }
        if column::<Option<u32>>(row, step, "shard_no")?.is_none() {
            changes.closed.push((coupon_id(row, step)?, policy_id(row, step)?));
            continue;
        }
        match changes.campaigns.last_mut() {
            Some(last) if last.coupon_id == coupon_id(row, step)? => last.shards.push(shard(row, step)?),
            _ => changes.campaigns.push(campaign(row, step, vec![shard(row, step)?])?),
        }
    }
    Ok(changes)
}

/// The shards of each coupon.
pub(super) fn stock_of_coupons<R: Columns>(rows: &[R]) -> Result<HashMap<CouponId, Vec<ShardStock>>, LedgerError> {
    let step = "read the stock";
    let mut stock: HashMap<CouponId, Vec<ShardStock>> = HashMap::new();
    for row in rows {
        stock.entry(coupon_id(row, step)?).or_default().push(shard(row, step)?);
    }
    Ok(stock)
}

fn shard(row: &impl Columns, step: &'static str) -> Result<ShardStock, LedgerError> {
    Ok(ShardStock { shard_no: ShardNo(column(row, step, "shard_no")?), remaining: count(row, step, "remaining")? })
}

/// The limit of each campaign.
pub(super) fn limits<R: Columns>(rows: &[R], step: &'static str) -> Result<BTreeMap<CouponId, u32>, LedgerError> {
    rows.iter().map(|row| Ok((coupon_id(row, step)?, column(row, step, "per_user_limit")?))).collect()
}

/// The remaining stock of each shard.
pub(super) fn stock<R: Columns>(
    rows: &[R],
    step: &'static str,
) -> Result<BTreeMap<(CouponId, ShardNo), u64>, LedgerError> {
    rows.iter()
        .map(|row| {
            let ShardStock { shard_no, remaining } = shard(row, step)?;
            Ok(((coupon_id(row, step)?, shard_no), remaining))
        })
        .collect()
}

/// Sorts stock by coupon. Only coupons with a limit have a campaign.
pub(super) fn locked_stock(
    wanted: &BTreeMap<CouponId, Shards>,
    limits: BTreeMap<CouponId, u32>,
    stock: BTreeMap<(CouponId, ShardNo), u64>,
) -> BTreeMap<CouponId, LockedStock> {
    let of_campaign = |(coupon, per_user_limit)| {
        let complete = wanted.get(&coupon) == Some(&Shards::All);
        (coupon, LockedStock { per_user_limit, shards: BTreeMap::new(), complete })
    };
    let mut locked: BTreeMap<_, _> = limits.into_iter().map(of_campaign).collect();
    for ((coupon, shard), remaining) in stock {
        if let Some(locked) = locked.get_mut(&coupon) {
            locked.shards.insert(shard, remaining);
        }
    }
    locked
}

pub(super) fn recorded_outcome(row: &impl Columns) -> Result<RecordedOutcome, LedgerError> {
    let step = "read the outcome";
    let coupon: Option<i64> = column(row, step, "coupon_id")?;
    Ok(RecordedOutcome {
        outcome: outcome(row, step)?,
        coupon_id: coupon.and_then(|coupon| CouponId::try_from(coupon).ok()),
        arm: arm(row, step)?,
        partition: PartitionNo(column(row, step, "partition_no")?),
        offset: count(row, step, "log_offset")?,
        settled_at_ms: column(row, step, "settled_at_ms")?,
    })
}

fn outcome(row: &impl Columns, step: &'static str) -> Result<Outcome, LedgerError> {
    let status: String = column(row, step, "status")?;
    if status == "ISSUED" {
        let shard: Option<u32> = column(row, step, "shard_no")?;
        let grant_no: Option<u32> = column(row, step, "grant_no")?;
        return match (shard, grant_no) {
            (Some(shard), Some(grant_no)) => Ok(Outcome::Issued { shard: ShardNo(shard), grant_no }),
            _ => Err(corrupt(step, "a grant lacks its shard_no or grant_no")),
        };
    }
    let reason = Reason::ALL.into_iter().find(|reason| reason.as_str() == status);
    reason.map(Outcome::Rejected).ok_or_else(|| corrupt(step, format!("unknown status `{status}`")))
}

fn arm(row: &impl Columns, step: &'static str) -> Result<Arm, LedgerError> {
    let number = count(row, step, "arm")?;
    let arm = [Arm::Active, Arm::Canary].into_iter().find(|arm| u64::from(arm_no(*arm)) == number);
    arm.ok_or_else(|| corrupt(step, format!("unknown arm {number}")))
}

pub(super) fn listed_outcomes<R: Columns>(rows: &[R]) -> Result<Vec<ListedOutcome>, LedgerError> {
    rows.iter().map(listed_outcome).collect()
}

fn listed_outcome(row: &impl Columns) -> Result<ListedOutcome, LedgerError> {
    let step = "list the outcomes";
    let user: i64 = column(row, step, "user_id")?;
    Ok(ListedOutcome {
        request_id: request_id(row, step)?,
        user_id: user.try_into().map_err(|_| corrupt(step, format!("user_id {user} is out of range")))?,
        outcome: outcome(row, step)?,
        picked_shard: ShardNo(column(row, step, "picked_shard_no")?),
        generation: count(row, step, "generation")?,
        arm: arm(row, step)?,
        partition: PartitionNo(column(row, step, "partition_no")?),
        offset: count(row, step, "log_offset")?,
        arrived_at_ms: column(row, step, "arrived_at_ms")?,
        settled_at_ms: column(row, step, "settled_at_ms")?,
    })
}

pub(super) fn terms<R: Columns>(rows: &[R]) -> Result<BTreeMap<RequestId, Terms>, LedgerError> {
    let step = "read the terms";
    rows.iter()
        .map(|row| {
            let (request, json): (RequestId, String) = (request_id(row, step)?, column(row, step, "terms")?);
            let terms = serde_json::from_str(&json);
            Ok((request, terms.map_err(|error| corrupt(step, format!("terms of request {request}: {error}")))?))
        })
        .collect()
}

/// Of the row of `select_deletion_began.sql`.
pub(super) fn outcomes_deleted(row: &impl Columns) -> Result<bool, LedgerError> {
    Ok(count(row, "read what is deleted", "deletion_began")? > 0)
}

pub(super) fn coupon_ids<R: Columns>(rows: &[R]) -> Result<Vec<CouponId>, LedgerError> {
    rows.iter().map(|row| coupon_id(row, "read the expired campaigns")).collect()
}

pub(super) fn partition_offset(row: &impl Columns, step: &'static str) -> Result<PartitionOffset, LedgerError> {
    Ok(PartitionOffset {
        epoch: column(row, step, "epoch")?,
        next_offset: count(row, step, "next_offset")?,
        released_offset: count(row, step, "released_offset")?,
    })
}

pub(super) fn next_offsets<R: Columns>(rows: &[R]) -> Result<BTreeMap<PartitionNo, Offset>, LedgerError> {
    let step = "read the offsets";
    let next = |row| Ok((PartitionNo(column(row, step, "partition_no")?), count(row, step, "next_offset")?));
    rows.iter().map(next).collect()
}

pub(super) fn request_ids<R: Columns>(rows: &[R], step: &'static str) -> Result<BTreeSet<RequestId>, LedgerError> {
    rows.iter().map(|row| request_id(row, step)).collect()
}

pub(super) fn request_id(row: &impl Columns, step: &'static str) -> Result<RequestId, LedgerError> {
    let bytes: Vec<u8> = column(row, step, "request_id")?;
    let bytes: [u8; 16] = bytes.try_into().map_err(|_| corrupt(step, "a request_id is not 16 bytes long"))?;
    Ok(bytes.into())
}

pub(super) fn grants<R: Columns>(rows: &[R], step: &'static str) -> Result<Grants, LedgerError> {
    rows.iter()
        .map(|row| {
            let user: i64 = column(row, step, "user_id")?;
            let user = user.try_into().map_err(|_| corrupt(step, format!("user_id {user} is out of range")))?;
            Ok(((coupon_id(row, step)?, user), column(row, step, "grant_no")?))
        })
        .collect()
}

pub(super) fn generations<R: Columns>(rows: &[R]) -> Result<Vec<GenerationRow>, LedgerError> {
    let step = "read the generations";
    rows.iter()
        .map(|row| {
            Ok(GenerationRow {
                number: count(row, step, "number")?,
                coupon: some_coupon_id(row, step)?,
                pipeline: column(row, step, "pipeline")?,
                published_at_ms: column(row, step, "published_at_ms")?,
            })
        })
        .collect()
}

pub(super) fn rollouts<R: Columns>(rows: &[R]) -> Result<Vec<RolloutRow>, LedgerError> {
    let step = "read the rollouts";
    rows.iter()
        .map(|row| {
            let running: Option<i64> = column(row, step, "running")?;
            let coupon: i64 = column(row, step, "coupon_id")?;
            Ok(RolloutRow {
                id: count(row, step, "id")?,
                coupon: if coupon == 0 { None } else { Some(coupon_id(row, step)?) },
                is_over: running.is_none(),
                version: count(row, step, "version")?,
                record: column(row, step, "record")?,
            })
        })
        .collect()
}

pub(super) fn rollout_reports<R: Columns>(rows: &[R]) -> Result<Vec<RolloutReport>, LedgerError> {
    let step = "read the reports on a rollout";
    rows.iter()
        .map(|row| {
            let step_no = count(row, step, "step_no")?;
            Ok(RolloutReport {
                rollout: count(row, step, "rollout_id")?,
                gateway: column(row, step, "gateway")?,
                step_no: u32::try_from(step_no)
                    .map_err(|_| corrupt(step, format!("step_no {step_no} is too large")))?,
                tallies: column(row, step, "tallies")?,
            })
        })
        .collect()
}

pub(super) fn policy_versions<R: Columns>(rows: &[R]) -> Result<Vec<PolicyVersion>, LedgerError> {
    let step = "read the policy versions";
    rows.iter()
        .map(|row| {
            Ok(PolicyVersion {
                name: column(row, step, "name")?,
                digest: column(row, step, "digest")?,
                world: column(row, step, "world")?,
                contract: column(row, step, "contract")?,
                bytes: count(row, step, "bytes")?,
                signature: column(row, step, "signature")?,
                source: column(row, step, "source")?,
                registered_by: column(row, step, "registered_by")?,
                registered_at_ms: column(row, step, "registered_at_ms")?,
            })
        })
        .collect()
}

pub(super) fn component(row: &impl Columns) -> Result<StoredComponent, LedgerError> {
    let step = "read the component";
    Ok(StoredComponent { bytes: column(row, step, "bytes")?, signature: column(row, step, "signature")? })
}

pub(super) fn log_identity(row: &impl Columns) -> Result<LogIdentity, LedgerError> {
    let step = "read the log's identity";
    let log_id: String = column(row, step, "log_id")?;
    Ok(LogIdentity {
        log_id: log_id.parse().map_err(|_| corrupt(step, format!("log_id `{log_id}` is not a UUID")))?,
        seen_at_ms: column(row, step, "seen_at_ms")?,
    })
}

pub(super) fn offset_change(row: &impl Columns) -> Result<OffsetChange, LedgerError> {
    let step = "read the offset changes";
    let reason: String = column(row, step, "reason")?;
    let known = OffsetChangeReason::ALL.into_iter().find(|known| known.as_str() == reason);
    Ok(OffsetChange {
        partition: PartitionNo(column(row, step, "partition_no")?),
        from: count(row, step, "from_offset")?,
        to: count(row, step, "to_offset")?,
        reason: known.ok_or_else(|| corrupt(step, format!("unknown reason `{reason}`")))?,
        changed_at_ms: column(row, step, "changed_at_ms")?,
    })
}

pub(super) fn group_no(row: &impl Columns, step: &'static str) -> Result<GroupNo, LedgerError> {
    let group = count(row, step, "group_no")?;
    u32::try_from(group).map(GroupNo).map_err(|_| corrupt(step, format!("group_no {group} is out of range")))
}

pub(super) fn place(row: &impl Columns) -> Result<Place, LedgerError> {
    let step = "read the ledger group";
    Ok(Place {
        group: GroupNo(column(row, step, "group_no")?),
        partitions_each: column(row, step, "partitions_each")?,
        groups_seen: column(row, step, "groups_seen")?,
    })
}
