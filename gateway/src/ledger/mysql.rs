//! The ledger on a server: MySQL 8, MariaDB 10.6, and compatible databases.

mod admin_keys;
mod audit;
mod batch;
mod call;
mod campaigns;
mod groups;
mod log_identity;
mod outcomes;
mod pipeline;
mod policy_versions;
mod retention;
mod rollouts;
mod schema;
mod server;
mod stock;
mod transaction;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::{Connection, MySqlPool};

use self::call::within;
use self::server::{IsolationLevel, Transactions};
use super::terms::KnownTerms;
use super::{
    CampaignChanges, CampaignError, Claim, Deletion, GenerationRow, Ledger, LedgerError, ListedOutcome, LogIdentity,
    OffsetChange, OpenError, Place, PolicyVersion, RecordedOutcome, RolloutTable, StoredComponent, Transaction,
};
use crate::coupon::{
    Audit, Campaign, CampaignChange, ChangeKey, CouponId, Fingerprint, GenerationNo, GroupNo, LogId, NewCampaign,
    Offset, PartitionNo, RequestId, ShardStock, Terms, UnixMs,
};

pub(super) use self::schema::migrate;
pub(super) use self::server::Server;

/// One for each of the 12 partitions that settle concurrently, the rest for claims and campaigns. With more
/// partitions in one process, settlements wait for a connection.
const WRITERS_MAX: u32 = 16;
/// Status calls read one row by its primary key; more connections would not make the server faster.
const READERS_MAX: u32 = 8;
/// For lists of campaigns, and audits.
const SNAPSHOTS_MAX: u32 = 2;
/// A recount reads every outcome of a coupon: one at a time, on a connection that no other call needs.
const RECOUNTS_MAX: u32 = 1;

/// A ledger on a server. Several gateways may share one.
pub struct Mysql {
    /// READ COMMITTED: a statement under a lock sees what the lock's last holder committed.
    writers: MySqlPool,
    /// For single statements.
    readers: MySqlPool,
    /// REPEATABLE READ: all statements of a transaction see one snapshot.
    snapshots: MySqlPool,
    /// REPEATABLE READ.
    recounts: MySqlPool,
    known_terms: Arc<KnownTerms>,
}

impl Mysql {
    pub(super) async fn open(server: &Server) -> Result<Self, OpenError> {
        let mut connection = server.connect().await?;
        schema::check(server, &mut connection).await?;
        // The check succeeded; a failed goodbye changes nothing.
        let _ = connection.close().await;
        Ok(Self {
            writers: server.pool(WRITERS_MAX, IsolationLevel::ReadCommitted, Transactions::Some),
            readers: server.pool(READERS_MAX, IsolationLevel::ReadCommitted, Transactions::None),
            snapshots: server.pool(SNAPSHOTS_MAX, IsolationLevel::RepeatableRead, Transactions::Some),
            recounts: server.pool(RECOUNTS_MAX, IsolationLevel::RepeatableRead, Transactions::Some),
            known_terms: Arc::default(),
        })
    }
}

impl Ledger for Mysql {
    fn groups(&self) -> u32 {
        1
    }

