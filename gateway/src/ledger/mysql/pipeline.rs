//! Published generations.

use std::sync::Arc;

use sqlx::MySqlPool;

use super::call::{during, limited};
use super::policy_versions;
use crate::coupon::{CouponId, GenerationNo};
use crate::ledger::generation::coupon_column;
use crate::ledger::{GenerationRow, LedgerError, rows};

pub(super) async fn generations(
    readers: &MySqlPool,
    coupon: Option<CouponId>,
    rows_max: u32,
) -> Result<Vec<GenerationRow>, LedgerError> {
    let rows = sqlx::query(limited(include_str!("../sql/common/select_generations.sql"), rows_max))
        .bind(coupon_column(coupon))
        .fetch_all(readers)
        .await
        .map_err(during("read the generations"))?;
    rows::generations(&rows)
}

pub(super) async fn newest_generations(
    readers: &MySqlPool,
    after: GenerationNo,
    rows_max: u32,
) -> Result<Vec<GenerationRow>, LedgerError> {
    let rows = sqlx::query(limited(include_str!("../sql/common/select_newest_generations.sql"), rows_max))
        .bind(after.cast_signed())
        .fetch_all(readers)
        .await
        .map_err(during("read the newest generations"))?;
    rows::generations(&rows)
}

pub(super) async fn publish(
    writers: &MySqlPool,
    row: &GenerationRow,
    components: &[(String, Arc<[u8]>)],
) -> Result<bool, LedgerError> {
    let step = "store the generation";
    let mut transaction = writers.begin().await.map_err(during(step))?;
    sqlx::query(include_str!("../sql/common/lock_policy_order.sql"))
        .execute(&mut *transaction)
        .await
        .map_err(during(step))?;
    let inserted = sqlx::query(include_str!("../sql/mysql/insert_generation.sql"))
        .bind(row.number.cast_signed())
        .bind(coupon_column(row.coupon))
        .bind(&row.pipeline)
        .bind(row.published_at_ms)
        .bind(row.number.cast_signed())
        .execute(&mut *transaction)
        .await
        .map_err(during(step))?
        .rows_affected();
    if inserted == 0 {
        return Ok(false);
    }
    for (digest, bytes) in components {
        sqlx::query(include_str!("../sql/mysql/insert_component.sql"))
            .bind(digest)
            .bind(&**bytes)
            .execute(&mut *transaction)
            .await
            .map_err(during("store a component"))?;
    }
    sqlx::query(include_str!("../sql/common/delete_old_generations.sql"))
        .bind(coupon_column(row.coupon))
        .bind(coupon_column(row.coupon))
        .bind(row.kept_max())
        .execute(&mut *transaction)
        .await
        .map_err(during(step))?;
    policy_versions::delete_unused(&mut transaction).await?;
    transaction.commit().await.map_err(during(step))?;
    Ok(true)
}

pub(super) async fn end(writers: &MySqlPool, coupon: CouponId) -> Result<(), LedgerError> {
    let step = "end the pipeline of a coupon";
    let mut transaction = writers.begin().await.map_err(during(step))?;
    sqlx::query(include_str!("../sql/common/lock_policy_order.sql"))
        .execute(&mut *transaction)
        .await
        .map_err(during(step))?;
    let mut rows = 0;
    for statement in
        [include_str!("../sql/common/delete_ended_generations.sql"), include_str!("../sql/common/empty_generation.sql")]
    {
        let done = sqlx::query(statement).bind(coupon.as_i64()).execute(&mut *transaction).await;
        rows += done.map_err(during(step))?.rows_affected();
    }
    // Most coupons have no pipeline of their own.
    if rows == 0 {
        return Ok(());
    }
    policy_versions::delete_unused(&mut transaction).await?;
    transaction.commit().await.map_err(during(step))
}
