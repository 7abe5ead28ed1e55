//! One settlement, under row locks.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use futures_util::future::BoxFuture;
use sqlx::{MySql, MySqlPool, QueryBuilder};

use super::call::{during, within};
use crate::coupon::{CouponId, PartitionNo, RequestId, Settled, UserId};
use crate::ledger::outcome_row::{OutcomeRow, hexadecimal, json};
use crate::ledger::{Claim, LedgerError, LockedStock, PartitionOffset, Shards, StockDecrement, Transaction, rows};

/// A quarter of MariaDB's default `max_allowed_packet`. Some thousand outcomes fit.
const STATEMENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// An upper bound for a row without its terms.
const ROW_BYTES_MAX: usize = 512;

/// When it is dropped, or the answer to its COMMIT is lost, the pool reuses the connection only after a
/// successful ROLLBACK.
pub(super) struct MysqlTransaction(sqlx::Transaction<'static, MySql>);

impl MysqlTransaction {
    pub(super) async fn begin(writers: &MySqlPool) -> Result<Self, LedgerError> {
        writers.begin().await.map(Self).map_err(during("begin"))
    }

    async fn read_offset(&mut self, partition: PartitionNo) -> Result<PartitionOffset, LedgerError> {
        let step = "lock the offset";
        let row = sqlx::query(include_str!("../sql/mysql/lock_offset.sql"))
            .bind(partition.0)
            .fetch_one(&mut *self.0)
            .await
            .map_err(during(step))?;
        rows::partition_offset(&row, step)
    }

    async fn read_replays(&mut self, requests: &[RequestId]) -> Result<BTreeSet<RequestId>, LedgerError> {
        let step = "read the replays";
        let ids: Vec<_> = requests.iter().map(hexadecimal).collect();
        let rows = sqlx::query(include_str!("../sql/mysql/select_replays.sql"))
            .bind(json(&ids))
            .fetch_all(&mut *self.0)
            .await
            .map_err(during(step))?;
        rows::request_ids(&rows, step)
    }

    async fn read_grants(&mut self, coupon: CouponId, users: &[UserId]) -> Result<HashMap<UserId, u32>, LedgerError> {
        let step = "read the grants";
        let rows = sqlx::query(include_str!("../sql/mysql/select_grants.sql"))
            .bind(json(&users))
            .bind(coupon.as_i64())
            .fetch_all(&mut *self.0)
            .await
            .map_err(during(step))?;
        rows::grants(&rows, step)
    }

    async fn read_stock(&mut self, coupon: CouponId, shards: &Shards) -> Result<Option<LockedStock>, LedgerError> {
        let step = "lock the stock";
        let limit = sqlx::query(include_str!("../sql/common/select_limit.sql"))
            .bind(coupon.as_i64())
            .fetch_optional(&mut *self.0)
            .await
            .map_err(during(step))?;
        let Some(limit) = limit else { return Ok(None) };
        let query = match shards {
            Shards::Some(numbers) => sqlx::query(include_str!("../sql/mysql/lock_shards.sql")).bind(json(numbers)),
            Shards::All => sqlx::query(include_str!("../sql/mysql/lock_all_shards.sql")),
        };
        let shards = query.bind(coupon.as_i64()).fetch_all(&mut *self.0).await.map_err(during(step))?;
        rows::locked_stock(&limit, &shards).map(Some)
    }

    async fn take(&mut self, decrements: &[StockDecrement]) -> Result<(), LedgerError> {
        let step = "take stock";
        if decrements.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = decrements.iter().map(|each| (each.coupon_id, each.shard_no, each.records)).collect();
        let touched = sqlx::query(include_str!("../sql/mysql/take_stock.sql"))
            .bind(json(&rows))
            .execute(&mut *self.0)
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

    async fn insert(&mut self, settled: &[Settled]) -> Result<(), LedgerError> {
        let mut rows = settled.iter().map(OutcomeRow::of).peekable();
        while rows.peek().is_some() {
            let mut insert = QueryBuilder::new(include_str!("../sql/mysql/insert_outcomes.sql"));
            let (mut separator, mut bytes) = ("VALUES ", 0);
            while let Some(row) = rows.next_if(|row| bytes == 0 || bytes + bytes_of(row) <= STATEMENT_BYTES_MAX) {
                bytes += bytes_of(&row);
                push_row(insert.push(separator), row);
                separator = ", ";
            }
            // Hardly two batches have the same number of rows: a prepared statement would not be used again.
            insert.build().persistent(false).execute(&mut *self.0).await.map_err(during(INSERT))?;
        }
        Ok(())
    }

    async fn move_offset(&mut self, from: Claim, to: Claim) -> Result<(), LedgerError> {
        let touched = sqlx::query(include_str!("../sql/common/advance_offset.sql"))
            .bind(to.next_offset.cast_signed())
            .bind(to.released_offset.cast_signed())
            .bind(from.partition.0)
            .bind(from.epoch)
            .bind(from.next_offset.cast_signed())
            .execute(&mut *self.0)
            .await
            .map_err(during("advance the offset"))?
            .rows_affected();
        if touched == 1 {
            Ok(())
        } else {
            let what = format!("the epoch or offset of partition {} differs from the claim's", from.partition);
            Err(LedgerError::Transient { step: "advance the offset", source: what.into() })
        }
    }
}

const INSERT: &str = "insert the outcomes";

fn bytes_of(row: &OutcomeRow) -> usize {
    ROW_BYTES_MAX + row.terms.as_ref().map_or(0, String::len)
}

/// Numbers, our own words and hexadecimal are written into the statement, which costs the server far less than
/// parameters. Only the terms come from a client, and they are bound.
fn push_row(insert: &mut QueryBuilder<MySql>, row: OutcomeRow) {
    let OutcomeRow { request_id, status, partition, offset, settled_at_ms, terms, .. } = row;
    insert.push(format_args!(
        "(x'{request_id}', '{status}', {}, {}, {}, {}, {}, {}, {}, {partition}, {offset}, {}, {settled_at_ms}, ",
        Nullable(row.coupon_id),
        Nullable(row.user_id),
        Nullable(row.grant_no),
        Nullable(row.shard_no),
        Nullable(row.picked_shard_no),
        Nullable(row.generation),
        Nullable(row.fingerprint),
        Nullable(row.arrived_at_ms),
    ));
    insert.push_bind(terms).push(")");
}

struct Nullable<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Nullable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("NULL"),
        }
    }
}

