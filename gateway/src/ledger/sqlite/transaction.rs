//! One settlement. The write lock of `BEGIN IMMEDIATE` takes the place of row locks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::Sqlite;

use super::call::{begin, during};
use super::{batch, stock};
use crate::coupon::{CouponId, PartitionNo, RequestId, Settled, UserId};
use crate::ledger::outcome_row::{OutcomeRow, hexadecimal, json};
use crate::ledger::terms::{KnownTerms, TermsDigest};
use crate::ledger::{
    Claim, Grants, LedgerError, LockedStock, PartitionOffset, Shards, StockDecrement, Transaction, rows,
};
use crate::sqlite_file::SqliteFile;

pub(super) struct SqliteTransaction {
    connection: sqlx::Transaction<'static, Sqlite>,
    known_terms: Arc<KnownTerms>,
    /// Terms that are stored once this transaction commits.
    inserted_terms: Vec<TermsDigest>,
}

impl SqliteTransaction {
    pub(super) async fn begin(file: &SqliteFile, known_terms: &Arc<KnownTerms>) -> Result<Self, LedgerError> {
        let connection = begin(file, "begin").await?;
        Ok(Self { connection, known_terms: Arc::clone(known_terms), inserted_terms: Vec::new() })
    }

    async fn read_offset(&mut self, partition: PartitionNo) -> Result<PartitionOffset, LedgerError> {
        let step = "lock the offset";
        let row = sqlx::query(include_str!("../sql/common/select_offset.sql"))
            .bind(partition.0)
            .fetch_one(&mut *self.connection)
            .await
            .map_err(during(step))?;
        rows::partition_offset(&row, step)
    }

    async fn read_replays(&mut self, requests: &[RequestId]) -> Result<BTreeSet<RequestId>, LedgerError> {
        let step = "read the replays";
        let ids: Vec<_> = requests.iter().map(hexadecimal).collect();
        let rows = sqlx::query(include_str!("../sql/sqlite/select_replays.sql"))
            .bind(json(&ids))
            .fetch_all(&mut *self.connection)
            .await
            .map_err(during(step))?;
        rows::request_ids(&rows, step)
    }

    async fn read_grants(&mut self, holders: &[(CouponId, UserId)]) -> Result<Grants, LedgerError> {
        let step = "read the grants";
        let rows = sqlx::query(include_str!("../sql/sqlite/select_grants.sql"))
            .bind(json(&holders))
            .fetch_all(&mut *self.connection)
            .await
            .map_err(during(step))?;
        rows::grants(&rows, step)
    }

    async fn insert(&mut self, settled: &[Settled]) -> Result<(), LedgerError> {
        let rows: Vec<_> = settled.iter().map(OutcomeRow::of).collect();
        let terms = self.known_terms.unknown(rows.iter().filter_map(|row| row.terms));
        self.inserted_terms.extend(terms.keys());
        batch::insert_terms(&mut self.connection, terms).await?;
        batch::insert_outcomes(&mut self.connection, &rows).await?;
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

impl Transaction for SqliteTransaction {
    fn lock_offset(&mut self, partition: PartitionNo) -> BoxFuture<'_, Result<PartitionOffset, LedgerError>> {
        Box::pin(self.read_offset(partition))
    }

    fn replays<'a>(&'a mut self, requests: &'a [RequestId]) -> BoxFuture<'a, Result<BTreeSet<RequestId>, LedgerError>> {
        Box::pin(self.read_replays(requests))
    }

    fn lock_stock<'a>(
        &'a mut self,
        wanted: &'a BTreeMap<CouponId, Shards>,
    ) -> BoxFuture<'a, Result<BTreeMap<CouponId, LockedStock>, LedgerError>> {
        Box::pin(stock::lock(&mut self.connection, wanted))
    }

    fn grants<'a>(&'a mut self, holders: &'a [(CouponId, UserId)]) -> BoxFuture<'a, Result<Grants, LedgerError>> {
        Box::pin(self.read_grants(holders))
    }

    fn take_stock<'a>(&'a mut self, decrements: &'a [StockDecrement]) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(stock::take(&mut self.connection, decrements))
    }

    fn insert_outcomes<'a>(&'a mut self, settled: &'a [Settled]) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(self.insert(settled))
    }

    fn advance(&mut self, from: Claim, to: Claim) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(self.move_offset(from, to))
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), LedgerError>> {
        Box::pin(async move {
            self.connection.commit().await.map_err(during("commit"))?;
            self.known_terms.add(self.inserted_terms);
            Ok(())
        })
    }
}
