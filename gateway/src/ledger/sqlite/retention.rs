//! Lists the outcomes of a campaign and their terms, and deletes them once it has been closed for long enough.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::SqlitePool;

use super::call::{begin, check, during};
use crate::coupon::{CouponId, RequestId, Terms, UnixMs};
use crate::ledger::outcome_row::{hexadecimal, json};
use crate::ledger::retention::Cursor;
use crate::ledger::{Deletion, LedgerError, ListedOutcome, rows};
use crate::sqlite_file::SqliteFile;

pub(super) async fn outcomes(
    readers: &SqlitePool,
    coupon: CouponId,
    last: Option<&ListedOutcome>,
    rows_max: u32,
) -> Result<Vec<ListedOutcome>, LedgerError> {
    let Cursor { user, rejections_after, grants_after } = Cursor::after(last);
    let coupon = coupon.as_i64();
    let rows = sqlx::query(include_str!("../sql/sqlite/select_outcomes.sql"))
        .bind(coupon)
        .bind(user)
        .bind(rejections_after.as_slice())
        .bind(rows_max)
        .bind(coupon)
        .bind(user)
        .bind(grants_after)
        .bind(rows_max)
        .bind(coupon)
        .bind(user)
        .bind(rows_max)
        .bind(rows_max)
        .fetch_all(readers)
        .await
        .map_err(during("list the outcomes"))?;
    rows::listed_outcomes(&rows)
}

pub(super) async fn terms(
    readers: &SqlitePool,
    requests: &[RequestId],
) -> Result<BTreeMap<RequestId, Terms>, LedgerError> {
    let ids: Vec<_> = requests.iter().map(hexadecimal).collect();
    let rows = sqlx::query(include_str!("../sql/sqlite/select_terms.sql"))
        .bind(json(&ids))
        .fetch_all(readers)
        .await
        .map_err(during("read the terms"))?;
    rows::terms(&rows)
}

pub(super) async fn outcomes_deleted(readers: &SqlitePool, coupon: CouponId) -> Result<Option<bool>, LedgerError> {
    let row = sqlx::query(include_str!("../sql/common/select_deletion_began.sql"))
        .bind(coupon.as_i64())
        .fetch_optional(readers)
        .await
        .map_err(during("read what is deleted"))?;
    row.as_ref().map(rows::outcomes_deleted).transpose()
}

pub(super) async fn expired_campaigns(
    readers: &SqlitePool,
    deletion: Deletion,
    closed_before_ms: UnixMs,
    rows_max: u32,
) -> Result<Vec<CouponId>, LedgerError> {
    let rows = sqlx::query(include_str!("../sql/common/select_expired_campaigns.sql"))
        .bind(deletion.earlier())
        .bind(closed_before_ms)
        .bind(rows_max)
        .fetch_all(readers)
        .await
        .map_err(during("read the expired campaigns"))?;
    rows::coupon_ids(&rows)
}

pub(super) async fn delete_outcomes(
    file: &SqliteFile,
    coupon: CouponId,
    requests: &BTreeSet<RequestId>,
) -> Result<(), LedgerError> {
    let step = "delete outcomes";
    let ids: Vec<_> = requests.iter().map(hexadecimal).collect();
    let mut transaction = begin(file, step).await?;
    sqlx::query(include_str!("../sql/common/mark_deletion.sql"))
        .bind(coupon.as_i64())
        .execute(&mut *transaction)
        .await
        .map_err(during(step))?;
    sqlx::query(include_str!("../sql/sqlite/delete_outcomes.sql"))
        .bind(json(&ids))
        .execute(&mut *transaction)
        .await
        .map_err(during(step))?;
    transaction.commit().await.map_err(during("commit"))
}

pub(super) async fn delete_terms(file: &SqliteFile, coupon: CouponId, rows_max: u32) -> Result<u64, LedgerError> {
    let step = "delete terms";
    check(file, step)?;
    let deleted = sqlx::query(include_str!("../sql/sqlite/delete_terms.sql"))
        .bind(coupon.as_i64())
        .bind(rows_max)
        .execute(&file.writer)
        .await
        .map_err(during(step))?;
    Ok(deleted.rows_affected())
}

pub(super) async fn record_deletion(
    file: &SqliteFile,
    coupon: CouponId,
    deletion: Deletion,
) -> Result<(), LedgerError> {
    let step = "record the deletion";
    check(file, step)?;
    sqlx::query(include_str!("../sql/common/update_outcomes_deleted.sql"))
        .bind(deletion.as_str())
        .bind(coupon.as_i64())
        .bind(deletion.earlier())
        .execute(&file.writer)
        .await
        .map_err(during(step))?;
    Ok(())
}
