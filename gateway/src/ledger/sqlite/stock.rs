//! Stock. The write lock of the transaction holds everything.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::call::during;
use crate::coupon::CouponId;
use crate::ledger::outcome_row::json;
use crate::ledger::{LedgerError, LockedStock, Shards, StockDecrement, rows};

pub(super) async fn lock(
    connection: &mut SqliteConnection,
    wanted: &BTreeMap<CouponId, Shards>,
) -> Result<BTreeMap<CouponId, LockedStock>, LedgerError> {
    let step = "lock the stock";
    let coupons: Vec<_> = wanted.keys().collect();
    let limits = sqlx::query(include_str!("../sql/sqlite/select_limits.sql"))
        .bind(json(&coupons))
        .fetch_all(&mut *connection)
        .await
        .map_err(during(step))?;
    let (mut complete, mut shards) = (Vec::new(), Vec::new());
    for (coupon, wanted) in wanted {
        match wanted {
            Shards::All => complete.push(*coupon),
            Shards::Some(numbers) => shards.extend(numbers.iter().map(|number| (*coupon, *number))),
        }
    }
    let stock = sqlx::query(include_str!("../sql/sqlite/select_stock.sql"))
        .bind(json(&shards))
        .bind(json(&complete))
        .fetch_all(connection)
        .await
        .map_err(during(step))?;
    Ok(rows::locked_stock(wanted, rows::limits(&limits, step)?, rows::stock(&stock, step)?))
}

pub(super) async fn take(connection: &mut SqliteConnection, decrements: &[StockDecrement]) -> Result<(), LedgerError> {
    let step = "take stock";
    if decrements.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = decrements.iter().map(|each| (each.coupon_id, each.shard_no, each.records)).collect();
    let touched = sqlx::query(include_str!("../sql/sqlite/take_stock.sql"))
        .bind(json(&rows))
        .execute(connection)
        .await
        .map_err(during(step))?
        .rows_affected();
    if touched == decrements.len() as u64 {
        Ok(())
    } else {
        let what = format!("only {touched} of {} shards have enough left", decrements.len());
        Err(LedgerError::Transient { step, source: what.into() })
    }
}
