//! How requests ended, and how far the partitions are settled.

use sqlx::{MySqlPool, Row};

use super::{count, during};
use crate::coupon::{CouponId, Fingerprint, Offset, PartitionNo, RequestId};
use crate::ledger::{Claim, LedgerError, Recorded, rows};

pub(super) async fn recorded(readers: &MySqlPool, request: RequestId) -> Result<Option<Recorded>, LedgerError> {
    let step = "read the outcome";
    let row = sqlx::query(include_str!("../sql/mysql/select_outcome.sql"))
        .bind(request.as_bytes().as_slice())
        .fetch_optional(readers)
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

pub(super) async fn next_offset(readers: &MySqlPool, partition: PartitionNo) -> Result<Offset, LedgerError> {
    let row = sqlx::query(include_str!("../sql/mysql/select_offset.sql"))
        .bind(partition.0)
        .fetch_optional(readers)
        .await
        .map_err(during("read the offset"))?;
    row.map_or(Ok(0), |row| count(&row, "next_offset"))
}

pub(super) async fn claim(writers: &MySqlPool, partition: PartitionNo) -> Result<Claim, LedgerError> {
    let step = "claim the partition";
    let mut transaction = writers.begin().await.map_err(during(step))?;
    sqlx::query(include_str!("../sql/mysql/claim_partition.sql"))
        .bind(partition.0)
        .execute(&mut *transaction)
        .await
        .map_err(during(step))?;
    // The row is locked since, so this is what was claimed.
    let row = sqlx::query(include_str!("../sql/mysql/select_offset.sql"))
        .bind(partition.0)
        .fetch_one(&mut *transaction)
        .await
        .map_err(during(step))?;
    transaction.commit().await.map_err(during(step))?;
    Ok(Claim {
        partition,
        epoch: row.try_get("epoch").map_err(during(step))?,
        next_offset: count(&row, "next_offset")?,
    })
}

pub(super) async fn ready(readers: &MySqlPool) -> Result<(), LedgerError> {
    let read_only = sqlx::query(include_str!("../sql/mysql/select_read_only.sql"))
        .fetch_one(readers)
        .await
        .map_err(during("reach the ledger"))?;
    if read_only.try_get::<i64, _>("read_only").map_err(during("reach the ledger"))? == 0 {
        Ok(())
    } else {
        Err(LedgerError::Transient { step: "reach the ledger", source: "the server is read-only".into() })
    }
}
