//! CampaignCache and their stock. Who changes one locks its row, then all its shards in their order.

use std::collections::BTreeMap;

use sqlx::error::ErrorKind;
use sqlx::mysql::MySqlRow;
use sqlx::{MySql, MySqlConnection, MySqlPool, Row};

use super::{Mysql, count, during};
use crate::coupon::{Audit, Campaign, CampaignChange, CouponId, NewCampaign, ShardNo, ShardStock, spread};
use crate::ledger::rows::{self, Holders, Tally, corrupt, json};
use crate::ledger::{CampaignError, LedgerError};

pub(super) async fn create(ledger: &Mysql, new: &NewCampaign) -> Result<Campaign, CampaignError> {
    let mut transaction = ledger.writers.begin().await.map_err(during("begin"))?;
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
            insert_shards(&mut transaction, new.coupon_id, &spread(new.total, new.shards)).await?;
            transaction.commit().await.map_err(during("commit"))?;
        }
        Err(sqlx::Error::Database(error)) if error.kind() == ErrorKind::UniqueViolation => {
            transaction.rollback().await.map_err(during("leave the campaign as it is"))?;
        }
        Err(error) => return Err(during("insert the campaign")(error).into()),
    }
    let campaign = one(&ledger.snapshots, new.coupon_id).await?.ok_or(CampaignError::NotFound(new.coupon_id))?;
    if rows::has_terms_of(&campaign, new) { Ok(campaign) } else { Err(CampaignError::Exists(new.coupon_id)) }
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
    let campaigns = sqlx::query(include_str!("../sql/mysql/select_campaigns.sql"));
    let campaigns = campaigns.fetch_all(&mut *snapshot).await.map_err(during(step))?;
    let shards = sqlx::query(include_str!("../sql/mysql/select_shards.sql"));
    let shards = shards.fetch_all(&mut *snapshot).await.map_err(during(step))?;
    snapshot.commit().await.map_err(during("end the snapshot"))?;
    let mut stock = stock(&shards)?;
    campaigns.iter().map(|row| campaign(row, &mut stock)).collect()
}

pub(super) async fn change(
    writers: &MySqlPool,
    coupon: CouponId,
    change: CampaignChange,
) -> Result<Campaign, CampaignError> {
    let mut transaction = writers.begin().await.map_err(during("begin"))?;
    let mut campaign = lock(&mut transaction, coupon).await?.ok_or(CampaignError::NotFound(coupon))?;
    rows::apply(&mut campaign, change)?;
    sqlx::query(include_str!("../sql/mysql/update_campaign.sql"))
        .bind(campaign.state.as_str())
        .bind(campaign.total.cast_signed())
        .bind(i64::try_from(campaign.shards.len()).unwrap_or(i64::MAX))
        .bind(coupon.as_i64())
        .execute(&mut *transaction)
        .await
        .map_err(during("update the campaign"))?;
    if rows::moves_stock(change) {
        sqlx::query(include_str!("../sql/mysql/delete_shards.sql"))
            .bind(coupon.as_i64())
            .execute(&mut *transaction)
            .await
            .map_err(during("replace the shards"))?;
        insert_shards(&mut transaction, coupon, &campaign.shards).await?;
    }
    transaction.commit().await.map_err(during("commit"))?;
    Ok(campaign)
}

pub(super) async fn audit(snapshots: &MySqlPool, coupon: CouponId) -> Result<Option<Audit>, LedgerError> {
    let mut snapshot = snapshot(snapshots).await?;
    let Some(campaign) = select_one(&mut snapshot, coupon).await? else { return Ok(None) };
    let tallies = sqlx::query(include_str!("../sql/mysql/audit_outcomes.sql"))
        .bind(coupon.as_i64())
        .fetch_all(&mut *snapshot)
        .await
        .map_err(during("count the outcomes"))?;
    let users = sqlx::query(include_str!("../sql/mysql/audit_users.sql"))
        .bind(campaign.per_user_limit)
        .bind(coupon.as_i64())
        .fetch_one(&mut *snapshot)
        .await
        .map_err(during("count the users"))?;
    snapshot.commit().await.map_err(during("end the snapshot"))?;
    let holders = Holders { users: count(&users, "users")?, over_limit: count(&users, "users_over_limit")? };
    let tallies = tallies.iter().map(tally).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(rows::audit(&campaign, &holders, &tallies)))
}

fn tally(row: &MySqlRow) -> Result<Tally, LedgerError> {
    let step = "count the outcomes";
    Ok(Tally {
        status: row.try_get("status").map_err(during(step))?,
        shard: row.try_get("shard_no").map_err(during(step))?,
        picked: row.try_get("picked_shard_no").map_err(during(step))?,
        outcomes: count(row, "outcomes")?,
    })
}

async fn snapshot(snapshots: &MySqlPool) -> Result<sqlx::Transaction<'static, MySql>, LedgerError> {
    snapshots.begin_with(include_str!("../sql/mysql/begin_snapshot.sql")).await.map_err(during("begin a snapshot"))
}

async fn select_one(snapshot: &mut MySqlConnection, coupon: CouponId) -> Result<Option<Campaign>, LedgerError> {
    let campaign = include_str!("../sql/mysql/select_campaign.sql");
    let shards = include_str!("../sql/mysql/select_shards_of.sql");
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
    let found = sqlx::query(campaign_statement).bind(coupon.as_i64());
    let found = found.fetch_optional(&mut *connection).await.map_err(during(step))?;
    let Some(row) = found else { return Ok(None) };
    let shards = sqlx::query(shards_statement).bind(coupon.as_i64());
    let shards = shards.fetch_all(&mut *connection).await.map_err(during(step))?;
    campaign(&row, &mut stock(&shards)?).map(Some)
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

fn stock(shards: &[MySqlRow]) -> Result<BTreeMap<i64, Vec<ShardStock>>, LedgerError> {
    let step = "read the shards";
    let mut stock: BTreeMap<i64, Vec<ShardStock>> = BTreeMap::new();
    for row in shards {
        let coupon: i64 = row.try_get("coupon_id").map_err(during(step))?;
        let shard_no = ShardNo(row.try_get("shard_no").map_err(during(step))?);
        stock.entry(coupon).or_default().push(ShardStock { shard_no, remaining: count(row, "remaining")? });
    }
    Ok(stock)
}

fn campaign(row: &MySqlRow, stock: &mut BTreeMap<i64, Vec<ShardStock>>) -> Result<Campaign, LedgerError> {
    let step = "read a campaign";
    let coupon: i64 = row.try_get("coupon_id").map_err(during(step))?;
    let policy: i64 = row.try_get("policy_id").map_err(during(step))?;
    Ok(Campaign {
        coupon_id: coupon.try_into().map_err(|_| corrupt(step, "coupon_id is out of range"))?,
        policy_id: policy.try_into().map_err(|_| corrupt(step, "policy_id is out of range"))?,
        total: count(row, "total")?,
        per_user_limit: row.try_get("per_user_limit").map_err(during(step))?,
        state: rows::state(row.try_get("state").map_err(during(step))?)?,
        opens_at_ms: row.try_get("opens_at_ms").map_err(during(step))?,
        closes_at_ms: row.try_get("closes_at_ms").map_err(during(step))?,
        shards: stock.remove(&coupon).unwrap_or_default(),
    })
}
