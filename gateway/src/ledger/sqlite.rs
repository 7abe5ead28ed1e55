//! The embedded ledger: one SQLite file with one writer, used by one process.

mod admin_keys;
mod call;
mod campaigns;
mod log_identity;
mod outcomes;
mod pipeline;
mod transaction;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::migrate::{Migrate, MigrateError};

use super::{
    CampaignError, Claim, GenerationRow, Ledger, LedgerError, LogIdentity, OffsetChange, OpenError, RecordedOutcome,
    Transaction, migrations,
};
use crate::coupon::{
    Audit, Campaign, CampaignChange, ChangeKey, CouponId, Fingerprint, LogId, NewCampaign, Offset, PartitionNo,
    RequestId, UnixMs,
};
use crate::sqlite_file::{SqliteFile, SqliteFileError};

pub struct Sqlite {
    file: SqliteFile,
}

impl Sqlite {
    /// Opens the file, creating it if necessary, and migrates it to this binary's version.
    ///
    /// # Errors
    /// [`OpenError::InUse`] when another process has it open.
    pub async fn open(path: &str) -> Result<Self, OpenError> {
        let file = open_file(path).await?;
        apply(&file).await.map_err(|error| failed(path, error))?;
        Ok(Self { file })
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

    fn change_campaign(
        &self,
        coupon: CouponId,
        change: CampaignChange,
        key: Option<ChangeKey>,
    ) -> BoxFuture<'_, Result<Campaign, CampaignError>> {
        Box::pin(campaigns::change(&self.file, coupon, change, key))
    }

    fn audit(&self, coupon: CouponId) -> BoxFuture<'_, Result<Option<Audit>, LedgerError>> {
        Box::pin(campaigns::audit(&self.file.readers, coupon))
    }

    fn outcome(&self, request: RequestId) -> BoxFuture<'_, Result<Option<RecordedOutcome>, LedgerError>> {
        Box::pin(outcomes::outcome(&self.file, request))
    }

    fn key_holder(&self, fingerprint: Fingerprint) -> BoxFuture<'_, Result<Option<RequestId>, LedgerError>> {
        Box::pin(outcomes::key_holder(&self.file, fingerprint))
    }

    fn next_offset(&self, partition: PartitionNo) -> BoxFuture<'_, Result<Offset, LedgerError>> {
        Box::pin(outcomes::next_offset(&self.file, partition))
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

    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Transaction>, LedgerError>> {
        Box::pin(async move {
            let begun = transaction::SqliteTransaction::begin(&self.file).await?;
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

    fn component<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, LedgerError>> {
        Box::pin(pipeline::component(&self.file, digest))
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
    use super::*;

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
    async fn a_file_that_is_open_cannot_be_opened_again() {
        let (_ledger, folder) = temporary().await;
        let path = folder.path().join("ledger.db");
        let second = Sqlite::open(path.to_str().expect("utf-8")).await;
        assert!(matches!(second, Err(OpenError::InUse(_))));
    }
}
