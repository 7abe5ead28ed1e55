//! Which log the ledger settles, and the offsets that an operator moved.

use sqlx::SqliteConnection;

use super::call::{begin, during};
use crate::coupon::{LogId, Offset, PartitionNo, UnixMs};
use crate::ledger::{LedgerError, LogIdentity, OffsetChange, OffsetChangeReason, rows};
use crate::sqlite_file::SqliteFile;

pub(super) async fn identity(file: &SqliteFile) -> Result<Option<LogIdentity>, LedgerError> {
    let row = sqlx::query(include_str!("../sql/common/select_log_identity.sql"))
        .fetch_optional(&file.readers)
        .await
        .map_err(during("read the log's identity"))?;
    row.as_ref().map(rows::log_identity).transpose()
}

pub(super) async fn propose(file: &SqliteFile, log_id: LogId) -> Result<LogId, LedgerError> {
    let step = "store the log's identity";
    let mut transaction = begin(file, step).await?;
    insert_identity(&mut transaction, log_id).await?;
    let row = sqlx::query(include_str!("../sql/common/select_log_identity.sql"))
        .fetch_one(&mut *transaction)
        .await
        .map_err(during(step))?;
    transaction.commit().await.map_err(during(step))?;
    rows::log_identity(&row).map(|stored| stored.log_id)
}

pub(super) async fn see(file: &SqliteFile, log_id: LogId, now_ms: UnixMs) -> Result<(), LedgerError> {
    sqlx::query(include_str!("../sql/common/see_log.sql"))
        .bind(now_ms)
        .bind(log_id.to_string())
        .execute(&file.writer)
        .await
        .map_err(during("confirm the log's identity"))?;
    Ok(())
}

pub(super) async fn adopt(
    file: &SqliteFile,
    log_id: LogId,
    first: PartitionNo,
    next_offsets: &[Offset],
    now_ms: UnixMs,
) -> Result<(), LedgerError> {
    let step = "move the ledger to another log";
    let mut transaction = begin(file, step).await?;
    for (partition, next_offset) in (first.0..).map(PartitionNo).zip(next_offsets) {
        let from = super::outcomes::claim_within(&mut transaction, partition).await?.next_offset;
        sqlx::query(include_str!("../sql/common/reset_offset.sql"))
            .bind(next_offset.cast_signed())
            .bind(next_offset.cast_signed())
            .bind(next_offset.cast_signed())
            .bind(partition.0)
            .execute(&mut *transaction)
            .await
            .map_err(during(step))?;
        let reason = OffsetChangeReason::Adopt;
        let change = OffsetChange { partition, from, to: *next_offset, reason, changed_at_ms: now_ms };
        record(&mut transaction, change).await?;
    }
    sqlx::query(include_str!("../sql/common/delete_other_partitions.sql"))
        .bind(first.0)
        .bind(i64::from(first.0).saturating_add_unsigned(next_offsets.len() as u64))
        .execute(&mut *transaction)
        .await
        .map_err(during(step))?;
    // The next start stores it again: the new log may have another number of partitions.
    sqlx::query(include_str!("../sql/common/delete_place.sql"))
        .execute(&mut *transaction)
        .await
        .map_err(during(step))?;
    sqlx::query(include_str!("../sql/common/delete_log_identity.sql"))
        .execute(&mut *transaction)
        .await
        .map_err(during(step))?;
    insert_identity(&mut transaction, log_id).await?;
    transaction.commit().await.map_err(during(step))
}

pub(super) async fn skip(
    file: &SqliteFile,
    partition: PartitionNo,
    from: Offset,
    to: Offset,
    now_ms: UnixMs,
) -> Result<bool, LedgerError> {
    let step = "skip the missing offsets";
    let mut transaction = begin(file, step).await?;
    let touched = sqlx::query(include_str!("../sql/common/skip_offsets.sql"))
        .bind(to.cast_signed())
        .bind(partition.0)
        .bind(from.cast_signed())
        .execute(&mut *transaction)
        .await
        .map_err(during(step))?
        .rows_affected();
    if touched != 1 {
        return Ok(false);
    }
    let reason = OffsetChangeReason::Skip;
    record(&mut transaction, OffsetChange { partition, from, to, reason, changed_at_ms: now_ms }).await?;
    transaction.commit().await.map_err(during(step))?;
    Ok(true)
}

pub(super) async fn changes(file: &SqliteFile, rows_max: u32) -> Result<Vec<OffsetChange>, LedgerError> {
    let rows = sqlx::query(include_str!("../sql/common/select_offset_changes.sql"))
        .bind(rows_max)
        .fetch_all(&file.readers)
        .await
        .map_err(during("read the offset changes"))?;
    rows.iter().map(rows::offset_change).collect()
}

async fn insert_identity(transaction: &mut SqliteConnection, log_id: LogId) -> Result<(), LedgerError> {
    sqlx::query(include_str!("../sql/sqlite/propose_log.sql"))
        .bind(log_id.to_string())
        .execute(transaction)
        .await
        .map_err(during("store the log's identity"))?;
    Ok(())
}

async fn record(transaction: &mut SqliteConnection, change: OffsetChange) -> Result<(), LedgerError> {
    sqlx::query(include_str!("../sql/common/insert_offset_change.sql"))
        .bind(change.partition.0)
        .bind(change.from.cast_signed())
        .bind(change.to.cast_signed())
        .bind(change.reason.as_str())
        .bind(change.changed_at_ms)
        .execute(transaction)
        .await
        .map_err(during("record the offset change"))?;
    Ok(())
}
