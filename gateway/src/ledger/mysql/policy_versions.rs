//! The versions of the policies, and their components.

use sqlx::{MySqlConnection, MySqlPool};

use super::call::during;
use crate::ledger::policy_version::POLICY_VERSIONS_MAX;
use crate::ledger::{LedgerError, PolicyVersion, StoredComponent, rows};

/// The order is raised first: all registrations and publications wait for its lock, so that none deletes the component
/// of another one.
pub(super) async fn register(writers: &MySqlPool, version: &PolicyVersion, bytes: &[u8]) -> Result<(), LedgerError> {
    let step = "register the policy";
    let mut transaction = writers.begin().await.map_err(during(step))?;
    sqlx::query(include_str!("../sql/common/raise_policy_order.sql"))
        .execute(&mut *transaction)
        .await
        .map_err(during(step))?;
    sqlx::query(include_str!("../sql/mysql/replace_component.sql"))
        .bind(&version.digest)
        .bind(bytes)
        .bind(&version.signature)
        .execute(&mut *transaction)
        .await
        .map_err(during("store the component"))?;
    sqlx::query(include_str!("../sql/common/replace_policy_version.sql"))
        .bind(&version.name)
        .bind(&version.digest)
        .bind(&version.world)
        .bind(&version.contract)
        .bind(version.bytes.cast_signed())
        .bind(&version.source)
        .bind(&version.registered_by)
        .bind(version.registered_at_ms)
        .execute(&mut *transaction)
        .await
        .map_err(during(step))?;
    delete_unused(&mut transaction).await?;
    transaction.commit().await.map_err(during(step))
}

pub(super) async fn versions(readers: &MySqlPool) -> Result<Vec<PolicyVersion>, LedgerError> {
    let rows = sqlx::query(include_str!("../sql/common/select_policy_versions.sql"))
        .fetch_all(readers)
        .await
        .map_err(during("read the policy versions"))?;
    rows::policy_versions(&rows)
}

/// Deletes old versions that no generation names, and components that nothing names.
pub(super) async fn delete_unused(transaction: &mut MySqlConnection) -> Result<(), LedgerError> {
    sqlx::query(include_str!("../sql/common/delete_old_policy_versions.sql"))
        .bind(POLICY_VERSIONS_MAX)
        .execute(&mut *transaction)
        .await
        .map_err(during("delete old policy versions"))?;
    sqlx::query(include_str!("../sql/common/delete_old_components.sql"))
        .execute(transaction)
        .await
        .map_err(during("delete old components"))?;
    Ok(())
}

pub(super) async fn component(readers: &MySqlPool, digest: &str) -> Result<Option<StoredComponent>, LedgerError> {
    let row = sqlx::query(include_str!("../sql/common/select_component.sql"))
        .bind(digest)
        .fetch_optional(readers)
        .await
        .map_err(during("read the component"))?;
    row.as_ref().map(rows::component).transpose()
}
