//! Decoding of rows, written once for both databases. Each function names the columns that its statement selects.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::mysql::MySqlRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, MySql, Row, Sqlite, Type};

use super::{
    GenerationRow, LedgerError, LockedStock, LogIdentity, OffsetChange, OffsetChangeReason, PartitionOffset,
    RecordedOutcome,
};
use crate::coupon::{
    Campaign, CampaignState, CouponId, Outcome, PartitionNo, Reason, RequestId, ShardNo, ShardStock, UserId,
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
    let mut stock: BTreeMap<i64, Vec<ShardStock>> = BTreeMap::new();
    for row in shards {
        stock.entry(column(row, step, "coupon_id")?).or_default().push(shard(row, step)?);
    }
    campaigns.iter().map(|row| campaign(row, step, &mut stock)).collect()
}

fn campaign(
    row: &impl Columns,
    step: &'static str,
    stock: &mut BTreeMap<i64, Vec<ShardStock>>,
) -> Result<Campaign, LedgerError> {
    let coupon: i64 = column(row, step, "coupon_id")?;
    let policy: i64 = column(row, step, "policy_id")?;
    let state: String = column(row, step, "state")?;
    let state = CampaignState::ALL.into_iter().find(|known| known.as_str() == state).ok_or(state);
    Ok(Campaign {
        coupon_id: coupon.try_into().map_err(|_| corrupt(step, format!("coupon_id {coupon} is out of range")))?,
        policy_id: policy.try_into().map_err(|_| corrupt(step, format!("policy_id {policy} is out of range")))?,
        total: count(row, step, "total")?,
        per_user_limit: column(row, step, "per_user_limit")?,
        state: state.map_err(|state| corrupt(step, format!("unknown state `{state}`")))?,
        opens_at_ms: column(row, step, "opens_at_ms")?,
        closes_at_ms: column(row, step, "closes_at_ms")?,
        shards: stock.remove(&coupon).unwrap_or_default(),
    })
}

fn shard(row: &impl Columns, step: &'static str) -> Result<ShardStock, LedgerError> {
    Ok(ShardStock { shard_no: ShardNo(column(row, step, "shard_no")?), remaining: count(row, step, "remaining")? })
}

pub(super) fn locked_stock<R: Columns>(limit: &R, shards: &[R]) -> Result<LockedStock, LedgerError> {
    let step = "lock the stock";
    let stock = |row| shard(row, step).map(|stock| (stock.shard_no, stock.remaining));
    Ok(LockedStock {
        per_user_limit: column(limit, step, "per_user_limit")?,
        shards: shards.iter().map(stock).collect::<Result<_, _>>()?,
    })
}

pub(super) fn recorded_outcome(row: &impl Columns) -> Result<RecordedOutcome, LedgerError> {
    let step = "read the outcome";
    let coupon: Option<i64> = column(row, step, "coupon_id")?;
    Ok(RecordedOutcome {
        outcome: outcome(row, step)?,
        coupon_id: coupon.and_then(|coupon| CouponId::try_from(coupon).ok()),
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

pub(super) fn partition_offset(row: &impl Columns, step: &'static str) -> Result<PartitionOffset, LedgerError> {
    Ok(PartitionOffset {
        epoch: column(row, step, "epoch")?,
        next_offset: count(row, step, "next_offset")?,
        released_offset: count(row, step, "released_offset")?,
    })
}

pub(super) fn request_ids<R: Columns>(rows: &[R], step: &'static str) -> Result<BTreeSet<RequestId>, LedgerError> {
    rows.iter()
        .map(|row| {
            let bytes: Vec<u8> = column(row, step, "request_id")?;
            let bytes: [u8; 16] = bytes.try_into().map_err(|_| corrupt(step, "a request_id is not 16 bytes long"))?;
            Ok(bytes.into())
        })
        .collect()
}

pub(super) fn grants<R: Columns>(rows: &[R], step: &'static str) -> Result<HashMap<UserId, u32>, LedgerError> {
    rows.iter()
        .map(|row| {
            let user: i64 = column(row, step, "user_id")?;
            let user = user.try_into().map_err(|_| corrupt(step, format!("user_id {user} is out of range")))?;
            let grants = count(row, step, "grants")?;
            Ok((user, u32::try_from(grants).map_err(|_| corrupt(step, format!("{grants} grants of one user")))?))
        })
        .collect()
}

pub(super) fn generations<R: Columns>(rows: &[R]) -> Result<Vec<GenerationRow>, LedgerError> {
    let step = "read the generations";
    rows.iter()
        .map(|row| {
            Ok(GenerationRow {
                number: count(row, step, "number")?,
                pipeline: column(row, step, "pipeline")?,
                published_at_ms: column(row, step, "published_at_ms")?,
            })
        })
        .collect()
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
