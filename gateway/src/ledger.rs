//! The ledger: the only authority on stock, limits and outcomes.
//!
//! Settlement is written once, against [`Transaction`]; an adapter brings the SQL.

#[cfg(test)]
pub(crate) mod contract;
mod migrations;
pub mod mysql;
mod open;
mod rows;
pub mod sqlite;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::coupon::{
    Audit, Campaign, CampaignChange, CouponId, Fingerprint, GenerationNo, NewCampaign, Offset, Outcome, PartitionNo,
    RequestId, Settled, ShardNo, UnixMs, UserId,
};

pub use open::{Migrated, OpenError, check, migrate, open, redacted};

/// `[ledger]` of the configuration.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `sqlite:PATH` keeps the ledger in a file of this machine, and
    /// `mysql://user[:password]@host[:port]/database[?ssl-mode=…]` on a server of MySQL or MariaDB.
    pub url: String,
    /// The first line of this file is the password, whatever the URL says.
    pub password_file: Option<PathBuf>,
    /// The certificate (PEM) of the authority that signed the server's. With it, `ssl-mode` is
    /// `VERIFY_IDENTITY`, or `VERIFY_CA` where the URL says so.
    pub tls_ca_file: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { url: "sqlite:data/ledger.db".to_owned(), password_file: None, tls_ca_file: None }
    }
}

impl Options {
    /// As it may be shown: without the password.
    #[must_use]
    pub fn redacted(&self) -> Self {
        Self { url: redacted(&self.url), ..self.clone() }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("url", &redacted(&self.url))
            .field("password_file", &self.password_file)
            .field("tls_ca_file", &self.tls_ca_file)
            .finish()
    }
}

/// Why a call on the ledger failed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The same call may succeed later: the database is out of reach, busy, full, or another
    /// transaction was faster.
    #[error("{step}: {source}")]
    Transient {
        /// What was being done.
        step: &'static str,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The data itself is refused; the same call will always fail.
    #[error("{step}: the data is refused: {source}")]
    Permanent {
        /// What was being done.
        step: &'static str,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why a campaign was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum CampaignError {
    /// There is no campaign for this coupon.
    #[error("no campaign for coupon {0}")]
    NotFound(CouponId),
    /// There is one already, with other terms.
    #[error("coupon {0} already has a campaign, with other terms")]
    Exists(CouponId),
    /// A closed campaign stays closed.
    #[error("the campaign for coupon {0} is closed, for good")]
    Closed(CouponId),
    /// The total would pass [`NewCampaign::TOTAL_MAX`].
    #[error("the total would be more than {}", NewCampaign::TOTAL_MAX)]
    TotalTooLarge,
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The right to settle a partition: the newest claim wins, and fences the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Which partition.
    pub partition: PartitionNo,
    /// Grows by one with every claim.
    pub epoch: i64,
    /// The first offset that is not settled.
    pub next_offset: Offset,
}

/// A partition's row: who may settle it, and how far it is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetRow {
    /// That of the newest claim.
    pub epoch: i64,
    /// The first offset that is not settled.
    pub next_offset: Offset,
}

/// What the ledger knows of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// How it ended.
    pub outcome: Outcome,
    /// Of which coupon; `None` where the record could not be read.
    pub coupon_id: Option<CouponId>,
    /// Tells two bodies under one Idempotency-Key apart.
    pub fingerprint: Option<Fingerprint>,
    /// Where it stood in the log.
    pub partition: PartitionNo,
    /// Where it stood in the log.
    pub offset: Offset,
    /// When it was settled.
    pub settled_at_ms: UnixMs,
}

/// What settlement must know of a campaign: its limit, and the stock of the shards that were locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedStock {
    /// How many one user may hold.
    pub per_user_limit: u32,
    /// What is left, of the shards that were asked for.
    pub shards: HashMap<ShardNo, u64>,
}

/// Which shards of a coupon to lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shards {
    /// These.
    Some(BTreeSet<ShardNo>),
    /// Every one of the coupon.
    All,
}

/// Coupons taken from a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Take {
    /// Of which coupon.
    pub coupon_id: CouponId,
    /// From which shard.
    pub shard_no: ShardNo,
    /// How many; at least 1.
    pub records: u64,
}

/// A pipeline that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationRow {
    /// Its number; one more than that of the generation before it.
    pub number: GenerationNo,
    /// The pipeline, as JSON; the policy host knows its shape.
    pub pipeline: String,
    /// When it was published.
    pub published_at_ms: UnixMs,
}

