//! Stock under locks: campaigns shared, then shards exclusively.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::MySqlConnection;

use super::call::{during, select};
use crate::coupon::CouponId;
use crate::ledger::outcome_row::json;
use crate::ledger::{LedgerError, LockedStock, Shards, StockDecrement, rows};

/// Whoever adds stock locks the campaign exclusively. Under the shared lock the stock of a campaign only falls, so a
/// shard that is read as empty stays empty and needs no lock. Nobody then waits for a sold-out coupon.
pub(super) async fn lock(
    connection: &mut MySqlConnection,
    wanted: &BTreeMap<CouponId, Shards>,
) -> Result<BTreeMap<CouponId, LockedStock>, LedgerError> {
    let step = "lock the stock";
    let coupons: Vec<_> = wanted.keys().collect();
    let campaigns = select(connection, step, include_str!("../sql/mysql/hold_campaigns.sql"), &coupons).await?;
    let (mut complete, mut shards) = (Vec::new(), BTreeSet::new());
    for (coupon, wanted) in wanted {
        match wanted {
            Shards::All => complete.push(*coupon),
            Shards::Some(numbers) => shards.extend(numbers.iter().map(|number| (*coupon, *number))),
        }
    }
    let seen = select(connection, step, include_str!("../sql/mysql/select_stock.sql"), &complete).await?;
    let mut stock = rows::stock(&seen, step)?;
    shards.extend(stock.iter().filter(|(_, remaining)| **remaining > 0).map(|(shard, _)| *shard));
    let shards: Vec<_> = shards.into_iter().collect();
    let locked = select(connection, step, include_str!("../sql/mysql/lock_shards.sql"), &shards).await?;
    stock.extend(rows::stock(&locked, step)?);
    Ok(rows::locked_stock(wanted, rows::limits(&campaigns, step)?, stock))
}

pub(super) async fn take(connection: &mut MySqlConnection, decrements: &[StockDecrement]) -> Result<(), LedgerError> {
    let step = "take stock";
    if decrements.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = decrements.iter().map(|each| (each.coupon_id, each.shard_no, each.records)).collect();
    let touched = sqlx::query(include_str!("../sql/mysql/take_stock.sql"))
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
