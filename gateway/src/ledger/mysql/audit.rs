//! Audits: everything about one campaign from one snapshot.

use sqlx::mysql::MySqlRow;
use sqlx::{MySqlConnection, MySqlPool};

use super::call::during;
use super::campaigns::{select_one, snapshot};
use crate::coupon::{Audit, CouponId};
use crate::ledger::{LedgerError, audit};

pub(super) async fn audit(snapshots: &MySqlPool, coupon: CouponId) -> Result<Option<Audit>, LedgerError> {
    let mut snapshot = snapshot(snapshots).await?;
    let Some(campaign) = select_one(&mut snapshot, coupon).await? else { return Ok(None) };
    let tallies = select_tallies(&mut snapshot, coupon).await?;
    snapshot.commit().await.map_err(during("end the snapshot"))?;
    audit::audit(&campaign, &tallies).map(Some)
}

pub(super) async fn recount(recounts: &MySqlPool, coupon: CouponId) -> Result<Option<Audit>, LedgerError> {
    let mut snapshot = snapshot(recounts).await?;
    let Some(campaign) = select_one(&mut snapshot, coupon).await? else { return Ok(None) };
    let tallies = select_tallies(&mut snapshot, coupon).await?;
    let outcomes = sqlx::query(include_str!("../sql/common/recount_outcomes.sql"))
        .bind(coupon.as_i64())
        .fetch_all(&mut *snapshot)
        .await
        .map_err(during("count the outcomes"))?;
    let users = sqlx::query(include_str!("../sql/mysql/recount_users.sql"))
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
    snapshot.commit().await.map_err(during("end the snapshot"))?;
    audit::recount(&campaign, &tallies, &outcomes, &users, &deletion).map(Some)
}

async fn select_tallies(snapshot: &mut MySqlConnection, coupon: CouponId) -> Result<Vec<MySqlRow>, LedgerError> {
    sqlx::query(include_str!("../sql/common/select_tallies.sql"))
        .bind(coupon.as_i64())
        .fetch_all(snapshot)
        .await
        .map_err(during("read the tallies"))
}
