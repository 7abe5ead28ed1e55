//! Which ledger group this database is, and the groups of the coupons.

use sqlx::MySqlPool;

use super::call::during;
use crate::coupon::{CouponId, GroupNo};
use crate::ledger::{LedgerError, Place, rows};

pub(super) async fn place(readers: &MySqlPool) -> Result<Option<Place>, LedgerError> {
    let row = sqlx::query(include_str!("../sql/common/select_place.sql"))
        .fetch_optional(readers)
        .await
        .map_err(during("read the ledger group"))?;
    row.as_ref().map(rows::place).transpose()
}

pub(super) async fn store_place(writers: &MySqlPool, place: Place) -> Result<(), LedgerError> {
    sqlx::query(include_str!("../sql/mysql/store_place.sql"))
        .bind(place.group.0)
        .bind(place.partitions_each)
        .bind(place.groups_seen)
        .execute(writers)
        .await
        .map_err(during("store the ledger group"))?;
    Ok(())
}

pub(super) async fn group_of(readers: &MySqlPool, coupon: CouponId) -> Result<Option<GroupNo>, LedgerError> {
    let step = "read the group of the coupon";
    let row = sqlx::query(include_str!("../sql/common/select_coupon_group.sql"))
        .bind(coupon.as_i64())
        .bind(coupon.as_i64())
        .fetch_optional(readers)
        .await
        .map_err(during(step))?;
    row.map(|row| rows::group_no(&row, step)).transpose()
}

pub(super) async fn assign(writers: &MySqlPool, coupon: CouponId, group: GroupNo) -> Result<GroupNo, LedgerError> {
    let step = "assign the coupon to a group";
    sqlx::query(include_str!("../sql/mysql/insert_coupon_group.sql"))
        .bind(coupon.as_i64())
        .bind(coupon.as_i64())
        .bind(group.0)
        .execute(writers)
        .await
        .map_err(during(step))?;
    // An assignment never changes, so it is read outside of the statement that made it.
    let assigned = group_of(writers, coupon).await?;
    assigned.ok_or_else(|| LedgerError::Transient { step, source: "the assignment is gone".into() })
}
