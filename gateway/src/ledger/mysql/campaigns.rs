//! Campaigns and their stock. A change locks the campaign, then all its shards in ascending order, then the version.

use std::collections::HashMap;

use sqlx::error::ErrorKind;
use sqlx::{MySql, MySqlConnection, MySqlPool};

use super::admin_keys;
use super::call::during;
use crate::coupon::{Campaign, CampaignChange, ChangeKey, CouponId, NewCampaign, ShardStock, now_ms};
use crate::ledger::outcome_row::json;
use crate::ledger::{CampaignChanges, CampaignError, LedgerError, rows};

pub(super) async fn create(
    writers: &MySqlPool,
    snapshots: &MySqlPool,
    new: &NewCampaign,
) -> Result<Campaign, CampaignError> {
    let mut transaction = writers.begin().await.map_err(during("begin"))?;
    let inserted = sqlx::query(include_str!("../sql/mysql/insert_campaign.sql"))
        .bind(new.coupon_id.as_i64())
        .bind(new.policy_id.as_i64())
        .bind(new.total.cast_signed())
        .bind(new.shards)
        .bind(new.per_user_limit)
        .bind(new.opens_at_ms)
        .bind(new.closes_at_ms)
        .execute(&mut *transaction)
        .await;
    match inserted {
        Ok(_) => {
            insert_shards(&mut transaction, new.coupon_id, &new.initial_stock()).await?;
            raise_version(&mut transaction, new.coupon_id).await?;
            transaction.commit().await.map_err(during("commit"))?;
        }
        Err(sqlx::Error::Database(error)) if error.kind() == ErrorKind::UniqueViolation => {
            transaction.rollback().await.map_err(during("roll back"))?;
        }
        Err(error) => return Err(during("insert the campaign")(error).into()),
    }
    let campaign = one(snapshots, new.coupon_id).await?.ok_or(CampaignError::NotFound(new.coupon_id))?;
    if campaign.has_terms_of(new) { Ok(campaign) } else { Err(CampaignError::Exists(new.coupon_id)) }
}

pub(super) async fn one(snapshots: &MySqlPool, coupon: CouponId) -> Result<Option<Campaign>, LedgerError> {
    let mut snapshot = snapshot(snapshots).await?;
    let campaign = select_one(&mut snapshot, coupon).await?;
    snapshot.commit().await.map_err(during("end the snapshot"))?;
    Ok(campaign)
}

pub(super) async fn all(snapshots: &MySqlPool) -> Result<Vec<Campaign>, LedgerError> {
    let step = "read the campaigns";
    let mut snapshot = snapshot(snapshots).await?;
    let campaigns = sqlx::query(include_str!("../sql/common/select_campaigns.sql"));
    let campaigns = campaigns.fetch_all(&mut *snapshot).await.map_err(during(step))?;
    let shards = sqlx::query(include_str!("../sql/common/select_shards.sql"));
    let shards = shards.fetch_all(&mut *snapshot).await.map_err(during(step))?;
    snapshot.commit().await.map_err(during("end the snapshot"))?;
    rows::campaigns(&campaigns, &shards)
}

pub(super) async fn changes(readers: &MySqlPool, after_version: u64) -> Result<CampaignChanges, LedgerError> {
    let rows = sqlx::query(include_str!("../sql/common/select_campaign_changes.sql"))
        .bind(after_version.cast_signed())
        .fetch_all(readers)
        .await
        .map_err(during("read the changed campaigns"))?;
    rows::campaign_changes(&rows)
}

pub(super) async fn stock(
    readers: &MySqlPool,
    coupons: &[CouponId],
) -> Result<HashMap<CouponId, Vec<ShardStock>>, LedgerError> {
    let rows = sqlx::query(include_str!("../sql/mysql/select_stock.sql"))
        .bind(json(&coupons))
        .fetch_all(readers)
        .await
        .map_err(during("read the stock"))?;
    rows::stock_of_coupons(&rows)
}