/// Where stock and outcomes are kept.
///
/// Every call is one transaction: it happens whole or not at all.
pub trait Ledger: Send + Sync + 'static {
    /// Makes a campaign. Making it again with the same terms answers with what is there.
    fn create_campaign<'a>(&'a self, new: &'a NewCampaign) -> BoxFuture<'a, Result<Campaign, CampaignError>>;

    /// One campaign.
    fn campaign(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Campaign>, LedgerError>>;

    /// All campaigns, ordered by coupon.
    fn campaigns(&self) -> BoxFuture<'_, Result<Vec<Campaign>, LedgerError>>;

    /// Changes a campaign and answers with what it became. Stock is conserved: only a top-up adds to it.
    fn change_campaign(
        &self,
        coupon: CouponId,
        change: CampaignChange,
    ) -> BoxFuture<'_, Result<Campaign, CampaignError>>;

    /// What the ledger holds of a campaign, in one consistent read.
    fn audit(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Audit>, LedgerError>>;

    /// How a request ended; `None` while it has not.
    fn recorded(&self, request: RequestId) -> BoxFuture<'_, Result<Option<Recorded>, LedgerError>>;

    /// The first offset of a partition that is not settled.
    fn next_offset(&self, partition: PartitionNo) -> BoxFuture<'_, Result<Offset, LedgerError>>;

    /// Claims a partition: raises its epoch, so that whoever held it before can settle no more.
    fn claim(&self, partition: PartitionNo) -> BoxFuture<'_, Result<Claim, LedgerError>>;

    /// Begins a settlement. A transaction that is dropped is rolled back.
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Transaction>, LedgerError>>;

    /// The newest generations, newest first.
    fn generations(&self, rows_max: u32) -> BoxFuture<'_, Result<Vec<GenerationRow>, LedgerError>>;

    /// Records a generation with the components it is made of, by digest. `false` when its number is
    /// taken: somebody else was faster.
    fn publish_generation<'a>(
        &'a self,
        row: &'a GenerationRow,
        components: &'a [(String, Arc<[u8]>)],
    ) -> BoxFuture<'a, Result<bool, LedgerError>>;

    /// The bytes of a component that a recorded generation is made of.
    fn component<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, LedgerError>>;

    /// Whether other processes may use it at the same time.
    fn is_shared(&self) -> bool;

    /// Whether the ledger can be written.
    fn ready(&self) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// Ends it in good order.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// One settlement: reads under locks, writes, commits. READ COMMITTED suffices.
///
/// Locks are taken in one order everywhere (offset row, then shards by coupon and number), so that
/// settlements wait for each other instead of deadlocking.
pub trait Transaction: Send {
    /// Locks the partition's row and reads it.
    fn lock_offset(&mut self, partition: PartitionNo) -> BoxFuture<'_, Result<OffsetRow, LedgerError>>;

    /// Those of these requests that have an outcome already.
    fn replays<'a>(&'a mut self, requests: &'a [RequestId]) -> BoxFuture<'a, Result<BTreeSet<RequestId>, LedgerError>>;

    /// How many of the coupon each of these users holds; users who hold none may be left out.
    fn grants<'a>(
        &'a mut self,
        coupon: CouponId,
        users: &'a [UserId],
    ) -> BoxFuture<'a, Result<HashMap<UserId, u32>, LedgerError>>;

    /// Locks shards of a coupon, in their order, and reads them; `None` when there is no campaign.
    /// Shards that do not exist are left out.
    fn lock_stock<'a>(
        &'a mut self,
        coupon: CouponId,
        shards: &'a Shards,
    ) -> BoxFuture<'a, Result<Option<LockedStock>, LedgerError>>;

    /// Takes stock from locked shards. Fails when one has less, whatever was read before.
    fn take_stock<'a>(&'a mut self, takes: &'a [Take]) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// Writes outcomes. A request that has one already, or a grant number that its user has already,
    /// fails the transaction with [`LedgerError::Transient`]: settled again, the batch will see it.
    fn insert_outcomes<'a>(&'a mut self, settled: &'a [Settled]) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// Moves the partition's offset on. Fails when the row is not as the claim says.
    fn advance(&mut self, claim: Claim, next_offset: Offset) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// Commits.
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), LedgerError>>;
}
