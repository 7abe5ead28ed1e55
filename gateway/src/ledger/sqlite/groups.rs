//! Which ledger group this database is, and the groups of the coupons.

use super::call::{begin, check, during};
use crate::coupon::{CouponId, GroupNo};
use crate::ledger::{LedgerError, Place, rows};
use crate::sqlite_file::SqliteFile;

pub(super) async fn place(file: &SqliteFile) -> Result<Option<Place>, LedgerError> {
    let row = sqlx::query(include_str!("../sql/common/select_place.sql"))
        .fetch_optional(&file.readers)
        .await
        .map_err(during("read the ledger group"))?;
    row.as_ref().map(rows::place).transpose()
}

pub(super) async fn store_place(file: &SqliteFile, place: Place) -> Result<(), LedgerError> {
    let step = "store the ledger group";
    check(file, step)?;
    sqlx::query(include_str!("../sql/sqlite/store_place.sql"))
        .bind(place.group.0)
        .bind(place.partitions_each)
        .bind(place.groups_seen)
        .execute(&file.writer)
        .await
        .map_err(during(step))?;
    Ok(())
}

pub(super) async fn group_of(file: &SqliteFile, coupon: CouponId) -> Result<Option<GroupNo>, LedgerError> {
    let step = "read the group of the coupon";
    let row = sqlx::query(include_str!("../sql/common/select_coupon_group.sql"))
        .bind(coupon.as_i64())
        .bind(coupon.as_i64())
        .fetch_optional(&file.readers)
        .await
        .map_err(during(step))?;
    row.map(|row| rows::group_no(&row, step)).transpose()
}

pub(super) async fn assign(file: &SqliteFile, coupon: CouponId, group: GroupNo) -> Result<GroupNo, LedgerError> {
    let step = "assign the coupon to a group";
    let mut transaction = begin(file, step).await?;
    sqlx::query(include_str!("../sql/sqlite/insert_coupon_group.sql"))
        .bind(coupon.as_i64())
        .bind(coupon.as_i64())
        .bind(group.0)
        .execute(&mut *transaction)
        .await
        .map_err(during(step))?;
    let row = sqlx::query(include_str!("../sql/common/select_coupon_group.sql"))
        .bind(coupon.as_i64())
        .bind(coupon.as_i64())
        .fetch_one(&mut *transaction)
        .await
        .map_err(during(step))?;
    transaction.commit().await.map_err(during(step))?;
    rows::group_no(&row, step)
}