impl Transaction for MysqlTransaction {
    fn lock_offset(&mut self, partition: PartitionNo) -> BoxFuture<'_, Result<PartitionOffset, LedgerError>> {
        Box::pin(within("lock the offset", self.read_offset(partition)))
    }

    fn replays<'a>(&'a mut self, requests: &'a [RequestId]) -> BoxFuture<'a, Result<BTreeSet<RequestId>, LedgerError>> {
        Box::pin(within("read the replays", self.read_replays(requests)))
    }

    fn grants<'a>(
        &'a mut self,
        coupon: CouponId,
        users: &'a [UserId],
    ) -> BoxFuture<'a, Result<HashMap<UserId, u32>, LedgerError>> {
        Box::pin(within("read the grants", self.read_grants(coupon, users)))
    }

    fn lock_stock<'a>(
        &'a mut self,
        coupon: CouponId,
        shards: &'a Shards,
    ) -> BoxFuture<'a, Result<Option<LockedStock>, LedgerError>> {
        Box::pin(within("lock the stock", self.read_stock(coupon, shards)))
    }

    fn take_stock<'a>(&'a mut self, decrements: &'a [StockDecrement]) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(within("take stock", self.take(decrements)))
    }

    fn insert_outcomes<'a>(&'a mut self, settled: &'a [Settled]) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(within(INSERT, self.insert(settled)))
    }

    fn advance(&mut self, from: Claim, to: Claim) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(within("advance the offset", self.move_offset(from, to)))
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), LedgerError>> {
        // The commit may have happened whatever the error: only the partition's offset tells.
        let transient = |source: sqlx::Error| LedgerError::Transient { step: "commit", source: source.into() };
        Box::pin(within("commit", async move { self.0.commit().await.map_err(transient) }))
    }
}
