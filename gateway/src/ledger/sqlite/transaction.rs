//! One settlement. The write lock of `BEGIN IMMEDIATE` takes the place of row locks.

use std::collections::{BTreeSet, HashMap};

use futures_util::future::BoxFuture;
use sqlx::Sqlite;

use super::call::{BEGIN, during};
use crate::coupon::{CouponId, PartitionNo, RequestId, Settled, UserId};
use crate::ledger::outcome_row::{OutcomeRow, hexadecimal, json};
use crate::ledger::{Claim, LedgerError, LockedStock, PartitionOffset, Shards, StockDecrement, Transaction, rows};
use crate::sqlite_file::SqliteFile;

pub(super) struct SqliteTransaction(sqlx::Transaction<'static, Sqlite>);

impl SqliteTransaction {
    pub(super) async fn begin(file: &SqliteFile) -> Result<Self, LedgerError> {
        file.writer.begin_with(BEGIN).await.map(Self).map_err(during("begin"))
    }

    async fn read_offset(&mut self, partition: PartitionNo) -> Result<PartitionOffset, LedgerError> {
        let step = "lock the offset";
        let row = sqlx::query(include_str!("../sql/common/select_offset.sql"))
            .bind(partition.0)
            .fetch_one(&mut *self.0)
            .await
            .map_err(during(step))?;
        rows::partition_offset(&row, step)
    }

    async fn read_replays(&mut self, requests: &[RequestId]) -> Result<BTreeSet<RequestId>, LedgerError> {
        let step = "read the replays";
        let ids: Vec<_> = requests.iter().map(hexadecimal).collect();
        let rows = sqlx::query(include_str!("../sql/sqlite/select_replays.sql"))
            .bind(json(&ids))
            .fetch_all(&mut *self.0)
            .await
            .map_err(during(step))?;
        rows::request_ids(&rows, step)
    }

    async fn read_grants(&mut self, coupon: CouponId, users: &[UserId]) -> Result<HashMap<UserId, u32>, LedgerError> {
        let step = "read the grants";
        let rows = sqlx::query(include_str!("../sql/sqlite/select_grants.sql"))
            .bind(coupon.as_i64())
            .bind(json(&users))
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
        let numbers = match shards {
            Shards::Some(numbers) => Some(json(numbers)),
            Shards::All => None,
        };
        let shards = sqlx::query(include_str!("../sql/sqlite/lock_shards.sql"))
            .bind(coupon.as_i64())
            .bind(numbers)
            .fetch_all(&mut *self.0)
            .await
            .map_err(during(step))?;
        rows::locked_stock(&limit, &shards).map(Some)
    }

    async fn take(&mut self, decrements: &[StockDecrement]) -> Result<(), LedgerError> {
        for decrement in decrements {
            let touched = sqlx::query(include_str!("../sql/sqlite/take_stock.sql"))
                .bind(decrement.coupon_id.as_i64())
                .bind(decrement.shard_no.0)
                .bind(decrement.records.cast_signed())
                .execute(&mut *self.0)
                .await
                .map_err(during("take stock"))?
                .rows_affected();
            if touched != 1 {
                let StockDecrement { coupon_id, shard_no, records } = decrement;
                let what = format!("shard {shard_no} of coupon {coupon_id} has less than {records} left");
                return Err(LedgerError::Transient { step: "take stock", source: what.into() });
            }
        }
        Ok(())
    }

    async fn insert(&mut self, settled: &[Settled]) -> Result<(), LedgerError> {
        let rows: Vec<_> = settled.iter().map(OutcomeRow::of).collect();
        sqlx::query(include_str!("../sql/sqlite/insert_outcomes.sql"))
            .bind(json(&rows))
            .execute(&mut *self.0)
            .await
            .map_err(during("insert the outcomes"))?;
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

impl Transaction for SqliteTransaction {
    fn lock_offset(&mut self, partition: PartitionNo) -> BoxFuture<'_, Result<PartitionOffset, LedgerError>> {
        Box::pin(self.read_offset(partition))
    }

    fn replays<'a>(&'a mut self, requests: &'a [RequestId]) -> BoxFuture<'a, Result<BTreeSet<RequestId>, LedgerError>> {
        Box::pin(self.read_replays(requests))
    }

    fn grants<'a>(
        &'a mut self,
        coupon: CouponId,
        users: &'a [UserId],
    ) -> BoxFuture<'a, Result<HashMap<UserId, u32>, LedgerError>> {
        Box::pin(self.read_grants(coupon, users))
    }

    fn lock_stock<'a>(
        &'a mut self,
        coupon: CouponId,
        shards: &'a Shards,
    ) -> BoxFuture<'a, Result<Option<LockedStock>, LedgerError>> {
        Box::pin(self.read_stock(coupon, shards))
    }

    fn take_stock<'a>(&'a mut self, decrements: &'a [StockDecrement]) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(self.take(decrements))
    }

    fn insert_outcomes<'a>(&'a mut self, settled: &'a [Settled]) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(self.insert(settled))
    }

    fn advance(&mut self, from: Claim, to: Claim) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(self.move_offset(from, to))
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), LedgerError>> {
        Box::pin(async move { self.0.commit().await.map_err(during("commit")) })
    }
}
