//! The embedded ledger: one SQLite file with one writer, used by one process.

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
mod stock;
mod transaction;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::migrate::{Migrate, MigrateError};

use super::terms::KnownTerms;
use super::{
    CampaignChanges, CampaignError, Claim, Deletion, GenerationRow, Ledger, LedgerError, ListedOutcome, LogIdentity,
    OffsetChange, OpenError, Place, PolicyVersion, RecordedOutcome, RolloutTable, StoredComponent, Transaction,
    migrations,
};
use crate::coupon::{
    Audit, Campaign, CampaignChange, ChangeKey, CouponId, Fingerprint, GenerationNo, GroupNo, LogId, NewCampaign,
    Offset, PartitionNo, RequestId, ShardStock, Terms, UnixMs,
};
use crate::sqlite_file::{SqliteFile, SqliteFileError};

pub struct Sqlite {
    file: SqliteFile,
    known_terms: Arc<KnownTerms>,
}

impl Sqlite {
    /// Opens the file, creating it if necessary, and migrates it to this binary's version.
    ///
    /// # Errors
    /// [`OpenError::InUse`] when another process has it open.
    pub async fn open(path: &str) -> Result<Self, OpenError> {
        let file = open_file(path).await?;
        apply(&file).await.map_err(|error| failed(path, error))?;
        Ok(Self { file, known_terms: Arc::default() })
    }
}

/// Migrates the file to this binary's version and returns the names of the applied migrations.
pub(super) async fn migrate(path: &str) -> Result<Vec<String>, OpenError> {
    let file = open_file(path).await?;
    let applied = apply(&file).await.map_err(|error| failed(path, error))?;
    file.close().await;
    Ok(applied)
}

async fn apply(file: &SqliteFile) -> Result<Vec<String>, MigrateError> {
    let mut writer = file.writer.acquire().await?;
    writer.ensure_migrations_table(&migrations::SQLITE.table_name).await?;
    let before = writer.list_applied_migrations(&migrations::SQLITE.table_name).await?;
    // As `run`, whose future cannot be sent to another thread.
    migrations::SQLITE.run_direct(None, &mut *writer, false).await?;
    Ok(migrations::missing(&migrations::SQLITE, &before))
}

fn failed(path: &str, error: MigrateError) -> OpenError {
    let place = path.to_owned();
    match error {
        MigrateError::VersionMissing(found) => {
            let known = migrations::SQLITE.iter().map(|migration| migration.version).max().unwrap_or(0);
            OpenError::Ahead { place, found, known }
        }
        other => OpenError::Failed { place, source: other.into() },
    }
}

async fn open_file(path: &str) -> Result<SqliteFile, OpenError> {
    SqliteFile::open(Path::new(path)).await.map_err(|error| match error {
        SqliteFileError::InUse => OpenError::InUse(path.to_owned()),
        other => OpenError::Failed { place: path.to_owned(), source: other.into() },
    })
}

impl Ledger for Sqlite {
    fn groups(&self) -> u32 {
        1
    }

