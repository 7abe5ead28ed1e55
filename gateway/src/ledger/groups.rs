//! A ledger of several groups: it passes each call on to the database of the group that the call concerns.

mod members;
#[cfg(test)]
mod tests;
mod verify;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::future::{BoxFuture, join_all};

use self::members::Members;
use super::{
    CampaignChanges, CampaignError, Claim, Deletion, GenerationRow, Ledger, LedgerError, ListedOutcome, LogIdentity,
    OffsetChange, OpenError, Place, PolicyVersion, RecordedOutcome, RolloutTable, StoredComponent, Transaction,
};
use crate::coupon::{
    Audit, Campaign, CampaignChange, ChangeKey, CouponId, Fingerprint, GenerationNo, GroupLayout, GroupNo, LogId,
    NewCampaign, Offset, PartitionNo, RequestId, ShardStock, Terms, UnixMs,
};

pub use self::members::Opener;

/// The groups of a ledger. One group is the default.
pub struct Groups(Members);

impl Groups {
    /// Opens the first group. The others are opened when they [join](Ledger::join).
    ///
    /// # Errors
    /// Those of the first opener.
    pub async fn open(openers: Vec<Opener>, partitions_each: u32) -> Result<Self, OpenError> {
        let layout = GroupLayout::new(u32::try_from(openers.len()).unwrap_or(u32::MAX), partitions_each);
        Members::new(openers, layout).await.map(Self)
    }

    /// Opens all groups, and verifies none.
    ///
    /// # Errors
    /// Those of the openers.
    pub async fn open_unverified(self) -> Result<Self, OpenError> {
        for group in self.0.layout().groups() {
            self.0.join(group, self.0.open(group).await?);
        }
        Ok(self)
    }

    async fn verify_and_join(&self, group: GroupNo) -> Result<(), OpenError> {
        let database = self.0.open(group).await?;
        verify::verify(group, &*database, self.0.first(), self.0.layout()).await?;
        self.0.join(group, database);
        Ok(())
    }

    async fn assign(&self, coupon: CouponId, group: GroupNo) -> Result<GroupNo, LedgerError> {
        if let Some(assigned) = self.0.group_of(coupon).await? {
            return Ok(assigned);
        }
        // An assignment is for ever, so a group that is down gets none.
        self.0.get(group)?.ready(group).await?;
        let assigned = self.0.first().assign_group(coupon, group).await?;
        self.0.learn([coupon], assigned);
        Ok(assigned)
    }

    async fn create(&self, new: &NewCampaign) -> Result<Campaign, CampaignError> {
        let by_hash = GroupNo::of(new.coupon_id, self.groups());
        let group = self.assign(new.coupon_id, by_hash).await?;
        Ok(Campaign { group, ..self.0.get(group)?.create_campaign(new).await? })
    }

    async fn change(
        &self,
        coupon: CouponId,
        change: CampaignChange,
        key: Option<ChangeKey>,
    ) -> Result<Campaign, CampaignError> {
        let (group, database) = self.0.of_coupon(coupon).await?.ok_or(CampaignError::NotFound(coupon))?;
        Ok(Campaign { group, ..database.change_campaign(coupon, change, key).await? })
    }

    async fn changes(&self, group: GroupNo, after_version: u64) -> Result<CampaignChanges, LedgerError> {
        let mut changes = self.0.get(group)?.campaign_changes(group, after_version).await?;
        self.0.note(group, &mut changes.campaigns);
        self.0.learn(changes.closed.iter().map(|(coupon, _)| *coupon), group);
        Ok(changes)
    }
}

impl Ledger for Groups {
    fn groups(&self) -> u32 {
        self.0.layout().number_of_groups()
    }