    fn join(&self, _: GroupNo) -> BoxFuture<'_, Result<(), OpenError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn group_of(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<GroupNo>, LedgerError>> {
        Box::pin(within("read the group of the coupon", groups::group_of(&self.readers, coupon)))
    }

    fn assign_group(&self, coupon: CouponId, group: GroupNo) -> BoxFuture<'_, Result<GroupNo, LedgerError>> {
        Box::pin(within("assign the coupon to a group", groups::assign(&self.writers, coupon, group)))
    }

    fn place(&self) -> BoxFuture<'_, Result<Option<Place>, LedgerError>> {
        Box::pin(within("read the ledger group", groups::place(&self.readers)))
    }

    fn store_place(&self, place: Place) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(within("store the ledger group", groups::store_place(&self.writers, place)))
    }

    fn create_campaign<'a>(&'a self, new: &'a NewCampaign) -> BoxFuture<'a, Result<Campaign, CampaignError>> {
        Box::pin(within("create the campaign", campaigns::create(&self.writers, &self.snapshots, new)))
    }

    fn campaign(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Campaign>, LedgerError>> {
        Box::pin(within("read the campaign", campaigns::one(&self.snapshots, coupon)))
    }

    fn campaigns(&self, _: GroupNo) -> BoxFuture<'_, Result<Vec<Campaign>, LedgerError>> {
        Box::pin(within("read the campaigns", campaigns::all(&self.snapshots)))
    }

    fn campaign_changes(&self, _: GroupNo, after_version: u64) -> BoxFuture<'_, Result<CampaignChanges, LedgerError>> {
        Box::pin(within("read the changed campaigns", campaigns::changes(&self.readers, after_version)))
    }

    fn stock<'a>(
        &'a self,
        _: GroupNo,
        coupons: &'a [CouponId],
    ) -> BoxFuture<'a, Result<HashMap<CouponId, Vec<ShardStock>>, LedgerError>> {
        Box::pin(within("read the stock", campaigns::stock(&self.readers, coupons)))
    }

    fn change_campaign(
        &self,
        coupon: CouponId,
        change: CampaignChange,
        key: Option<ChangeKey>,
    ) -> BoxFuture<'_, Result<Campaign, CampaignError>> {
        Box::pin(within("change the campaign", campaigns::change(&self.writers, coupon, change, key)))
    }

    fn audit(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Audit>, LedgerError>> {
        Box::pin(within("audit the campaign", audit::audit(&self.snapshots, coupon)))
    }

    /// Without a time limit: it counts every outcome of the coupon.
    fn recount(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Audit>, LedgerError>> {
        Box::pin(audit::recount(&self.recounts, coupon))
    }

    fn outcome(&self, _: GroupNo, request: RequestId) -> BoxFuture<'_, Result<Option<RecordedOutcome>, LedgerError>> {
        Box::pin(within("read the outcome", outcomes::outcome(&self.readers, request)))
    }

    fn outcome_under_key(
        &self,
        group: GroupNo,
        request: RequestId,
        _: Fingerprint,
    ) -> BoxFuture<'_, Result<Option<(RequestId, RecordedOutcome)>, LedgerError>> {
        Box::pin(async move { Ok(self.outcome(group, request).await?.map(|recorded| (request, recorded))) })
    }

    fn next_offset(&self, partition: PartitionNo) -> BoxFuture<'_, Result<Offset, LedgerError>> {
        Box::pin(within("read the offset", outcomes::next_offset(&self.readers, partition)))
    }

    fn next_offsets(&self, _: GroupNo) -> BoxFuture<'_, Result<BTreeMap<PartitionNo, Offset>, LedgerError>> {
        Box::pin(within("read the offsets", outcomes::next_offsets(&self.readers)))
    }

    fn claim(&self, partition: PartitionNo) -> BoxFuture<'_, Result<Claim, LedgerError>> {
        Box::pin(within("claim the partition", outcomes::claim(&self.writers, partition)))
    }

    fn store_released(&self, claim: Claim) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(within("store the released offset", outcomes::store_released(&self.writers, claim)))
    }

    fn rejections<'a>(
        &'a self,
        _: PartitionNo,
        requests: &'a [RequestId],
    ) -> BoxFuture<'a, Result<BTreeSet<RequestId>, LedgerError>> {
        Box::pin(within("read the rejections", outcomes::rejections(&self.readers, requests)))
    }

    fn log_identity(&self, _: GroupNo) -> BoxFuture<'_, Result<Option<LogIdentity>, LedgerError>> {
        Box::pin(within("read the log's identity", log_identity::identity(&self.readers)))
    }

    fn propose_log(&self, log_id: LogId) -> BoxFuture<'_, Result<LogId, LedgerError>> {
        Box::pin(within("store the log's identity", log_identity::propose(&self.writers, log_id)))
    }

    fn see_log(&self, log_id: LogId, now_ms: UnixMs) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(within("confirm the log's identity", log_identity::see(&self.writers, log_id, now_ms)))
    }

    fn adopt_log<'a>(
        &'a self,
        _: GroupNo,
        log_id: LogId,
        first: PartitionNo,
        next_offsets: &'a [Offset],
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(within(
            "move the ledger to another log",
            log_identity::adopt(&self.writers, log_id, first, next_offsets, now_ms),
        ))
    }

    fn skip(
        &self,
        partition: PartitionNo,
        from: Offset,
        to: Offset,
        now_ms: UnixMs,
    ) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(within("skip the missing offsets", log_identity::skip(&self.writers, partition, from, to, now_ms)))
    }

    fn offset_changes(&self, _: GroupNo, rows_max: u32) -> BoxFuture<'_, Result<Vec<OffsetChange>, LedgerError>> {
        Box::pin(within("read the offset changes", log_identity::changes(&self.readers, rows_max)))
    }

    fn outcomes<'a>(
        &'a self,
        coupon: CouponId,
        last: Option<&'a ListedOutcome>,
        rows_max: u32,
    ) -> BoxFuture<'a, Result<Vec<ListedOutcome>, LedgerError>> {
        Box::pin(within("list the outcomes", retention::outcomes(&self.readers, coupon, last, rows_max)))
    }

    fn terms<'a>(
        &'a self,
        _: CouponId,
        requests: &'a [RequestId],
    ) -> BoxFuture<'a, Result<BTreeMap<RequestId, Terms>, LedgerError>> {
        Box::pin(within("read the terms", retention::terms(&self.readers, requests)))
    }

    fn outcomes_deleted(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<bool>, LedgerError>> {
        Box::pin(within("read what is deleted", retention::outcomes_deleted(&self.readers, coupon)))
    }

    fn expired_campaigns(
        &self,
        _: GroupNo,
        deletion: Deletion,
        closed_before_ms: UnixMs,
        rows_max: u32,
    ) -> BoxFuture<'_, Result<Vec<CouponId>, LedgerError>> {
        Box::pin(within(
            "read the expired campaigns",
            retention::expired_campaigns(&self.readers, deletion, closed_before_ms, rows_max),
        ))
    }

    fn delete_outcomes<'a>(
        &'a self,
        coupon: CouponId,
        requests: &'a BTreeSet<RequestId>,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(within("delete outcomes", retention::delete_outcomes(&self.writers, coupon, requests)))
    }

    fn delete_terms(&self, coupon: CouponId, rows_max: u32) -> BoxFuture<'_, Result<u64, LedgerError>> {
        Box::pin(within("delete terms", retention::delete_terms(&self.writers, coupon, rows_max)))
    }

    fn record_deletion(&self, coupon: CouponId, deletion: Deletion) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(within("record the deletion", retention::record_deletion(&self.writers, coupon, deletion)))
    }

    fn begin(&self, _: PartitionNo) -> BoxFuture<'_, Result<Box<dyn Transaction>, LedgerError>> {
        Box::pin(within("begin", async {
            let begun = transaction::MysqlTransaction::begin(&self.writers, &self.known_terms).await?;
            Ok(Box::new(begun) as Box<dyn Transaction>)
        }))
    }

    fn generations(
        &self,
        coupon: Option<CouponId>,
        rows_max: u32,
    ) -> BoxFuture<'_, Result<Vec<GenerationRow>, LedgerError>> {
        Box::pin(within("read the generations", pipeline::generations(&self.readers, coupon, rows_max)))
    }

    fn newest_generations(
        &self,
        after: GenerationNo,
        rows_max: u32,
    ) -> BoxFuture<'_, Result<Vec<GenerationRow>, LedgerError>> {
        Box::pin(within("read the newest generations", pipeline::newest_generations(&self.readers, after, rows_max)))
    }

    fn publish_generation<'a>(
        &'a self,
        row: &'a GenerationRow,
        components: &'a [(String, Arc<[u8]>)],
    ) -> BoxFuture<'a, Result<bool, LedgerError>> {
        Box::pin(within("store the generation", pipeline::publish(&self.writers, row, components)))
    }

    fn end_pipeline(&self, coupon: CouponId) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(within("end the pipeline of a coupon", pipeline::end(&self.writers, coupon)))
    }

    fn register_policy<'a>(
        &'a self,
        version: &'a PolicyVersion,
        bytes: &'a [u8],
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(within("register the policy", policy_versions::register(&self.writers, version, bytes)))
    }

    fn policy_versions(&self) -> BoxFuture<'_, Result<Vec<PolicyVersion>, LedgerError>> {
        Box::pin(within("read the policy versions", policy_versions::versions(&self.readers)))
    }

    fn component<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Result<Option<StoredComponent>, LedgerError>> {
        Box::pin(within("read the component", policy_versions::component(&self.readers, digest)))
    }

    fn rollouts(&self) -> &dyn RolloutTable {
        self
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn ready(&self, _: GroupNo) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(within("reach the ledger", outcomes::ready(&self.readers)))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.recounts.close().await;
            self.snapshots.close().await;
            self.readers.close().await;
            self.writers.close().await;
        })
    }
}

#[cfg(test)]
mod tests;
