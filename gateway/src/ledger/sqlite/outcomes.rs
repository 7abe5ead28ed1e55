//! Outcomes of requests, and offsets of partitions.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::SqliteConnection;

use super::call::{check, during};
use crate::coupon::{Fingerprint, Offset, PartitionNo, RequestId};
use crate::ledger::outcome_row::{hexadecimal, json};
use crate::ledger::{Claim, LedgerError, PartitionOffset, RecordedOutcome, rows};
use crate::sqlite_file::SqliteFile;

pub(super) async fn outcome(file: &SqliteFile, request: RequestId) -> Result<Option<RecordedOutcome>, LedgerError> {
    let row = sqlx::query(include_str!("../sql/common/select_outcome.sql"))
        .bind(request.as_bytes().as_slice())
        .fetch_optional(&file.readers)
        .await
        .map_err(during("read the outcome"))?;
    row.as_ref().map(rows::recorded_outcome).transpose()
}

pub(super) async fn outcome_under_key(
    file: &SqliteFile,
    request: RequestId,
    fingerprint: Fingerprint,
) -> Result<Option<(RequestId, RecordedOutcome)>, LedgerError> {
    let step = "read the outcome under the idempotency key";
    let row = sqlx::query(include_str!("../sql/sqlite/select_outcome_under_key.sql"))
        .bind(request.as_bytes().as_slice())
        .bind(fingerprint.0)
        .fetch_optional(&file.readers)
        .await
        .map_err(during(step))?;
    row.map(|row| Ok((rows::request_id(&row, step)?, rows::recorded_outcome(&row)?))).transpose()
}

pub(super) async fn next_offset(file: &SqliteFile, partition: PartitionNo) -> Result<Offset, LedgerError> {
    let step = "read the offset";
    let row = sqlx::query(include_str!("../sql/common/select_offset.sql"))
        .bind(partition.0)
        .fetch_optional(&file.readers)
        .await
        .map_err(during(step))?;
    row.map_or(Ok(0), |row| Ok(rows::partition_offset(&row, step)?.next_offset))
}

pub(super) async fn next_offsets(file: &SqliteFile) -> Result<BTreeMap<PartitionNo, Offset>, LedgerError> {
    let rows = sqlx::query(include_str!("../sql/common/select_offsets.sql"))
        .fetch_all(&file.readers)
        .await
        .map_err(during("read the offsets"))?;
    rows::next_offsets(&rows)
}

pub(super) async fn claim(file: &SqliteFile, partition: PartitionNo) -> Result<Claim, LedgerError> {
    let mut writer = file.writer.acquire().await.map_err(during("claim the partition"))?;
    claim_within(&mut writer, partition).await
}

pub(super) async fn claim_within(
    connection: &mut SqliteConnection,
    partition: PartitionNo,
) -> Result<Claim, LedgerError> {
    let step = "claim the partition";
    let row = sqlx::query(include_str!("../sql/sqlite/claim_partition.sql"))
        .bind(partition.0)
        .fetch_one(connection)
        .await
        .map_err(during(step))?;
    let PartitionOffset { epoch, next_offset, released_offset } = rows::partition_offset(&row, step)?;
    Ok(Claim { partition, epoch, next_offset, released_offset })
}

pub(super) async fn store_released(file: &SqliteFile, claim: Claim) -> Result<(), LedgerError> {
    sqlx::query(include_str!("../sql/common/update_released.sql"))
        .bind(claim.released_offset.cast_signed())
        .bind(claim.partition.0)
        .bind(claim.epoch)
        .execute(&file.writer)
        .await
        .map_err(during("store the released offset"))?;
    Ok(())
}

pub(super) async fn rejections(file: &SqliteFile, requests: &[RequestId]) -> Result<BTreeSet<RequestId>, LedgerError> {
    let step = "read the rejections";
    let ids: Vec<_> = requests.iter().map(hexadecimal).collect();
    let rows = sqlx::query(include_str!("../sql/sqlite/select_rejections.sql"))
        .bind(json(&ids))
        .fetch_all(&file.readers)
        .await
        .map_err(during(step))?;
    rows::request_ids(&rows, step)
}

pub(super) async fn ready(file: &SqliteFile) -> Result<(), LedgerError> {
    let step = "reach the ledger";
    check(file, step)?;
    sqlx::query("SELECT 1").execute(&file.readers).await.map_err(during(step))?;
    Ok(())
}
