//! The ledger: the only authority on stock, limits and outcomes.
//!
//! Settlement is written once, against [`Transaction`]; an adapter brings the SQL.

mod audit;
mod change_key;
#[cfg(test)]
pub(crate) mod contract;
mod error;
mod generation;
mod groups;
mod log_identity;
mod migrations;
pub mod mysql;
mod open;
mod options;
mod outcome_row;
mod place;
mod policy_version;
mod read_breaker;
mod retention;
mod rollout_table;
mod rows;
pub mod sqlite;
mod tally;
mod terms;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::coupon::{
    Arm, Audit, Campaign, CampaignChange, ChangeKey, CouponId, Fingerprint, GenerationNo, GroupNo, LogId, NewCampaign,
    Offset, Outcome, PartitionNo, PolicyId, RequestId, Settled, ShardNo, ShardStock, Terms, UnixMs, UserId,
};

pub use error::{CampaignError, LedgerError, OpenError};
pub use generation::GenerationRow;
pub use groups::{Groups, Opener};
pub use log_identity::{LogIdentity, OffsetChange, OffsetChangeReason};
pub use open::{check, is_new, is_shared, migrate, open, open_unverified};
pub use options::Options;
pub use place::Place;
pub use policy_version::{PolicyVersion, StoredComponent};
pub use read_breaker::ReadBreaker;
pub use retention::{Deletion, ListedOutcome, Retention};
pub use rollout_table::{RolloutReport, RolloutRow, RolloutTable};

/// How long the ledger remembers the key of a campaign's change. An operator's script does not retry for longer.
pub const CHANGE_KEY_KEPT: Duration = Duration::from_hours(7 * 24);

/// The right to settle a partition. The newest claim fences all earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub partition: PartitionNo,
    /// Grows by one with every claim.
    pub epoch: i64,
    /// The first offset that is not settled.
    pub next_offset: Offset,
    /// Before this offset, the counters have forgotten every rejected request. At most `next_offset`.
    pub released_offset: Offset,
}

/// How far a partition is settled, and by which claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionOffset {
    /// The epoch of the newest claim.
    pub epoch: i64,
    /// The first offset that is not settled.
    pub next_offset: Offset,
    /// Before this offset, the counters have forgotten every rejected request.
    pub released_offset: Offset,
}

/// The outcome of a request, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedOutcome {
    pub outcome: Outcome,
    /// `None` where the record could not be read.
    pub coupon_id: Option<CouponId>,
    /// The arm whose policies admitted the request.
    pub arm: Arm,
    pub partition: PartitionNo,
    pub offset: Offset,
    pub settled_at_ms: UnixMs,
}

/// What settlement needs of a campaign: its limit, and the stock that it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedStock {
    /// The most coupons that one user is granted.
    pub per_user_limit: u32,
    /// The remaining stock of each shard that was read. Until the transaction ends nobody takes from a shard that has
    /// some, and an empty shard stays empty.
    pub shards: BTreeMap<ShardNo, u64>,
    /// Whether all shards of the coupon were read. Only then may stock come from another shard than the picked one, or
    /// a request be rejected as SOLD_OUT.
    pub complete: bool,
}

/// Which shards of a coupon to read and lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shards {
    Some(BTreeSet<ShardNo>),
    All,
}

impl Shards {
    /// Adds those of another choice.
    pub fn add(&mut self, more: Self) {
        match (&mut *self, more) {
            (Self::Some(numbers), Self::Some(more)) => numbers.extend(more),
            _ => *self = Self::All,
        }
    }
}

/// Stock that a batch takes from one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StockDecrement {
    pub coupon_id: CouponId,
    pub shard_no: ShardNo,
    /// At least 1.
    pub records: u64,
}

/// The highest grant number of each user of a coupon. Users without a grant are absent.
pub type Grants = HashMap<(CouponId, UserId), u32>;

/// The campaigns that changed after a version of the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CampaignChanges {
    /// The ledger's version now. It contains every change up to this version.
    pub version: u64,
    /// Ordered by coupon.
    pub campaigns: Vec<Campaign>,
    /// Those that an operator closed.
    pub closed: Vec<(CouponId, PolicyId)>,
}

