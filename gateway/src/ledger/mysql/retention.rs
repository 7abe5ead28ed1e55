//! Lists the outcomes of a campaign and their terms, and deletes them once it has been closed for long enough.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::MySqlPool;

use super::call::{during, limited};
use crate::coupon::{CouponId, RequestId, Terms, UnixMs};
use crate::ledger::outcome_row::{hexadecimal, json};
use crate::ledger::retention::Cursor;
use crate::ledger::{Deletion, LedgerError, ListedOutcome, rows};

pub(super) async fn outcomes(
    readers: &MySqlPool,
    coupon: CouponId,
    last: Option<&ListedOutcome>,
    rows_max: u32,
) -> Result<Vec<ListedOutcome>, LedgerError> {
    let Cursor { user, rejections_after, grants_after } = Cursor::after(last);
    let coupon = coupon.as_i64();
    let rows = sqlx::query(limited(include_str!("../sql/mysql/select_outcomes.sql"), rows_max))
        .bind(coupon)
        .bind(user)
        .bind(rejections_after.as_slice())
        .bind(coupon)
        .bind(user)
        .bind(grants_after)
        .bind(coupon)
        .bind(user)
        .fetch_all(readers)
        .await
        .map_err(during("list the outcomes"))?;
    rows::listed_outcomes(&rows)
}

pub(super) async fn terms(
    readers: &MySqlPool,
    requests: &[RequestId],
) -> Result<BTreeMap<RequestId, Terms>, LedgerError> {
    let ids: Vec<_> = requests.iter().map(hexadecimal).collect();
    let rows = sqlx::query(include_str!("../sql/mysql/select_terms.sql"))
        .bind(json(&ids))
        .fetch_all(readers)
        .await
        .map_err(during("read the terms"))?;
    rows::terms(&rows)
}

pub(super) async fn outcomes_deleted(readers: &MySqlPool, coupon: CouponId) -> Result<Option<bool>, LedgerError> {
    let row = sqlx::query(include_str!("../sql/common/select_deletion_began.sql"))
        .bind(coupon.as_i64())
        .fetch_optional(readers)
        .await
        .map_err(during("read what is deleted"))?;
    row.as_ref().map(rows::outcomes_deleted).transpose()
}

pub(super) async fn expired_campaigns(
    readers: &MySqlPool,
    deletion: Deletion,
    closed_before_ms: UnixMs,
    rows_max: u32,
) -> Result<Vec<CouponId>, LedgerError> {
    let rows = sqlx::query(limited(include_str!("../sql/common/select_expired_campaigns.sql"), rows_max))
        .bind(deletion.earlier())
        .bind(closed_before_ms)
        .fetch_all(readers)
        .await
        .map_err(during("read the expired campaigns"))?;
    rows::coupon_ids(&rows)
}

pub(super) async fn delete_outcomes(
    writers: &MySqlPool,
    coupon: CouponId,
    requests: &BTreeSet<RequestId>,
) -> Result<(), LedgerError> {
    let step = "delete outcomes";
    let ids: Vec<_> = requests.iter().map(hexadecimal).collect();
    let mut transaction = writers.begin().await.map_err(during(step))?;
    sqlx::query(include_str!("../sql/common/mark_deletion.sql"))
        .bind(coupon.as_i64())
        .execute(&mut *transaction)
        .await
        .map_err(during(step))?;
    sqlx::query(include_str!("../sql/mysql/delete_outcomes.sql"))
        .bind(json(&ids))
        .execute(&mut *transaction)
        .await
        .map_err(during(step))?;
    transaction.commit().await.map_err(during("commit"))
}

pub(super) async fn delete_terms(writers: &MySqlPool, coupon: CouponId, rows_max: u32) -> Result<u64, LedgerError> {
    let deleted = sqlx::query(limited(include_str!("../sql/mysql/delete_terms.sql"), rows_max))
        .bind(coupon.as_i64())
        .execute(writers)
        .await
        .map_err(during("delete terms"))?;
    Ok(deleted.rows_affected())
}

pub(super) async fn record_deletion(
    writers: &MySqlPool,
    coupon: CouponId,
    deletion: Deletion,
) -> Result<(), LedgerError> {
    sqlx::query(include_str!("../sql/common/update_outcomes_deleted.sql"))
        .bind(deletion.as_str())
        .bind(coupon.as_i64())
        .bind(deletion.earlier())
        .execute(writers)
        .await
        .map_err(during("record the deletion"))?;
    Ok(())
}
