//! One settlement. The write lock that `BEGIN IMMEDIATE` takes stands in for the locks of rows.

use std::collections::{BTreeSet, HashMap};

use futures_util::future::BoxFuture;
use sqlx::{Row, Sqlite};

use super::campaigns::count;
use super::{BEGIN, during};
use crate::coupon::{CouponId, Offset, PartitionNo, RequestId, Settled, ShardNo, UserId};
use crate::ledger::rows::{OutcomeRow, corrupt, hexadecimal, json};
use crate::ledger::{Claim, LedgerError, LockedStock, OffsetRow, Shards, Take, Transaction};
use crate::sqlite_file::SqliteFile;

pub(super) struct SqliteTransaction(sqlx::Transaction<'static, Sqlite>);

impl SqliteTransaction {
    pub(super) async fn begin(file: &SqliteFile) -> Result<Self, LedgerError> {
        file.writer.begin_with(BEGIN).await.map(Self).map_err(during("begin"))
    }

    async fn read_offset(&mut self, partition: PartitionNo) -> Result<OffsetRow, LedgerError> {
        let step = "lock the offset";
        let row = sqlx::query(include_str!("../sql/sqlite/select_offset.sql"))
            .bind(partition.0)
            .fetch_one(&mut *self.0)
            .await
            .map_err(during(step))?;
        Ok(OffsetRow { epoch: row.try_get("epoch").map_err(during(step))?, next_offset: count(&row, "next_offset")? })
    }

    async fn read_replays(&mut self, requests: &[RequestId]) -> Result<BTreeSet<RequestId>, LedgerError> {
        let step = "read the replays";
        let ids: Vec<_> = requests.iter().map(hexadecimal).collect();
        let rows = sqlx::query(include_str!("../sql/sqlite/select_replays.sql"))
            .bind(json(&ids))
            .fetch_all(&mut *self.0)
            .await
            .map_err(during(step))?;
        rows.iter()
            .map(|row| {
                let bytes: &[u8] = row.try_get("request_id").map_err(during(step))?;
                let bytes: [u8; 16] = bytes.try_into().map_err(|_| corrupt(step, "a request_id is not 16 bytes"))?;
                Ok(bytes.into())
            })
            .collect()
    }

    async fn read_grants(&mut self, coupon: CouponId, users: &[UserId]) -> Result<HashMap<UserId, u32>, LedgerError> {
        let step = "read the grants";
        let rows = sqlx::query(include_str!("../sql/sqlite/select_grants.sql"))
            .bind(coupon.as_i64())
            .bind(json(&users))
            .fetch_all(&mut *self.0)
            .await
            .map_err(during(step))?;
        rows.iter()
            .map(|row| {
                let user: i64 = row.try_get("user_id").map_err(during(step))?;
                let user = user.try_into().map_err(|_| corrupt(step, "user_id is out of range"))?;
                Ok((user, row.try_get("grants").map_err(during(step))?))
            })
            .collect()
    }

    async fn read_stock(&mut self, coupon: CouponId, shards: &Shards) -> Result<Option<LockedStock>, LedgerError> {
        let step = "lock the stock";
        let limit = sqlx::query(include_str!("../sql/sqlite/select_limit.sql"))
            .bind(coupon.as_i64())
            .fetch_optional(&mut *self.0)
            .await
            .map_err(during(step))?;
        let Some(limit) = limit else { return Ok(None) };
        let numbers = match shards {
            Shards::Some(numbers) => Some(json(numbers)),
            Shards::All => None,
        };
        let rows = sqlx::query(include_str!("../sql/sqlite/lock_shards.sql"))
            .bind(coupon.as_i64())
            .bind(numbers)
            .fetch_all(&mut *self.0)
            .await
            .map_err(during(step))?;
        let shards = rows
            .iter()
            .map(|row| {
                let shard_no = ShardNo(row.try_get("shard_no").map_err(during(step))?);
                Ok((shard_no, count(row, "remaining")?))
            })
            .collect::<Result<_, LedgerError>>()?;
        let per_user_limit = limit.try_get("per_user_limit").map_err(during(step))?;
        Ok(Some(LockedStock { per_user_limit, shards }))
    }

    async fn take(&mut self, takes: &[Take]) -> Result<(), LedgerError> {
        for take in takes {
            let touched = sqlx::query(include_str!("../sql/sqlite/take_stock.sql"))
                .bind(take.coupon_id.as_i64())
                .bind(take.shard_no.0)
                .bind(take.records.cast_signed())
                .execute(&mut *self.0)
                .await
                .map_err(during("take stock"))?
                .rows_affected();
            if touched != 1 {
                let what = format!("shard {} of coupon {} has less than it had", take.shard_no, take.coupon_id);
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

    async fn move_offset(&mut self, claim: Claim, next_offset: Offset) -> Result<(), LedgerError> {
        let touched = sqlx::query(include_str!("../sql/sqlite/advance_offset.sql"))
            .bind(claim.partition.0)
            .bind(claim.epoch)
            .bind(claim.next_offset.cast_signed())
            .bind(next_offset.cast_signed())
            .execute(&mut *self.0)
            .await
            .map_err(during("advance the offset"))?
            .rows_affected();
        if touched == 1 {
            Ok(())
        } else {
            let what = format!("partition {} is not as claimed", claim.partition);
            Err(LedgerError::Transient { step: "advance the offset", source: what.into() })
        }
    }
}

impl Transaction for SqliteTransaction {
    fn lock_offset(&mut self, partition: PartitionNo) -> BoxFuture<'_, Result<OffsetRow, LedgerError>> {
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

    fn take_stock<'a>(&'a mut self, takes: &'a [Take]) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(self.take(takes))
    }

    fn insert_outcomes<'a>(&'a mut self, settled: &'a [Settled]) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(self.insert(settled))
    }

    fn advance(&mut self, claim: Claim, next_offset: Offset) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(self.move_offset(claim, next_offset))
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), LedgerError>> {
        Box::pin(async move { self.0.commit().await.map_err(during("commit")) })
    }
}