pub(super) async fn change(
    writers: &MySqlPool,
    coupon: CouponId,
    change: CampaignChange,
    key: Option<ChangeKey>,
) -> Result<Campaign, CampaignError> {
    let mut transaction = writers.begin().await.map_err(during("begin"))?;
    let mut campaign = lock(&mut transaction, coupon).await?.ok_or(CampaignError::NotFound(coupon))?;
    if let Some(key) = key
        && admin_keys::is_used(&mut transaction, key, coupon, change).await?
    {
        return Ok(campaign);
    }
    campaign.apply(change)?;
    if let Some(key) = key {
        admin_keys::insert(&mut transaction, key, coupon, change).await?;
    }
    sqlx::query(include_str!("../sql/common/update_campaign.sql"))
        .bind(campaign.state.as_str())
        .bind(campaign.total.cast_signed())
        .bind(i64::try_from(campaign.shards.len()).unwrap_or(i64::MAX))
        .bind(campaign.closed_at(now_ms()))
        .bind(coupon.as_i64())
        .execute(&mut *transaction)
        .await
        .map_err(during("update the campaign"))?;
    if change.moves_stock() {
        sqlx::query(include_str!("../sql/common/delete_shards.sql"))
            .bind(coupon.as_i64())
            .execute(&mut *transaction)
            .await
            .map_err(during("replace the shards"))?;
        insert_shards(&mut transaction, coupon, &campaign.shards).await?;
    }
    raise_version(&mut transaction, coupon).await?;
    transaction.commit().await.map_err(during("commit"))?;
    Ok(campaign)
}

pub(super) async fn snapshot(snapshots: &MySqlPool) -> Result<sqlx::Transaction<'static, MySql>, LedgerError> {
    snapshots.begin_with(include_str!("../sql/mysql/begin_snapshot.sql")).await.map_err(during("begin a snapshot"))
}

pub(super) async fn select_one(
    snapshot: &mut MySqlConnection,
    coupon: CouponId,
) -> Result<Option<Campaign>, LedgerError> {
    let campaign = include_str!("../sql/common/select_campaign.sql");
    let shards = include_str!("../sql/common/select_shards_of_campaign.sql");
    read(snapshot, coupon, campaign, shards).await
}

async fn lock(transaction: &mut MySqlConnection, coupon: CouponId) -> Result<Option<Campaign>, LedgerError> {
    let campaign = include_str!("../sql/mysql/lock_campaign.sql");
    let shards = include_str!("../sql/mysql/lock_all_shards.sql");
    read(transaction, coupon, campaign, shards).await
}

async fn read(
    connection: &mut MySqlConnection,
    coupon: CouponId,
    campaign_statement: &'static str,
    shards_statement: &'static str,
) -> Result<Option<Campaign>, LedgerError> {
    let step = "read the campaign";
    let campaign = sqlx::query(campaign_statement).bind(coupon.as_i64());
    let campaign = campaign.fetch_all(&mut *connection).await.map_err(during(step))?;
    if campaign.is_empty() {
        return Ok(None);
    }
    let shards = sqlx::query(shards_statement).bind(coupon.as_i64());
    let shards = shards.fetch_all(&mut *connection).await.map_err(during(step))?;
    Ok(rows::campaigns(&campaign, &shards)?.pop())
}

async fn insert_shards(
    transaction: &mut MySqlConnection,
    coupon: CouponId,
    shards: &[ShardStock],
) -> Result<(), LedgerError> {
    let rows: Vec<_> = shards.iter().map(|shard| (shard.shard_no, shard.remaining)).collect();
    sqlx::query(include_str!("../sql/mysql/insert_shards.sql"))
        .bind(coupon.as_i64())
        .bind(json(&rows))
        .execute(transaction)
        .await
        .map_err(during("insert the shards"))?;
    Ok(())
}

/// Gives a campaign that changed the next version of the ledger. Call it last: all changes wait for the lock.
async fn raise_version(transaction: &mut MySqlConnection, coupon: CouponId) -> Result<(), LedgerError> {
    let step = "raise the campaign's version";
    sqlx::query(include_str!("../sql/common/raise_campaign_version.sql"))
        .execute(&mut *transaction)
        .await
        .map_err(during(step))?;
    sqlx::query(include_str!("../sql/common/set_campaign_version.sql"))
        .bind(coupon.as_i64())
        .execute(transaction)
        .await
        .map_err(during(step))?;
    Ok(())
}