    fn join(&self, group: GroupNo) -> BoxFuture<'_, Result<(), OpenError>> {
        Box::pin(self.verify_and_join(group))
    }

    fn group_of(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<GroupNo>, LedgerError>> {
        Box::pin(self.0.group_of(coupon))
    }

    fn assign_group(&self, coupon: CouponId, group: GroupNo) -> BoxFuture<'_, Result<GroupNo, LedgerError>> {
        Box::pin(self.assign(coupon, group))
    }

    fn place(&self) -> BoxFuture<'_, Result<Option<Place>, LedgerError>> {
        self.0.first().place()
    }

    fn store_place(&self, place: Place) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.0.first().store_place(place)
    }

    fn create_campaign<'a>(&'a self, new: &'a NewCampaign) -> BoxFuture<'a, Result<Campaign, CampaignError>> {
        Box::pin(self.create(new))
    }

    fn campaign(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Campaign>, LedgerError>> {
        Box::pin(async move {
            let Some((group, database)) = self.0.of_coupon(coupon).await? else { return Ok(None) };
            Ok(database.campaign(coupon).await?.map(|campaign| Campaign { group, ..campaign }))
        })
    }

    fn campaigns(&self, group: GroupNo) -> BoxFuture<'_, Result<Vec<Campaign>, LedgerError>> {
        Box::pin(async move {
            let mut campaigns = self.0.get(group)?.campaigns(group).await?;
            self.0.note(group, &mut campaigns);
            Ok(campaigns)
        })
    }

    fn campaign_changes(
        &self,
        group: GroupNo,
        after_version: u64,
    ) -> BoxFuture<'_, Result<CampaignChanges, LedgerError>> {
        Box::pin(self.changes(group, after_version))
    }

    fn stock<'a>(
        &'a self,
        group: GroupNo,
        coupons: &'a [CouponId],
    ) -> BoxFuture<'a, Result<HashMap<CouponId, Vec<ShardStock>>, LedgerError>> {
        Box::pin(async move { self.0.get(group)?.stock(group, coupons).await })
    }

    fn change_campaign(
        &self,
        coupon: CouponId,
        change: CampaignChange,
        key: Option<ChangeKey>,
    ) -> BoxFuture<'_, Result<Campaign, CampaignError>> {
        Box::pin(self.change(coupon, change, key))
    }

    fn audit(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Audit>, LedgerError>> {
        Box::pin(async move {
            let Some((_, database)) = self.0.of_coupon(coupon).await? else { return Ok(None) };
            database.audit(coupon).await
        })
    }

    fn recount(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Audit>, LedgerError>> {
        Box::pin(async move {
            let Some((_, database)) = self.0.of_coupon(coupon).await? else { return Ok(None) };
            database.recount(coupon).await
        })
    }

    fn outcome(
        &self,
        group: GroupNo,
        request: RequestId,
    ) -> BoxFuture<'_, Result<Option<RecordedOutcome>, LedgerError>> {
        Box::pin(async move { self.0.get(group)?.outcome(group, request).await })
    }

    fn outcome_under_key(
        &self,
        group: GroupNo,
        request: RequestId,
        fingerprint: Fingerprint,
    ) -> BoxFuture<'_, Result<Option<(RequestId, RecordedOutcome)>, LedgerError>> {
        Box::pin(async move { self.0.get(group)?.outcome_under_key(group, request, fingerprint).await })
    }

    fn next_offset(&self, partition: PartitionNo) -> BoxFuture<'_, Result<Offset, LedgerError>> {
        Box::pin(async move { self.0.of_partition(partition)?.next_offset(partition).await })
    }

    fn next_offsets(&self, group: GroupNo) -> BoxFuture<'_, Result<BTreeMap<PartitionNo, Offset>, LedgerError>> {
        Box::pin(async move { self.0.get(group)?.next_offsets(group).await })
    }

    fn claim(&self, partition: PartitionNo) -> BoxFuture<'_, Result<Claim, LedgerError>> {
        Box::pin(async move { self.0.of_partition(partition)?.claim(partition).await })
    }

    fn store_released(&self, claim: Claim) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move { self.0.of_partition(claim.partition)?.store_released(claim).await })
    }

    fn rejections<'a>(
        &'a self,
        partition: PartitionNo,
        requests: &'a [RequestId],
    ) -> BoxFuture<'a, Result<BTreeSet<RequestId>, LedgerError>> {
        Box::pin(async move { self.0.of_partition(partition)?.rejections(partition, requests).await })
    }

    fn log_identity(&self, group: GroupNo) -> BoxFuture<'_, Result<Option<LogIdentity>, LedgerError>> {
        Box::pin(async move { self.0.get(group)?.log_identity(group).await })
    }

    fn propose_log(&self, log_id: LogId) -> BoxFuture<'_, Result<LogId, LedgerError>> {
        self.0.first().propose_log(log_id)
    }

    fn see_log(&self, log_id: LogId, now_ms: UnixMs) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.0.first().see_log(log_id, now_ms)
    }

    fn adopt_log<'a>(
        &'a self,
        group: GroupNo,
        log_id: LogId,
        first: PartitionNo,
        next_offsets: &'a [Offset],
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move { self.0.get(group)?.adopt_log(group, log_id, first, next_offsets, now_ms).await })
    }

    fn skip(
        &self,
        partition: PartitionNo,
        from: Offset,
        to: Offset,
        now_ms: UnixMs,
    ) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(async move { self.0.of_partition(partition)?.skip(partition, from, to, now_ms).await })
    }

    fn offset_changes(&self, group: GroupNo, rows_max: u32) -> BoxFuture<'_, Result<Vec<OffsetChange>, LedgerError>> {
        Box::pin(async move { self.0.get(group)?.offset_changes(group, rows_max).await })
    }

    fn outcomes<'a>(
        &'a self,
        coupon: CouponId,
        last: Option<&'a ListedOutcome>,
        rows_max: u32,
    ) -> BoxFuture<'a, Result<Vec<ListedOutcome>, LedgerError>> {
        Box::pin(async move {
            let Some((_, database)) = self.0.of_coupon(coupon).await? else { return Ok(Vec::new()) };
            database.outcomes(coupon, last, rows_max).await
        })
    }

    fn terms<'a>(
        &'a self,
        coupon: CouponId,
        requests: &'a [RequestId],
    ) -> BoxFuture<'a, Result<BTreeMap<RequestId, Terms>, LedgerError>> {
        Box::pin(async move {
            let Some((_, database)) = self.0.of_coupon(coupon).await? else { return Ok(BTreeMap::new()) };
            database.terms(coupon, requests).await
        })
    }

    fn outcomes_deleted(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<bool>, LedgerError>> {
        Box::pin(async move {
            let Some((_, database)) = self.0.of_coupon(coupon).await? else { return Ok(None) };
            database.outcomes_deleted(coupon).await
        })
    }

    fn expired_campaigns(
        &self,
        group: GroupNo,
        deletion: Deletion,
        closed_before_ms: UnixMs,
        rows_max: u32,
    ) -> BoxFuture<'_, Result<Vec<CouponId>, LedgerError>> {
        Box::pin(async move {
            let expired = self.0.get(group)?.expired_campaigns(group, deletion, closed_before_ms, rows_max).await?;
            self.0.learn(expired.iter().copied(), group);
            Ok(expired)
        })
    }

    fn delete_outcomes<'a>(
        &'a self,
        coupon: CouponId,
        requests: &'a BTreeSet<RequestId>,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            let Some((_, database)) = self.0.of_coupon(coupon).await? else { return Ok(()) };
            database.delete_outcomes(coupon, requests).await
        })
    }

    fn delete_terms(&self, coupon: CouponId, rows_max: u32) -> BoxFuture<'_, Result<u64, LedgerError>> {
        Box::pin(async move {
            let Some((_, database)) = self.0.of_coupon(coupon).await? else { return Ok(0) };
            database.delete_terms(coupon, rows_max).await
        })
    }

    fn record_deletion(&self, coupon: CouponId, deletion: Deletion) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            let Some((_, database)) = self.0.of_coupon(coupon).await? else { return Ok(()) };
            database.record_deletion(coupon, deletion).await
        })
    }

    fn begin(&self, partition: PartitionNo) -> BoxFuture<'_, Result<Box<dyn Transaction>, LedgerError>> {
        Box::pin(async move { self.0.of_partition(partition)?.begin(partition).await })
    }

    fn generations(
        &self,
        coupon: Option<CouponId>,
        rows_max: u32,
    ) -> BoxFuture<'_, Result<Vec<GenerationRow>, LedgerError>> {
        self.0.first().generations(coupon, rows_max)
    }

    fn newest_generations(
        &self,
        after: GenerationNo,
        rows_max: u32,
    ) -> BoxFuture<'_, Result<Vec<GenerationRow>, LedgerError>> {
        self.0.first().newest_generations(after, rows_max)
    }

    fn publish_generation<'a>(
        &'a self,
        row: &'a GenerationRow,
        components: &'a [(String, Arc<[u8]>)],
    ) -> BoxFuture<'a, Result<bool, LedgerError>> {
        self.0.first().publish_generation(row, components)
    }

    fn end_pipeline(&self, coupon: CouponId) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.0.first().end_pipeline(coupon)
    }

    fn register_policy<'a>(
        &'a self,
        version: &'a PolicyVersion,
        bytes: &'a [u8],
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        self.0.first().register_policy(version, bytes)
    }

    fn policy_versions(&self) -> BoxFuture<'_, Result<Vec<PolicyVersion>, LedgerError>> {
        self.0.first().policy_versions()
    }

    fn component<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Result<Option<StoredComponent>, LedgerError>> {
        self.0.first().component(digest)
    }

    fn rollouts(&self) -> &dyn RolloutTable {
        self.0.first().rollouts()
    }

    /// A group that has not joined is on a server: files are never unreachable.
    fn is_shared(&self) -> bool {
        (self.0.joined().count() as u64) < u64::from(self.groups()) || self.0.joined().any(Ledger::is_shared)
    }

    fn ready(&self, group: GroupNo) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move { self.0.get(group)?.ready(group).await })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { drop(join_all(self.0.joined().map(Ledger::close)).await) })
    }
}
