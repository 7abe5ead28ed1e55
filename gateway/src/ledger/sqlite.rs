//! The embedded ledger: one SQLite file with one writer, used by one process.

mod admin_keys;
mod audit;
mod batch;
mod call;
mod campaigns;
mod log_identity;
mod outcomes;
mod pipeline;
mod policy_versions;
mod retention;
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
    OffsetChange, OpenError, PolicyVersion, RecordedOutcome, Transaction, migrations,
};
use crate::coupon::{
    Audit, Campaign, CampaignChange, ChangeKey, CouponId, Fingerprint, LogId, NewCampaign, Offset, PartitionNo,
    RequestId, ShardStock, UnixMs,
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
    migrations::SQLITE.run(&mut *writer).await?;
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
    fn create_campaign<'a>(&'a self, new: &'a NewCampaign) -> BoxFuture<'a, Result<Campaign, CampaignError>> {
        Box::pin(campaigns::create(&self.file, new))
    }

    fn campaign(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Campaign>, LedgerError>> {
        Box::pin(campaigns::one(&self.file.readers, coupon))
    }

    fn campaigns(&self) -> BoxFuture<'_, Result<Vec<Campaign>, LedgerError>> {
        Box::pin(campaigns::all(&self.file.readers))
    }

    fn campaign_changes(&self, after_version: u64) -> BoxFuture<'_, Result<CampaignChanges, LedgerError>> {
        Box::pin(campaigns::changes(&self.file.readers, after_version))
    }

    fn stock<'a>(
        &'a self,
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

    fn outcome(&self, request: RequestId) -> BoxFuture<'_, Result<Option<RecordedOutcome>, LedgerError>> {
        Box::pin(outcomes::outcome(&self.file, request))
    }

    fn outcome_under_key(
        &self,
        request: RequestId,
        fingerprint: Fingerprint,
    ) -> BoxFuture<'_, Result<Option<(RequestId, RecordedOutcome)>, LedgerError>> {
        Box::pin(outcomes::outcome_under_key(&self.file, request, fingerprint))
    }

    fn next_offset(&self, partition: PartitionNo) -> BoxFuture<'_, Result<Offset, LedgerError>> {
        Box::pin(outcomes::next_offset(&self.file, partition))
    }

    fn next_offsets(&self) -> BoxFuture<'_, Result<BTreeMap<PartitionNo, Offset>, LedgerError>> {
        Box::pin(outcomes::next_offsets(&self.file))
    }

    fn claim(&self, partition: PartitionNo) -> BoxFuture<'_, Result<Claim, LedgerError>> {
        Box::pin(outcomes::claim(&self.file, partition))
    }

    fn store_released(&self, claim: Claim) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(outcomes::store_released(&self.file, claim))
    }

    fn rejections<'a>(&'a self, requests: &'a [RequestId]) -> BoxFuture<'a, Result<BTreeSet<RequestId>, LedgerError>> {
        Box::pin(outcomes::rejections(&self.file, requests))
    }

    fn log_identity(&self) -> BoxFuture<'_, Result<Option<LogIdentity>, LedgerError>> {
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
        log_id: LogId,
        next_offsets: &'a [Offset],
        now_ms: UnixMs,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(log_identity::adopt(&self.file, log_id, next_offsets, now_ms))
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

    fn offset_changes(&self, rows_max: u32) -> BoxFuture<'_, Result<Vec<OffsetChange>, LedgerError>> {
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

    fn expired_campaigns(
        &self,
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

    fn record_deletion(&self, coupon: CouponId, deletion: Deletion) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(retention::record_deletion(&self.file, coupon, deletion))
    }

    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Transaction>, LedgerError>> {
        Box::pin(async move {
            let begun = transaction::SqliteTransaction::begin(&self.file, &self.known_terms).await?;
            Ok(Box::new(begun) as Box<dyn Transaction>)
        })
    }

    fn generations(&self, rows_max: u32) -> BoxFuture<'_, Result<Vec<GenerationRow>, LedgerError>> {
        Box::pin(pipeline::generations(&self.file, rows_max))
    }

    fn publish_generation<'a>(
        &'a self,
        row: &'a GenerationRow,
        components: &'a [(String, Arc<[u8]>)],
    ) -> BoxFuture<'a, Result<bool, LedgerError>> {
        Box::pin(pipeline::publish(&self.file, row, components))
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

    fn component<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, LedgerError>> {
        Box::pin(policy_versions::component(&self.file, digest))
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(outcomes::ready(&self.file))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.file.close())
    }
}

#[cfg(test)]
mod tests {
    use sqlx::migrate::Migrator;

    use super::*;
    use crate::coupon::now_ms;

    async fn temporary() -> (Sqlite, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("ledger.db");
        (Sqlite::open(path.to_str().expect("utf-8")).await.expect("opens"), folder)
    }

    super::super::contract::contract_tests!(sqlite => temporary().await);

