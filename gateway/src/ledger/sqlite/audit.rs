//! Audits: everything about one campaign from one snapshot.

use sqlx::sqlite::SqliteRow;
use sqlx::{SqliteConnection, SqlitePool};

use super::call::during;
use super::campaigns::select_one;
use crate::coupon::{Audit, CouponId};
use crate::ledger::{LedgerError, audit};

pub(super) async fn audit(readers: &SqlitePool, coupon: CouponId) -> Result<Option<Audit>, LedgerError> {
    let mut snapshot = readers.begin().await.map_err(during("begin"))?;
    let Some(campaign) = select_one(&mut snapshot, coupon).await? else { return Ok(None) };
    let tallies = select_tallies(&mut snapshot, coupon).await?;
    audit::audit(&campaign, &tallies).map(Some)
}

pub(super) async fn recount(recounts: &SqlitePool, coupon: CouponId) -> Result<Option<Audit>, LedgerError> {
    let mut snapshot = recounts.begin().await.map_err(during("begin"))?;
    let Some(campaign) = select_one(&mut snapshot, coupon).await? else { return Ok(None) };
    let tallies = select_tallies(&mut snapshot, coupon).await?;
    let outcomes = sqlx::query(include_str!("../sql/common/recount_outcomes.sql"))
        .bind(coupon.as_i64())
        .fetch_all(&mut *snapshot)
        .await
        .map_err(during("count the outcomes"))?;
    let users = sqlx::query(include_str!("../sql/sqlite/recount_users.sql"))
        .bind(campaign.per_user_limit)
        .bind(coupon.as_i64())
        .fetch_one(&mut *snapshot)
        .await
        .map_err(during("count the users"))?;
    let deletion = sqlx::query(include_str!("../sql/common/select_deletion_began.sql"))
        .bind(coupon.as_i64())
        .fetch_one(&mut *snapshot)
        .await
        .map_err(during("read what is deleted"))?;
    audit::recount(&campaign, &tallies, &outcomes, &users, &deletion).map(Some)
}

async fn select_tallies(snapshot: &mut SqliteConnection, coupon: CouponId) -> Result<Vec<SqliteRow>, LedgerError> {
    sqlx::query(include_str!("../sql/common/select_tallies.sql"))
        .bind(coupon.as_i64())
        .fetch_all(snapshot)
        .await
        .map_err(during("read the tallies"))
}
