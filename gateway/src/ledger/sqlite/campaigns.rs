//! CampaignCache and their stock.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{Executor, Row, Sqlite, SqliteConnection, SqlitePool};

use super::{BEGIN, during};
use crate::coupon::{Audit, Campaign, CampaignChange, CouponId, NewCampaign, ShardNo, ShardStock, spread};
use crate::ledger::rows::{self, Holders, Tally, corrupt};
use crate::ledger::{CampaignError, LedgerError};
use crate::sqlite_file::SqliteFile;

pub(super) async fn create(file: &SqliteFile, new: &NewCampaign) -> Result<Campaign, CampaignError> {
    let mut transaction = file.writer.begin_with(BEGIN).await.map_err(during("begin"))?;
    let inserted = sqlx::query(include_str!("../sql/sqlite/insert_campaign.sql"))
        .bind(new.coupon_id.as_i64())
        .bind(new.policy_id.as_i64())
        .bind(new.total.cast_signed())
        .bind(new.shards)
        .bind(new.per_user_limit)
        .bind(new.opens_at_ms)
        .bind(new.closes_at_ms)
        .execute(&mut *transaction)
        .await
        .map_err(during("insert the campaign"))?
        .rows_affected();
    if inserted == 1 {
        insert_shards(&mut transaction, new.coupon_id, &spread(new.total, new.shards)).await?;
    }
    let campaign = one(&mut transaction, new.coupon_id).await?;
    transaction.commit().await.map_err(during("commit"))?;

    if rows::has_terms_of(&campaign, new) { Ok(campaign) } else { Err(CampaignError::Exists(new.coupon_id)) }
}

pub(super) async fn read(readers: &SqlitePool, coupon: Option<CouponId>) -> Result<Vec<Campaign>, LedgerError> {
    let mut snapshot = readers.begin().await.map_err(during("begin"))?;
    select(&mut snapshot, coupon).await
}

pub(super) async fn change(
    file: &SqliteFile,
    coupon: CouponId,
    change: CampaignChange,
) -> Result<Campaign, CampaignError> {
    let mut transaction = file.writer.begin_with(BEGIN).await.map_err(during("begin"))?;
    let mut campaign = one(&mut transaction, coupon).await?;
    rows::apply(&mut campaign, change)?;
    sqlx::query(include_str!("../sql/sqlite/update_campaign.sql"))
        .bind(coupon.as_i64())
        .bind(campaign.state.as_str())
        .bind(campaign.total.cast_signed())
        .bind(i64::try_from(campaign.shards.len()).unwrap_or(i64::MAX))
        .execute(&mut *transaction)
        .await
        .map_err(during("update the campaign"))?;
    if rows::moves_stock(change) {
        sqlx::query(include_str!("../sql/sqlite/delete_shards.sql"))
            .bind(coupon.as_i64())
            .execute(&mut *transaction)
            .await
            .map_err(during("replace the shards"))?;
        insert_shards(&mut transaction, coupon, &campaign.shards).await?;
    }
    transaction.commit().await.map_err(during("commit"))?;
    Ok(campaign)
}

pub(super) async fn audit(file: &SqliteFile, coupon: CouponId) -> Result<Option<Audit>, LedgerError> {
    let mut snapshot = file.readers.begin().await.map_err(during("begin"))?;
    let Some(campaign) = select(&mut snapshot, Some(coupon)).await?.pop() else { return Ok(None) };
    let tallies = sqlx::query(include_str!("../sql/sqlite/audit_outcomes.sql"))
        .bind(coupon.as_i64())
        .fetch_all(&mut *snapshot)
        .await
        .map_err(during("count the outcomes"))?;
    let users = sqlx::query(include_str!("../sql/sqlite/audit_users.sql"))
        .bind(coupon.as_i64())
        .bind(campaign.per_user_limit)
        .fetch_one(&mut *snapshot)
        .await
        .map_err(during("count the users"))?;
    let holders = Holders { users: count(&users, "users")?, over_limit: count(&users, "users_over_limit")? };
    let tallies = tallies.iter().map(tally).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(rows::audit(&campaign, &holders, &tallies)))
}

fn tally(row: &SqliteRow) -> Result<Tally, LedgerError> {
    let step = "count the outcomes";
    Ok(Tally {
        status: row.try_get("status").map_err(during(step))?,
        shard: row.try_get("shard_no").map_err(during(step))?,
        picked: row.try_get("picked_shard_no").map_err(during(step))?,
        outcomes: count(row, "outcomes")?,
    })
}

async fn one(transaction: &mut SqliteConnection, coupon: CouponId) -> Result<Campaign, CampaignError> {
    select(transaction, Some(coupon)).await?.pop().ok_or(CampaignError::NotFound(coupon))
}

async fn insert_shards(
    transaction: &mut SqliteConnection,
    coupon: CouponId,
    shards: &[ShardStock],
) -> Result<(), LedgerError> {
    let rows: Vec<_> = shards.iter().map(|shard| (shard.shard_no, shard.remaining)).collect();
    sqlx::query(include_str!("../sql/sqlite/insert_shards.sql"))
        .bind(coupon.as_i64())
        .bind(serde_json::to_string(&rows).expect("numbers are JSON"))
        .execute(transaction)
        .await
        .map_err(during("insert the shards"))?;
    Ok(())
}

async fn select(connection: &mut SqliteConnection, coupon: Option<CouponId>) -> Result<Vec<Campaign>, LedgerError> {
    let step = "read the campaigns";
    let coupon = coupon.map(CouponId::as_i64);
    let campaigns = fetch(&mut *connection, include_str!("../sql/sqlite/select_campaigns.sql"), coupon).await?;
    let shards = fetch(&mut *connection, include_str!("../sql/sqlite/select_shards.sql"), coupon).await?;
    let mut stock: BTreeMap<i64, Vec<ShardStock>> = BTreeMap::new();
    for row in &shards {
        let coupon: i64 = row.try_get("coupon_id").map_err(during(step))?;
        let shard_no = ShardNo(row.try_get("shard_no").map_err(during(step))?);
        stock.entry(coupon).or_default().push(ShardStock { shard_no, remaining: count(row, "remaining")? });
    }
    campaigns.iter().map(|row| campaign(row, &mut stock)).collect()
}

async fn fetch<'c>(
    connection: impl Executor<'c, Database = Sqlite>,
    statement: &'static str,
    coupon: Option<i64>,
) -> Result<Vec<SqliteRow>, LedgerError> {
    sqlx::query(statement).bind(coupon).fetch_all(connection).await.map_err(during("read the campaigns"))
}

fn campaign(row: &SqliteRow, stock: &mut BTreeMap<i64, Vec<ShardStock>>) -> Result<Campaign, LedgerError> {
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

/// Reads a column that is never negative.
pub(super) fn count(row: &SqliteRow, column: &'static str) -> Result<u64, LedgerError> {
    let number: i64 = row.try_get(column).map_err(during(column))?;
    u64::try_from(number).map_err(|_| corrupt(column, format!("{number} is negative")))
}
