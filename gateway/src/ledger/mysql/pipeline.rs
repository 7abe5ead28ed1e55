//! Published generations.

use std::sync::Arc;

use sqlx::MySqlPool;
use sqlx::error::ErrorKind;

use super::call::during;
use super::policy_versions;
use crate::ledger::{GENERATIONS_MAX, GenerationRow, LedgerError, rows};

pub(super) async fn generations(readers: &MySqlPool, rows_max: u32) -> Result<Vec<GenerationRow>, LedgerError> {
    let rows = sqlx::query(include_str!("../sql/common/select_generations.sql"))
        .bind(rows_max)
        .fetch_all(readers)
        .await
        .map_err(during("read the generations"))?;
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
        .bind(&row.pipeline)
        .bind(row.published_at_ms)
        .execute(&mut *transaction)
        .await;
    match inserted {
        Err(sqlx::Error::Database(error)) if error.kind() == ErrorKind::UniqueViolation => return Ok(false),
        inserted => inserted.map_err(during(step))?,
    };
    for (digest, bytes) in components {
        sqlx::query(include_str!("../sql/mysql/insert_component.sql"))
            .bind(digest)
            .bind(&**bytes)
            .execute(&mut *transaction)
            .await
            .map_err(during("store a component"))?;
    }
    sqlx::query(include_str!("../sql/common/delete_old_generations.sql"))
        .bind(row.number.saturating_sub(GENERATIONS_MAX).cast_signed())
        .execute(&mut *transaction)
        .await
        .map_err(during(step))?;
    policy_versions::delete_unused(&mut transaction).await?;
    transaction.commit().await.map_err(during(step))?;
    Ok(true)
}
