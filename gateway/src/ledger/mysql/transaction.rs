//! One settlement, under row locks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::{MySql, MySqlPool};

use super::call::{during, select, within};
use super::{batch, stock};
use crate::coupon::{CouponId, PartitionNo, RequestId, Settled, UserId};
use crate::ledger::outcome_row::hexadecimal;
use crate::ledger::terms::{KnownTerms, TermsDigest};
use crate::ledger::{
    Claim, Grants, LedgerError, LockedStock, PartitionOffset, Shards, StockDecrement, Transaction, rows,
};

/// When it is dropped, or the answer to its COMMIT is lost, the pool reuses the connection only after a
/// successful ROLLBACK.
pub(super) struct MysqlTransaction {
    connection: sqlx::Transaction<'static, MySql>,
    known_terms: Arc<KnownTerms>,
    /// Terms that are stored once this transaction commits.
    inserted_terms: Vec<TermsDigest>,
}

impl MysqlTransaction {
    pub(super) async fn begin(writers: &MySqlPool, known_terms: &Arc<KnownTerms>) -> Result<Self, LedgerError> {
        let connection = writers.begin().await.map_err(during("begin"))?;
        Ok(Self { connection, known_terms: Arc::clone(known_terms), inserted_terms: Vec::new() })
    }

    async fn read_offset(&mut self, partition: PartitionNo) -> Result<PartitionOffset, LedgerError> {
        let step = "lock the offset";
        let row = sqlx::query(include_str!("../sql/mysql/lock_offset.sql"))
            .bind(partition.0)
            .fetch_one(&mut *self.connection)
            .await
            .map_err(during(step))?;
        rows::partition_offset(&row, step)
    }

    async fn read_replays(&mut self, requests: &[RequestId]) -> Result<BTreeSet<RequestId>, LedgerError> {
        let step = "read the replays";
        let ids: Vec<_> = requests.iter().map(hexadecimal).collect();
        let statement = include_str!("../sql/mysql/select_replays.sql");
        rows::request_ids(&select(&mut self.connection, step, statement, &ids).await?, step)
    }

    async fn read_grants(&mut self, holders: &[(CouponId, UserId)]) -> Result<Grants, LedgerError> {
        let step = "read the grants";
        let statement = include_str!("../sql/mysql/select_grants.sql");
        rows::grants(&select(&mut self.connection, step, statement, holders).await?, step)
    }

    async fn insert(&mut self, settled: &[Settled]) -> Result<(), LedgerError> {
        let (statement, terms) = batch::outcomes_statement(settled);
        let terms = self.known_terms.unknown(terms);
        self.inserted_terms.extend(terms.keys());
        batch::insert_terms(&mut self.connection, terms).await?;
        batch::insert_outcomes(&mut self.connection, statement).await?;
        batch::add_tallies(&mut self.connection, settled).await
    }

    async fn move_offset(&mut self, from: Claim, to: Claim) -> Result<(), LedgerError> {
        let touched = sqlx::query(include_str!("../sql/common/advance_offset.sql"))
            .bind(to.next_offset.cast_signed())
            .bind(to.released_offset.cast_signed())
            .bind(from.partition.0)
            .bind(from.epoch)
            .bind(from.next_offset.cast_signed())
            .execute(&mut *self.connection)
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

impl Transaction for MysqlTransaction {
    fn lock_offset(&mut self, partition: PartitionNo) -> BoxFuture<'_, Result<PartitionOffset, LedgerError>> {
        Box::pin(within("lock the offset", self.read_offset(partition)))
    }

    fn replays<'a>(&'a mut self, requests: &'a [RequestId]) -> BoxFuture<'a, Result<BTreeSet<RequestId>, LedgerError>> {
        Box::pin(within("read the replays", self.read_replays(requests)))
    }

    fn lock_stock<'a>(
        &'a mut self,
        wanted: &'a BTreeMap<CouponId, Shards>,
    ) -> BoxFuture<'a, Result<BTreeMap<CouponId, LockedStock>, LedgerError>> {
        Box::pin(within("lock the stock", stock::lock(&mut self.connection, wanted)))
    }

    fn grants<'a>(&'a mut self, holders: &'a [(CouponId, UserId)]) -> BoxFuture<'a, Result<Grants, LedgerError>> {
        Box::pin(within("read the grants", self.read_grants(holders)))
    }

    fn take_stock<'a>(&'a mut self, decrements: &'a [StockDecrement]) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(within("take stock", stock::take(&mut self.connection, decrements)))
    }

    fn insert_outcomes<'a>(&'a mut self, settled: &'a [Settled]) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(within(batch::INSERT, self.insert(settled)))
    }

    fn advance(&mut self, from: Claim, to: Claim) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(within("advance the offset", self.move_offset(from, to)))
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), LedgerError>> {
        // The commit may have happened whatever the error: only the partition's offset tells.
        let transient = |source: sqlx::Error| LedgerError::Transient { step: "commit", source: source.into() };
        Box::pin(within("commit", async move {
            self.connection.commit().await.map_err(transient)?;
            self.known_terms.add(self.inserted_terms);
            Ok(())
        }))
    }
}