    #[tokio::test]
    async fn an_upgrade_takes_all_rejections_before_it_as_released() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("ledger.db");
        let path = path.to_str().expect("utf-8");
        let file = open_file(path).await.expect("opens");
        let mut writer = file.writer.acquire().await.expect("connects");
        migrations::SQLITE.run_to(2, &mut *writer).await.expect("migrates to the version before");
        sqlx::raw_sql("INSERT INTO partition_offset (partition_no, epoch, next_offset) VALUES (3, 1, 70)")
            .execute(&mut *writer)
            .await
            .expect("inserts");
        drop(writer);
        file.close().await;
        drop(file);
        let claim = Sqlite::open(path).await.expect("opens").claim(PartitionNo(3)).await.expect("claims");
        assert_eq!((claim.next_offset, claim.released_offset), (70, 70));
    }

    #[tokio::test]
    async fn the_retention_of_a_campaign_that_was_closed_before_an_upgrade_begins_with_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("ledger.db");
        let path = path.to_str().expect("utf-8");
        let file = open_file(path).await.expect("opens");
        let mut writer = file.writer.acquire().await.expect("connects");
        migrations::SQLITE.run_to(5, &mut *writer).await.expect("migrates to the version before");
        let columns = "coupon_id, policy_id, total, shards, per_user_limit, state";
        let insert = format!("INSERT INTO campaign ({columns}) VALUES (104, 21, 1, 1, 1, 'CLOSED')");
        sqlx::raw_sql(sqlx::AssertSqlSafe(insert)).execute(&mut *writer).await.expect("inserts");
        drop(writer);
        file.close().await;
        drop(file);
        let before = now_ms();
        let ledger = Sqlite::open(path).await.expect("opens");
        let expired = async |before| ledger.expired_campaigns(Deletion::All, before, 9).await.expect("reads");
        // The migration's clock has seconds.
        assert_eq!(expired(before - 1_000).await, []);
        assert_eq!(expired(now_ms() + 1).await.len(), 1);
        assert_eq!(ledger.campaign_changes(0).await.expect("reads").closed.len(), 1);
    }

    #[tokio::test]
    async fn a_file_of_a_newer_version_is_refused_and_says_so() {
        let (ledger, folder) = temporary().await;
        sqlx::query("INSERT INTO _sqlx_migrations VALUES (9999, 'later', CURRENT_TIMESTAMP, 1, x'00', 1)")
            .execute(&ledger.file.writer)
            .await
            .expect("inserts");
        ledger.close().await;
        drop(ledger);
        let path = folder.path().join("ledger.db");
        let path = path.to_str().expect("utf-8");
        for error in [Sqlite::open(path).await.err(), migrate(path).await.err()] {
            let error = error.expect("is refused").to_string();
            assert!(error.contains("is at version 9999, this sluice knows version"), "{error}");
            assert!(error.ends_with("run a newer sluice"), "{error}");
        }
    }

    #[tokio::test]
    async fn outcomes_written_before_the_tallies_are_counted_and_keep_their_terms() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("ledger.db");
        let path = path.to_str().expect("utf-8");
        let file = open_file(path).await.expect("opens");
        let before = migrations::SQLITE.iter().filter(|migration| migration.version < 6).cloned().collect();
        Migrator::with_migrations(before).run(&file.writer).await.expect("migrates");
        let old = "INSERT INTO campaign VALUES (104, 21, 10, 1, 1, 'OPEN', NULL, NULL);
                   INSERT INTO coupon_issue_shard (coupon_id, shard_no, remaining) VALUES (104, 0, 8);
                   INSERT INTO issue_outcome VALUES
                       (x'01', 'ISSUED', 104, 1, 1, 0, 0, 1, NULL, 3, 0, 1, 2, '{}'),
                       (x'02', 'ISSUED', 104, 2, 1, 0, 1, 1, NULL, 4, 0, 1, 2, '{}'),
                       (x'03', 'SOLD_OUT', 104, 3, NULL, NULL, 0, 1, NULL, 3, 1, 1, 2, NULL),
                       (x'04', 'INVALID', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 3, 2, NULL, 2, NULL)";
        sqlx::raw_sql(old).execute(&file.writer).await.expect("inserts");
        file.close().await;
        drop(file);

        let ledger = Sqlite::open(path).await.expect("opens");
        let coupon = 104_u64.try_into().expect("in range");
        let audit = ledger.recount(coupon).await.expect("reads").expect("exists");
        assert_eq!((audit.granted, audit.users, audit.sold_out, audit.balanced), (2, 2, 1, true));
        assert!(audit.recount.is_some_and(|recount| recount.agrees));
        let kept = sqlx::query("SELECT request_id FROM issue_outcome WHERE terms = '{}' AND terms_digest IS NULL");
        assert_eq!(kept.fetch_all(&ledger.file.readers).await.expect("reads").len(), 2);
    }

    #[tokio::test]
    async fn a_file_that_is_open_cannot_be_opened_again() {
        let (_ledger, folder) = temporary().await;
        let path = folder.path().join("ledger.db");
        let second = Sqlite::open(path.to_str().expect("utf-8")).await;
        assert!(matches!(second, Err(OpenError::InUse(_))));
    }
}
