//! Outcomes of requests, and offsets of partitions.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{MySqlConnection, MySqlPool, Row};

use super::call::during;
use crate::coupon::{Offset, PartitionNo, RequestId};
use crate::ledger::outcome_row::{hexadecimal, json};
use crate::ledger::{Claim, LedgerError, PartitionOffset, RecordedOutcome, rows};

pub(super) async fn outcome(readers: &MySqlPool, request: RequestId) -> Result<Option<RecordedOutcome>, LedgerError> {
    let row = sqlx::query(include_str!("../sql/common/select_outcome.sql"))
        .bind(request.as_bytes().as_slice())
        .fetch_optional(readers)
        .await
        .map_err(during("read the outcome"))?;
    row.as_ref().map(rows::recorded_outcome).transpose()
}

pub(super) async fn next_offset(readers: &MySqlPool, partition: PartitionNo) -> Result<Offset, LedgerError> {
    let step = "read the offset";
    let row = sqlx::query(include_str!("../sql/common/select_offset.sql"))
        .bind(partition.0)
        .fetch_optional(readers)
        .await
        .map_err(during(step))?;
    row.map_or(Ok(0), |row| Ok(rows::partition_offset(&row, step)?.next_offset))
}

pub(super) async fn next_offsets(readers: &MySqlPool) -> Result<BTreeMap<PartitionNo, Offset>, LedgerError> {
    let rows = sqlx::query(include_str!("../sql/common/select_offsets.sql"))
        .fetch_all(readers)
        .await
        .map_err(during("read the offsets"))?;
    rows::next_offsets(&rows)
}

pub(super) async fn claim(writers: &MySqlPool, partition: PartitionNo) -> Result<Claim, LedgerError> {
    let step = "claim the partition";
    let mut transaction = writers.begin().await.map_err(during(step))?;
    let claim = claim_within(&mut transaction, partition).await?;
    transaction.commit().await.map_err(during(step))?;
    Ok(claim)
}

pub(super) async fn claim_within(
    transaction: &mut MySqlConnection,
    partition: PartitionNo,
) -> Result<Claim, LedgerError> {
    let step = "claim the partition";
    sqlx::query(include_str!("../sql/mysql/claim_partition.sql"))
        .bind(partition.0)
        .execute(&mut *transaction)
        .await
        .map_err(during(step))?;
    // The insert holds the row's lock, so no later claim can be read here.
    let row = sqlx::query(include_str!("../sql/common/select_offset.sql"))
        .bind(partition.0)
        .fetch_one(&mut *transaction)
        .await
        .map_err(during(step))?;
    let PartitionOffset { epoch, next_offset, released_offset } = rows::partition_offset(&row, step)?;
    Ok(Claim { partition, epoch, next_offset, released_offset })
}

pub(super) async fn store_released(writers: &MySqlPool, claim: Claim) -> Result<(), LedgerError> {
    sqlx::query(include_str!("../sql/common/update_released.sql"))
        .bind(claim.released_offset.cast_signed())
        .bind(claim.partition.0)
        .bind(claim.epoch)
        .execute(writers)
        .await
        .map_err(during("store the released offset"))?;
    Ok(())
}

pub(super) async fn rejections(
    readers: &MySqlPool,
    requests: &[RequestId],
) -> Result<BTreeSet<RequestId>, LedgerError> {
    let step = "read the rejections";
    let ids: Vec<_> = requests.iter().map(hexadecimal).collect();
    let rows = sqlx::query(include_str!("../sql/mysql/select_rejections.sql"))
        .bind(json(&ids))
        .fetch_all(readers)
        .await
        .map_err(during(step))?;
    rows::request_ids(&rows, step)
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
