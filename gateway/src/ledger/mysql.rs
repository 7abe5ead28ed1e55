//! The ledger on a server: MySQL 8, MariaDB 10.6, and what speaks like them.

mod campaigns;
mod outcomes;
mod pipeline;
mod schema;
mod server;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::error::DatabaseError;
use sqlx::mysql::{MySqlDatabaseError, MySqlRow};
use sqlx::{Connection, MySqlPool, Row};

use self::server::{Isolation, Transactions};
use super::rows::corrupt;
use super::{CampaignError, Claim, GenerationRow, Ledger, LedgerError, OpenError, Recorded, Transaction};
use crate::coupon::{Audit, Campaign, CampaignChange, CouponId, NewCampaign, Offset, PartitionNo, RequestId};

pub(super) use self::schema::migrate;
pub(super) use self::server::Server;

/// One for each of the 12 partitions that settle at once, the rest for claims and campaigns. With more
/// partitions in one process, their settlements take turns.
const WRITERS_MAX: u32 = 16;
/// Status calls ask for one row by its key; more connections would not make the server faster.
const READERS_MAX: u32 = 8;
/// An operator's lists and audits, which may take long and must keep nobody else waiting.
const SNAPSHOTS_MAX: u32 = 2;
/// Well past all locks that one call may wait for: no answer will come, the server or the way to it is gone.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// A ledger on a server. Several gateways may share one.
pub struct Mysql {
    /// READ COMMITTED: every statement under a lock sees what its last holder left.
    writers: MySqlPool,
    /// For single statements.
    readers: MySqlPool,
    /// REPEATABLE READ: several statements see one moment.
    snapshots: MySqlPool,
}

impl Mysql {
    pub(super) async fn open(server: &Server) -> Result<Self, OpenError> {
        let mut connection = server.connect().await?;
        schema::check(server, &mut connection).await?;
        // It has said what it was asked for.
        let _ = connection.close().await;
        Ok(Self {
            writers: server.pool(WRITERS_MAX, Isolation::ReadCommitted, Transactions::Some),
            readers: server.pool(READERS_MAX, Isolation::ReadCommitted, Transactions::None),
            snapshots: server.pool(SNAPSHOTS_MAX, Isolation::RepeatableRead, Transactions::Some),
        })
    }
}

impl Ledger for Mysql {
    fn create_campaign<'a>(&'a self, new: &'a NewCampaign) -> BoxFuture<'a, Result<Campaign, CampaignError>> {
        Box::pin(within("create the campaign", campaigns::create(self, new)))
    }

    fn campaign(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Campaign>, LedgerError>> {
        Box::pin(within("read the campaign", campaigns::one(&self.snapshots, coupon)))
    }

    fn campaigns(&self) -> BoxFuture<'_, Result<Vec<Campaign>, LedgerError>> {
        Box::pin(within("read the campaigns", campaigns::all(&self.snapshots)))
    }

    fn change_campaign(
        &self,
        coupon: CouponId,
        change: CampaignChange,
    ) -> BoxFuture<'_, Result<Campaign, CampaignError>> {
        Box::pin(within("change the campaign", campaigns::change(&self.writers, coupon, change)))
    }

    /// Counts every outcome of the coupon, so it may take as long as it does.
    fn audit(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Audit>, LedgerError>> {
        Box::pin(campaigns::audit(&self.snapshots, coupon))
    }

    fn recorded(&self, request: RequestId) -> BoxFuture<'_, Result<Option<Recorded>, LedgerError>> {
        Box::pin(within("read the outcome", outcomes::recorded(&self.readers, request)))
    }

    fn next_offset(&self, partition: PartitionNo) -> BoxFuture<'_, Result<Offset, LedgerError>> {
        Box::pin(within("read the offset", outcomes::next_offset(&self.readers, partition)))
    }

    fn claim(&self, partition: PartitionNo) -> BoxFuture<'_, Result<Claim, LedgerError>> {
        Box::pin(within("claim the partition", outcomes::claim(&self.writers, partition)))
    }

    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Transaction>, LedgerError>> {
        Box::pin(within("begin", async {
            let begun = transaction::MysqlTransaction::begin(&self.writers).await?;
            Ok(Box::new(begun) as Box<dyn Transaction>)
        }))
    }

    fn generations(&self, rows_max: u32) -> BoxFuture<'_, Result<Vec<GenerationRow>, LedgerError>> {
        Box::pin(within("read the generations", pipeline::generations(&self.readers, rows_max)))
    }

    fn publish_generation<'a>(
        &'a self,
        row: &'a GenerationRow,
        components: &'a [(String, Arc<[u8]>)],
    ) -> BoxFuture<'a, Result<bool, LedgerError>> {
        Box::pin(within("record the generation", pipeline::publish(&self.writers, row, components)))
    }

    fn component<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, LedgerError>> {
        Box::pin(within("read the component", pipeline::component(&self.readers, digest)))
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(within("reach the ledger", outcomes::ready(&self.readers)))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.snapshots.close().await;
            self.readers.close().await;
            self.writers.close().await;
        })
    }
}

/// Waits for an answer no longer than [`ANSWER_MAX`].
async fn within<T, E: From<LedgerError>>(step: &'static str, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    match tokio::time::timeout(ANSWER_MAX, call).await {
        Ok(answered) => answered,
        Err(elapsed) => Err(LedgerError::Transient { step, source: elapsed.into() }.into()),
    }
}

/// Turns an error of the server into one of the port: what the data itself causes is refused, all else
/// may pass, such as a duplicate key, a deadlock, a lock not had in time, and a connection that is gone.
fn during(step: &'static str) -> impl FnOnce(sqlx::Error) -> LedgerError {
    move |source| {
        let refused = match &source {
            sqlx::Error::Database(error) => is_refusal(&**error),
            sqlx::Error::Encode(_) => true,
            _ => false,
        };
        let source = source.into();
        if refused { LedgerError::Permanent { step, source } } else { LedgerError::Transient { step, source } }
    }
}

fn is_refusal(error: &dyn DatabaseError) -> bool {
    use sqlx::error::ErrorKind;
    let of_kind = matches!(
        error.kind(),
        ErrorKind::CheckViolation | ErrorKind::NotNullViolation | ErrorKind::ForeignKeyViolation
    );
    // More than a packet may hold; out of range; cut; wrong for the column (twice); too long; out of range in JSON.
    of_kind || matches!(number(error), Some(1153 | 1264 | 1265 | 1292 | 1366 | 1406 | 3669))
}

/// The number by which the server's manual lists an error.
fn number(error: &dyn DatabaseError) -> Option<u16> {
    error.try_downcast_ref::<MySqlDatabaseError>().map(MySqlDatabaseError::number)
}

/// Reads a column that is never negative.
fn count(row: &MySqlRow, column: &'static str) -> Result<u64, LedgerError> {
    let number: i64 = row.try_get(column).map_err(during(column))?;
    u64::try_from(number).map_err(|_| corrupt(column, format!("{number} is negative")))
}

#[cfg(test)]
mod tests;
