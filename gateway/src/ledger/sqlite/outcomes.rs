//! How requests ended, and how far the partitions are settled.

use sqlx::Row;

use super::campaigns::count;
use super::during;
use crate::coupon::{CouponId, Fingerprint, Offset, PartitionNo, RequestId};
use crate::ledger::{Claim, LedgerError, Recorded, rows};
use crate::sqlite_file::SqliteFile;

pub(super) async fn recorded(file: &SqliteFile, request: RequestId) -> Result<Option<Recorded>, LedgerError> {
    let step = "read the outcome";
    let row = sqlx::query(include_str!("../sql/sqlite/select_outcome.sql"))
        .bind(request.as_bytes().as_slice())
        .fetch_optional(&file.readers)
        .await
        .map_err(during(step))?;
    let Some(row) = row else { return Ok(None) };
    let outcome = rows::outcome(
        row.try_get("status").map_err(during(step))?,
        row.try_get("shard_no").map_err(during(step))?,
        row.try_get("grant_no").map_err(during(step))?,
    )?;
    let coupon: Option<i64> = row.try_get("coupon_id").map_err(during(step))?;
    Ok(Some(Recorded {
        outcome,
        coupon_id: coupon.and_then(|coupon| CouponId::try_from(coupon).ok()),
        fingerprint: row.try_get::<Option<i64>, _>("fingerprint").map_err(during(step))?.map(Fingerprint),
        partition: PartitionNo(row.try_get("partition_no").map_err(during(step))?),
        offset: count(&row, "log_offset")?,
        settled_at_ms: row.try_get("settled_at_ms").map_err(during(step))?,
    }))
}

pub(super) async fn next_offset(file: &SqliteFile, partition: PartitionNo) -> Result<Offset, LedgerError> {
    let row = sqlx::query(include_str!("../sql/sqlite/select_offset.sql"))
        .bind(partition.0)
        .fetch_optional(&file.readers)
        .await
        .map_err(during("read the offset"))?;
    row.map_or(Ok(0), |row| count(&row, "next_offset"))
}

pub(super) async fn claim(file: &SqliteFile, partition: PartitionNo) -> Result<Claim, LedgerError> {
    let step = "claim the partition";
    let row = sqlx::query(include_str!("../sql/sqlite/claim_partition.sql"))
        .bind(partition.0)
        .fetch_one(&file.writer)
        .await
        .map_err(during(step))?;
    Ok(Claim {
        partition,
        epoch: row.try_get("epoch").map_err(during(step))?,
        next_offset: count(&row, "next_offset")?,
    })
}

pub(super) async fn ready(file: &SqliteFile) -> Result<(), LedgerError> {
    sqlx::query("SELECT 1").execute(&file.readers).await.map_err(during("reach the ledger"))?;
    Ok(())
}
