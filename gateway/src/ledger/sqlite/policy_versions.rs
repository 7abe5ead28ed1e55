//! The versions of the policies, and their components.

use sqlx::SqliteConnection;

use super::call::{begin, during};
use crate::ledger::policy_version::POLICY_VERSIONS_MAX;
use crate::ledger::{LedgerError, PolicyVersion, StoredComponent, rows};
use crate::sqlite_file::SqliteFile;

/// The order is raised first: all registrations and publications wait for its lock, so that none deletes the component
/// of another one.
pub(super) async fn register(file: &SqliteFile, version: &PolicyVersion, bytes: &[u8]) -> Result<(), LedgerError> {
    let step = "register the policy";
    let mut transaction = begin(file, step).await?;
    sqlx::query(include_str!("../sql/common/raise_policy_order.sql"))
        .execute(&mut *transaction)
        .await
        .map_err(during(step))?;
    sqlx::query(include_str!("../sql/sqlite/replace_component.sql"))
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

pub(super) async fn versions(file: &SqliteFile) -> Result<Vec<PolicyVersion>, LedgerError> {
    let rows = sqlx::query(include_str!("../sql/common/select_policy_versions.sql"))
        .fetch_all(&file.readers)
        .await
        .map_err(during("read the policy versions"))?;
    rows::policy_versions(&rows)
}

/// Deletes old versions that no generation names, and components that nothing names.
pub(super) async fn delete_unused(transaction: &mut SqliteConnection) -> Result<(), LedgerError> {
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

pub(super) async fn component(file: &SqliteFile, digest: &str) -> Result<Option<StoredComponent>, LedgerError> {
    let row = sqlx::query(include_str!("../sql/common/select_component.sql"))
        .bind(digest)
        .fetch_optional(&file.readers)
        .await
        .map_err(during("read the component"))?;
    row.as_ref().map(rows::component).transpose()
}