/// Stores stock, outcomes and the history of the pipelines.
///
/// Every call is one transaction in one database: it takes effect completely or not at all.
///
/// A ledger consists of groups, and each has a database. A call that names a coupon, a partition or a group concerns the
/// database of that group only, and fails while that one is unreachable. All other calls concern the first group. An
/// adapter is one group: it disregards which one a call names.
pub trait Ledger: Send + Sync + 'static {
    /// The number of groups, at least 1.
    fn groups(&self) -> u32;

    /// Opens the database of a group if it is not open, verifies that it is the one of this group, and records that it is
    /// in use. Until then, calls that concern the group fail. Safe to repeat.
    fn join(&self, group: GroupNo) -> BoxFuture<'_, Result<(), OpenError>>;

    /// The group to which a coupon is assigned.
    fn group_of(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<GroupNo>, LedgerError>>;

    /// Assigns a coupon to a group, unless it is assigned, and returns its group. It never changes again.
    fn assign_group(&self, coupon: CouponId, group: GroupNo) -> BoxFuture<'_, Result<GroupNo, LedgerError>>;

    /// What the first group's database stores about its place among the groups.
    fn place(&self) -> BoxFuture<'_, Result<Option<Place>, LedgerError>>;

    /// Stores the place of the first group's database. Of one that is stored already, only `groups_seen` is raised.
    fn store_place(&self, place: Place) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// Creates a campaign, in the group of its coupon. A repeated call with the same terms returns the existing campaign.
    fn create_campaign<'a>(&'a self, new: &'a NewCampaign) -> BoxFuture<'a, Result<Campaign, CampaignError>>;

    fn campaign(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Campaign>, LedgerError>>;

    /// All campaigns of a group, ordered by coupon.
    fn campaigns(&self, group: GroupNo) -> BoxFuture<'_, Result<Vec<Campaign>, LedgerError>>;

    /// The campaigns of a group that were created or changed after a version; all campaigns if it is 0. A settlement
    /// changes stock but no version. Each group has versions of its own.
    fn campaign_changes(
        &self,
        group: GroupNo,
        after_version: u64,
    ) -> BoxFuture<'_, Result<CampaignChanges, LedgerError>>;

    /// The shards of these coupons of a group, in any order. Coupons without a campaign are absent.
    fn stock<'a>(
        &'a self,
        group: GroupNo,
        coupons: &'a [CouponId],
    ) -> BoxFuture<'a, Result<HashMap<CouponId, Vec<ShardStock>>, LedgerError>>;

    /// Applies [`Campaign::apply`] and returns the result. Only a top-up changes the sum of stock and grants.
    ///
    /// A change under a key is applied once: repeated within [`CHANGE_KEY_KEPT`], it returns the campaign as it is now.
    /// Another change under the key fails with [`CampaignError::KeyReused`]. A change that fails leaves the key free.
    fn change_campaign(
        &self,
        coupon: CouponId,
        change: CampaignChange,
        key: Option<ChangeKey>,
    ) -> BoxFuture<'_, Result<Campaign, CampaignError>>;

    /// The totals of a campaign, from one consistent read of the tallies. It costs the number of shards.
    fn audit(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Audit>, LedgerError>>;

    /// The audit, compared with a count of the outcomes in the same consistent read. It reads every outcome of the
    /// coupon, one recount at a time: others wait for their turn, and fail after some seconds.
    fn recount(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Audit>, LedgerError>>;

    /// `None` until the request is settled, in this group.
    fn outcome(
        &self,
        group: GroupNo,
        request: RequestId,
    ) -> BoxFuture<'_, Result<Option<RecordedOutcome>, LedgerError>>;

    /// This request if it is settled, otherwise the settled one that used its Idempotency-Key. Only an embedded ledger
    /// knows the latter, to remember keys across a restart: its counters are in memory. On a server an index over all
    /// outcomes would slow every settlement.
    fn outcome_under_key(
        &self,
        group: GroupNo,
        request: RequestId,
        fingerprint: Fingerprint,
    ) -> BoxFuture<'_, Result<Option<(RequestId, RecordedOutcome)>, LedgerError>>;

    /// The first offset of a partition that is not settled.
    fn next_offset(&self, partition: PartitionNo) -> BoxFuture<'_, Result<Offset, LedgerError>>;

    /// The first unsettled offset of every partition of a group that was ever claimed.
    fn next_offsets(&self, group: GroupNo) -> BoxFuture<'_, Result<BTreeMap<PartitionNo, Offset>, LedgerError>>;

    /// Claims a partition: raises its epoch, so that an earlier claim can no longer settle.
    fn claim(&self, partition: PartitionNo) -> BoxFuture<'_, Result<Claim, LedgerError>>;

    /// Stores a claim's `released_offset` outside of a settlement. Does nothing if the claim is fenced.
    fn store_released(&self, claim: Claim) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// Those of the requests from a partition that were rejected.
    fn rejections<'a>(
        &'a self,
        partition: PartitionNo,
        requests: &'a [RequestId],
    ) -> BoxFuture<'a, Result<BTreeSet<RequestId>, LedgerError>>;

    /// The log that this group settles; `None` until [`propose_log`](Self::propose_log).
    fn log_identity(&self, group: GroupNo) -> BoxFuture<'_, Result<Option<LogIdentity>, LedgerError>>;

    /// Stores the identity of the log unless there is one, and returns the stored one: the first process wins.
    fn propose_log(&self, log_id: LogId) -> BoxFuture<'_, Result<LogId, LedgerError>>;

    /// Records that the log stores the identity too.
    fn see_log(&self, log_id: LogId, now_ms: UnixMs) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// Moves a group to another log, fencing all claims: its partitions from `first` on continue at `next_offsets`, and
    /// others are forgotten. Each change is recorded.
    fn adopt_log<'a>(
        &'a self,
        group: GroupNo,
        log_id: LogId,
        first: PartitionNo,
        next_offsets: &'a [Offset],
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// Gives up the offsets from `from` until `to`, and records it. `false` if the partition is not at `from`.
    fn skip(
        &self,
        partition: PartitionNo,
        from: Offset,
        to: Offset,
        now_ms: UnixMs,
    ) -> BoxFuture<'_, Result<bool, LedgerError>>;

    /// The newest changes of a group's offsets by operators, newest first.
    fn offset_changes(&self, group: GroupNo, rows_max: u32) -> BoxFuture<'_, Result<Vec<OffsetChange>, LedgerError>>;

    /// The outcomes of a campaign, ordered by user, that come after `last`.
    fn outcomes<'a>(
        &'a self,
        coupon: CouponId,
        last: Option<&'a ListedOutcome>,
        rows_max: u32,
    ) -> BoxFuture<'a, Result<Vec<ListedOutcome>, LedgerError>>;

    /// The terms of those of a campaign's requests that were granted.
    fn terms<'a>(
        &'a self,
        coupon: CouponId,
        requests: &'a [RequestId],
    ) -> BoxFuture<'a, Result<BTreeMap<RequestId, Terms>, LedgerError>>;

    /// Whether outcomes of a campaign were deleted; `None` if the coupon has no campaign.
    fn outcomes_deleted(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<bool>, LedgerError>>;

    /// Campaigns of a group that closed before this time, and for which this deletion is not recorded.
    fn expired_campaigns(
        &self,
        group: GroupNo,
        deletion: Deletion,
        closed_before_ms: UnixMs,
        rows_max: u32,
    ) -> BoxFuture<'_, Result<Vec<CouponId>, LedgerError>>;

    /// Deletes outcomes of a campaign, and marks that it lacks some. Those that another process deleted are left out.
    fn delete_outcomes<'a>(
        &'a self,
        coupon: CouponId,
        requests: &'a BTreeSet<RequestId>,
    ) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// Deletes terms of a campaign whose outcomes are all deleted, and returns how many. Terms that an earlier version
    /// stored belong to no campaign and stay.
    fn delete_terms(&self, coupon: CouponId, rows_max: u32) -> BoxFuture<'_, Result<u64, LedgerError>>;

    /// Records that these outcomes of a campaign are deleted. The campaign itself stays.
    fn record_deletion(&self, coupon: CouponId, deletion: Deletion) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// Begins a settlement of a partition; on a ledger that is not shared, also of others of its group. Dropping the
    /// transaction rolls it back.
    fn begin(&self, partition: PartitionNo) -> BoxFuture<'_, Result<Box<dyn Transaction>, LedgerError>>;

    /// The newest generations of a coupon's own pipeline or, without a coupon, of the default pipeline; newest first.
    fn generations(
        &self,
        coupon: Option<CouponId>,
        rows_max: u32,
    ) -> BoxFuture<'_, Result<Vec<GenerationRow>, LedgerError>>;

    /// The newest generation of each pipeline whose number is above this one, in the order of their numbers.
    fn newest_generations(
        &self,
        after: GenerationNo,
        rows_max: u32,
    ) -> BoxFuture<'_, Result<Vec<GenerationRow>, LedgerError>>;

    /// Stores a generation and its components by digest. Deletes old generations of the same pipeline, and components
    /// whose digest no stored generation and no version names. `false` when the number, or a higher one, was published
    /// before.
    fn publish_generation<'a>(
        &'a self,
        row: &'a GenerationRow,
        components: &'a [(String, Arc<[u8]>)],
    ) -> BoxFuture<'a, Result<bool, LedgerError>>;

    /// Ends a coupon's own pipeline for good: deletes its generations, and old versions and components that nothing else
    /// names. If its newest generation is the newest of all, that row stays, without a pipeline: its number is taken.
    fn end_pipeline(&self, coupon: CouponId) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// Makes this version the newest of its policy. Stores its component, also over damaged bytes. A version without a
    /// signature leaves the one that is stored. Deletes old versions that no stored generation names, and their
    /// components.
    fn register_policy<'a>(
        &'a self,
        version: &'a PolicyVersion,
        bytes: &'a [u8],
    ) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// The stored versions of all policies, newest first.
    fn policy_versions(&self) -> BoxFuture<'_, Result<Vec<PolicyVersion>, LedgerError>>;

    /// A component of a stored generation or version. The caller compares its bytes with the digest.
    fn component<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Result<Option<StoredComponent>, LedgerError>>;

    fn rollouts(&self) -> &dyn RolloutTable;

    /// Whether other processes may use this ledger at the same time.
    fn is_shared(&self) -> bool;

    /// Fails when the group cannot be reached or written.
    fn ready(&self, group: GroupNo) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// Waits for calls in progress and closes all connections.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// One settlement: reads under locks, writes, commits. READ COMMITTED is sufficient.