    fn join(&self, _: GroupNo) -> BoxFuture<'_, Result<(), OpenError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn group_of(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<GroupNo>, LedgerError>> {
        Box::pin(groups::group_of(&self.file, coupon))
    }

    fn assign_group(&self, coupon: CouponId, group: GroupNo) -> BoxFuture<'_, Result<GroupNo, LedgerError>> {
        Box::pin(groups::assign(&self.file, coupon, group))
    }

    fn place(&self) -> BoxFuture<'_, Result<Option<Place>, LedgerError>> {
        Box::pin(groups::place(&self.file))
    }

    fn store_place(&self, place: Place) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(groups::store_place(&self.file, place))
    }

    fn create_campaign<'a>(&'a self, new: &'a NewCampaign) -> BoxFuture<'a, Result<Campaign, CampaignError>> {
        Box::pin(campaigns::create(&self.file, new))
    }

    fn campaign(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Campaign>, LedgerError>> {
        Box::pin(campaigns::one(&self.file.readers, coupon))
    }

    fn campaigns(&self, _: GroupNo) -> BoxFuture<'_, Result<Vec<Campaign>, LedgerError>> {
        Box::pin(campaigns::all(&self.file.readers))
    }

    fn campaign_changes(&self, _: GroupNo, after_version: u64) -> BoxFuture<'_, Result<CampaignChanges, LedgerError>> {
        Box::pin(campaigns::changes(&self.file.readers, after_version))
    }

    fn stock<'a>(
        &'a self,
        _: GroupNo,
        coupons: &'a [CouponId],
    ) -> BoxFuture<'a, Result<HashMap<CouponId, Vec<ShardStock>>, LedgerError>> {
        Box::pin(campaigns::stock(&self.file.readers, coupons))
    }

    fn change_campaign(
        &self,
        coupon: CouponId,
        change: CampaignChange,
        key: Option<ChangeKey>,
    ) -> BoxFuture<'_, Result<Campaign, CampaignError>> {
        Box::pin(campaigns::change(&self.file, coupon, change, key))
    }

    fn audit(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Audit>, LedgerError>> {
        Box::pin(audit::audit(&self.file.readers, coupon))
    }

    fn recount(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Audit>, LedgerError>> {
        Box::pin(audit::recount(&self.file.slow_reader, coupon))
    }

    fn outcome(&self, _: GroupNo, request: RequestId) -> BoxFuture<'_, Result<Option<RecordedOutcome>, LedgerError>> {
        Box::pin(outcomes::outcome(&self.file, request))
    }

    fn outcome_under_key(
        &self,
        _: GroupNo,
        request: RequestId,
        fingerprint: Fingerprint,
    ) -> BoxFuture<'_, Result<Option<(RequestId, RecordedOutcome)>, LedgerError>> {
        Box::pin(outcomes::outcome_under_key(&self.file, request, fingerprint))
    }

    fn next_offset(&self, partition: PartitionNo) -> BoxFuture<'_, Result<Offset, LedgerError>> {
        Box::pin(outcomes::next_offset(&self.file, partition))
    }

    fn next_offsets(&self, _: GroupNo) -> BoxFuture<'_, Result<BTreeMap<PartitionNo, Offset>, LedgerError>> {
        Box::pin(outcomes::next_offsets(&self.file))
    }

    fn claim(&self, partition: PartitionNo) -> BoxFuture<'_, Result<Claim, LedgerError>> {
        Box::pin(outcomes::claim(&self.file, partition))
    }

    fn store_released(&self, claim: Claim) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(outcomes::store_released(&self.file, claim))
    }

    fn rejections<'a>(
        &'a self,
        _: PartitionNo,
        requests: &'a [RequestId],
    ) -> BoxFuture<'a, Result<BTreeSet<RequestId>, LedgerError>> {
        Box::pin(outcomes::rejections(&self.file, requests))
    }

    fn log_identity(&self, _: GroupNo) -> BoxFuture<'_, Result<Option<LogIdentity>, LedgerError>> {
        Box::pin(log_identity::identity(&self.file))
    }

    fn propose_log(&self, log_id: LogId) -> BoxFuture<'_, Result<LogId, LedgerError>> {
        Box::pin(log_identity::propose(&self.file, log_id))
    }

    fn see_log(&self, log_id: LogId, now_ms: UnixMs) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(log_identity::see(&self.file, log_id, now_ms))
    }

    fn adopt_log<'a>(
        &'a self,
        _: GroupNo,
        log_id: LogId,
        first: PartitionNo,
        next_offsets: &'a [Offset],
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(log_identity::adopt(&self.file, log_id, first, next_offsets, now_ms))
    }

    fn skip(
        &self,
        partition: PartitionNo,
        from: Offset,
        to: Offset,
        now_ms: UnixMs,
    ) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(log_identity::skip(&self.file, partition, from, to, now_ms))
    }

    fn offset_changes(&self, _: GroupNo, rows_max: u32) -> BoxFuture<'_, Result<Vec<OffsetChange>, LedgerError>> {
        Box::pin(log_identity::changes(&self.file, rows_max))
    }

    fn outcomes<'a>(
        &'a self,
        coupon: CouponId,
        last: Option<&'a ListedOutcome>,
        rows_max: u32,
    ) -> BoxFuture<'a, Result<Vec<ListedOutcome>, LedgerError>> {
        Box::pin(retention::outcomes(&self.file.readers, coupon, last, rows_max))
    }

    fn terms<'a>(
        &'a self,
        _: CouponId,
        requests: &'a [RequestId],
    ) -> BoxFuture<'a, Result<BTreeMap<RequestId, Terms>, LedgerError>> {
        Box::pin(retention::terms(&self.file.readers, requests))
    }

    fn outcomes_deleted(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<bool>, LedgerError>> {
        Box::pin(retention::outcomes_deleted(&self.file.readers, coupon))
    }

    fn expired_campaigns(
        &self,
        _: GroupNo,
        deletion: Deletion,
        closed_before_ms: UnixMs,
        rows_max: u32,
    ) -> BoxFuture<'_, Result<Vec<CouponId>, LedgerError>> {
        Box::pin(retention::expired_campaigns(&self.file.readers, deletion, closed_before_ms, rows_max))
    }

    fn delete_outcomes<'a>(
        &'a self,
        coupon: CouponId,
        requests: &'a BTreeSet<RequestId>,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(retention::delete_outcomes(&self.file, coupon, requests))
    }

    fn delete_terms(&self, coupon: CouponId, rows_max: u32) -> BoxFuture<'_, Result<u64, LedgerError>> {
        Box::pin(retention::delete_terms(&self.file, coupon, rows_max))
    }

    fn record_deletion(&self, coupon: CouponId, deletion: Deletion) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(retention::record_deletion(&self.file, coupon, deletion))
    }

    fn begin(&self, _: PartitionNo) -> BoxFuture<'_, Result<Box<dyn Transaction>, LedgerError>> {
        Box::pin(async move {
            let begun = transaction::SqliteTransaction::begin(&self.file, &self.known_terms).await?;
            Ok(Box::new(begun) as Box<dyn Transaction>)
        })
    }

    fn generations(
        &self,
        coupon: Option<CouponId>,
        rows_max: u32,
    ) -> BoxFuture<'_, Result<Vec<GenerationRow>, LedgerError>> {
        Box::pin(pipeline::generations(&self.file, coupon, rows_max))
    }

    fn newest_generations(
        &self,
        after: GenerationNo,
        rows_max: u32,
    ) -> BoxFuture<'_, Result<Vec<GenerationRow>, LedgerError>> {
        Box::pin(pipeline::newest_generations(&self.file, after, rows_max))
    }

    fn publish_generation<'a>(
        &'a self,
        row: &'a GenerationRow,
        components: &'a [(String, Arc<[u8]>)],
    ) -> BoxFuture<'a, Result<bool, LedgerError>> {
        Box::pin(pipeline::publish(&self.file, row, components))
    }

    fn end_pipeline(&self, coupon: CouponId) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(pipeline::end(&self.file, coupon))
    }

    fn register_policy<'a>(
        &'a self,
        version: &'a PolicyVersion,
        bytes: &'a [u8],
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(policy_versions::register(&self.file, version, bytes))
    }

    fn policy_versions(&self) -> BoxFuture<'_, Result<Vec<PolicyVersion>, LedgerError>> {
        Box::pin(policy_versions::versions(&self.file))
    }

    fn component<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Result<Option<StoredComponent>, LedgerError>> {
        Box::pin(policy_versions::component(&self.file, digest))
    }

    fn rollouts(&self) -> &dyn RolloutTable {
        self
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn ready(&self, _: GroupNo) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(outcomes::ready(&self.file))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.file.close())
    }
}

#[cfg(test)]
mod tests;
