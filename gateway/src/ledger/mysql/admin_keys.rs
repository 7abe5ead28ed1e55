//! The keys of changes to campaigns, kept in the transaction of the change.

use sqlx::MySqlConnection;

use super::call::during;
use crate::coupon::{CampaignChange, ChangeKey, CouponId, now_ms};
use crate::ledger::{CampaignError, LedgerError, change_key, rows};

/// Whether the key was used for this change.
pub(super) async fn is_used(
    transaction: &mut MySqlConnection,
    key: ChangeKey,
    coupon: CouponId,
    change: CampaignChange,
) -> Result<bool, CampaignError> {
    let step = "read the admin key";
    let row = sqlx::query(include_str!("../sql/common/select_admin_key.sql"))
        .bind(key.as_bytes().as_slice())
        .fetch_optional(transaction)
        .await
        .map_err(during(step))?;
    let used_for = row.map(|row| rows::column::<String>(&row, step, "used_for")).transpose()?;
    match used_for {
        Some(used_for) if used_for != change_key::used_for(coupon, change) => Err(CampaignError::KeyReused),
        used_for => Ok(used_for.is_some()),
    }
}

/// Deletes old keys too: changes are rare, and each deletes more than it adds.
pub(super) async fn insert(
    transaction: &mut MySqlConnection,
    key: ChangeKey,
    coupon: CouponId,
    change: CampaignChange,
) -> Result<(), LedgerError> {
    sqlx::query(include_str!("../sql/mysql/delete_old_admin_keys.sql"))
        .bind(change_key::oldest_kept_ms(now_ms()))
        .execute(&mut *transaction)
        .await
        .map_err(during("delete old admin keys"))?;
    sqlx::query(include_str!("../sql/common/insert_admin_key.sql"))
        .bind(key.as_bytes().as_slice())
        .bind(change_key::used_for(coupon, change))
        .bind(now_ms())
        .execute(transaction)
        .await
        .map_err(during("insert the admin key"))?;
    Ok(())
}