///
/// Locks are taken in one order everywhere (partition offset, campaigns by coupon, shards by coupon and number), so that
/// settlements wait for each other instead of deadlocking. The number of statements does not depend on the records; each
/// partition has its own two, for its offset.
pub trait Transaction: Send {
    /// Locks and reads the offset of a claimed partition.
    fn lock_offset(&mut self, partition: PartitionNo) -> BoxFuture<'_, Result<PartitionOffset, LedgerError>>;

    /// Those of the requests that are settled already.
    fn replays<'a>(&'a mut self, requests: &'a [RequestId]) -> BoxFuture<'a, Result<BTreeSet<RequestId>, LedgerError>>;

    /// Reads stock and locks it. Coupons without a campaign, and shards that do not exist, are absent from the result.
    ///
    /// Until the transaction ends, no campaign that was read is topped up or resharded: its stock only falls. An empty
    /// shard of [`Shards::All`] is therefore not locked, and settlements of a sold-out coupon do not wait for each other.
    fn lock_stock<'a>(
        &'a mut self,
        wanted: &'a BTreeMap<CouponId, Shards>,
    ) -> BoxFuture<'a, Result<BTreeMap<CouponId, LockedStock>, LedgerError>>;

    /// What these users hold of these coupons.
    fn grants<'a>(&'a mut self, holders: &'a [(CouponId, UserId)]) -> BoxFuture<'a, Result<Grants, LedgerError>>;

    /// Takes stock from locked shards. Fails when a shard has less than is taken, whatever was read before.
    fn take_stock<'a>(&'a mut self, decrements: &'a [StockDecrement]) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// Inserts outcomes, and adds them to the tallies. A request that is settled already, or a grant number that the user has already, fails
    /// the transaction with [`LedgerError::Transient`]: settled again, the batch will read it.
    fn insert_outcomes<'a>(&'a mut self, settled: &'a [Settled]) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// Advances the partition's offsets to those of `to`. Fails when epoch or offset differ from those of `from`.
    fn advance(&mut self, from: Claim, to: Claim) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// After a transient error the commit may have happened: the partition's offset tells.
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), LedgerError>>;
}
