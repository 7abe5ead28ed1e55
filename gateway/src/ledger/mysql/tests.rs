mod audits;
mod batches;
mod retention;
mod secure;

use std::time::Duration;

use sqlx::{Executor, MySqlConnection, Row};

use super::*;
use crate::coupon::{CampaignChange, Outcome, Reason, Settled, ShardNo};
use crate::ledger::contract::PARTITION;
use crate::ledger::migrations::{self, MYSQL};
use crate::ledger::{self, Options};
use crate::secret::redact;

const SERVER: &str = "mysql://sluice:sluice@127.0.0.1:13306/sluice?ssl-mode=DISABLED";

fn server() -> String {
    std::env::var("SLUICE_TEST_MYSQL").unwrap_or_else(|_| SERVER.to_owned())
}

fn url_of(database: &str) -> String {
    let server = server();
    let (server, rest) = server.rsplit_once('/').expect("a database in SLUICE_TEST_MYSQL");
    let parameters = rest.split_once('?').map(|(_, parameters)| format!("?{parameters}")).unwrap_or_default();
    format!("{server}/{database}{parameters}")
}

fn options_of(database: &str) -> Options {
    Options { url: url_of(database), ..Options::default() }
}

async fn server_itself(url: &str) -> MySqlConnection {
    MySqlConnection::connect(url).await.unwrap_or_else(|error| {
        let shown = redact(url);
        panic!("no server at {shown} ({error}): start it with `infra/native/services up mariadb`")
    })
}

/// Kills all connections to a database except this one.
async fn kill_others(connection: &mut MySqlConnection, database: &str) {
    let me: u64 = sqlx::query_scalar("SELECT connection_id()").fetch_one(&mut *connection).await.expect("reads");
    let others = connection.fetch_all("SHOW PROCESSLIST").await.expect("reads");
    let others = others.iter().filter(|row| row.get::<Option<String>, _>("db").as_deref() == Some(database));
    let ids = others.map(|row| row.try_get_unchecked::<u64, _>("Id").expect("a number"));
    for id in ids.filter(|id| *id != me) {
        let kill = sqlx::AssertSqlSafe(format!("KILL {id}"));
        // It may have ended already.
        let _ = connection.execute(kill).await;
    }
}

/// A database that is dropped with this value: its name, and the URL of the user who may kill its connections.
pub(super) struct Database(String, String);

impl Database {
    async fn empty() -> Self {
        Self::empty_on(server()).await
    }

    async fn empty_on(server: String) -> Self {
        let name = format!("sluice_test_{}", uuid::Uuid::new_v4().simple());
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        server_itself(&server).await.execute(create).await.expect("creates");
        Self(name, server)
    }

    async fn open(&self) -> Mysql {
        Mysql::open(&Server::parse(&options_of(&self.0)).expect("is valid")).await.expect("opens")
    }

    async fn raw(&self) -> MySqlConnection {
        MySqlConnection::connect(&url_of(&self.0)).await.expect("connects")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Self(database, server) = self;
        let (database, server) = (database.clone(), server.clone());
        let dropping = async move {
            let mut server = server_itself(&server).await;
            // A transaction left open would block DROP, and this thread's runtime, blocked here, cannot end it.
            kill_others(&mut server, &database).await;
            server.execute(sqlx::AssertSqlSafe(format!("DROP DATABASE {database}"))).await
        };
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let dropped = std::thread::spawn(move || runtime().block_on(dropping)).join();
        // A second panic would hide the first.
        if !std::thread::panicking() {
            dropped.expect("ends").expect("drops");
        }
    }
}

pub(super) async fn fresh() -> (Mysql, Database) {
    let database = Database::empty().await;
    ledger::migrate(&options_of(&database.0)).await.expect("migrates");
    (database.open().await, database)
}

ledger::contract::contract_tests!(mysql => fresh().await);

pub(super) fn coupon() -> CouponId {
    104_u64.try_into().expect("in range")
}

pub(super) fn campaign(total: u64, shards: u32) -> NewCampaign {
    NewCampaign {
        coupon_id: coupon(),
        policy_id: 21_u64.try_into().expect("in range"),
        total,
        shards,
        per_user_limit: 1,
        opens_at_ms: None,
        closes_at_ms: None,
    }
}

pub(super) fn grant(name: u8, user: u64) -> Settled {
    ledger::contract::settled(name, user, Outcome::Issued { shard: ShardNo(0), grant_no: 1 })
}

fn is_transient<T: std::fmt::Debug>(result: &Result<T, LedgerError>) -> bool {
    matches!(result, Err(LedgerError::Transient { .. }))
}

fn is_permanent<T: std::fmt::Debug>(result: &Result<T, LedgerError>) -> bool {
    matches!(result, Err(LedgerError::Permanent { .. }))
}

/// The version that this binary needs.
fn newest() -> i64 {
    MYSQL.iter().map(|migration| migration.version).max().expect("there are migrations")
}

#[tokio::test]
async fn opening_a_database_without_tables_fails_and_names_the_migrate_command() {
    let database = Database::empty().await;
    let message = ledger::open(&options_of(&database.0), 12).await.err().expect("fails").to_string();
    let expected = format!("is at version 0, this sluice needs version {}: run `sluice migrate`", newest());
    assert!(message.contains(&expected), "{message}");
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_neither_opened_nor_migrated() {
    let (_, database) = fresh().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (99, 'later', TRUE, '', 0)";
    database.raw().await.execute(newer).await.expect("inserts");
    for refused in
        [ledger::open(&options_of(&database.0), 12).await.err(), ledger::migrate(&options_of(&database.0)).await.err()]
    {
        let message = refused.expect("fails").to_string();
        let expected = format!("is at version 99, this sluice knows version {}: run a newer sluice", newest());
        assert!(message.contains(&expected), "{message}");
    }
}

#[tokio::test]
async fn concurrent_migrations_apply_each_migration_once() {
    let database = Database::empty().await;
    let options = options_of(&database.0);
    let (one, other) = tokio::join!(ledger::migrate(&options), ledger::migrate(&options));
    let mut applied = one.expect("migrates");
    applied.extend(other.expect("migrates"));
    assert_eq!(applied, migrations::missing(&MYSQL, &[]));
    assert!(ledger::migrate(&options).await.expect("migrates").is_empty());
    database.open().await.ready(GroupNo::FIRST).await.expect("is ready");
}

#[tokio::test]
async fn an_interrupted_migration_is_run_again() {
    let (_, database) = fresh().await;
    let mut raw = database.raw().await;
    raw.execute("DELETE FROM _sqlx_migrations WHERE version > 2").await.expect("deletes");
    raw.execute("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 2").await.expect("updates");
    raw.execute("DROP TABLE policy_component").await.expect("drops");
    let message = ledger::open(&options_of(&database.0), 12).await.err().expect("fails").to_string();
    assert!(message.contains("is at version 1"), "{message}");
    let applied = ledger::migrate(&options_of(&database.0)).await.expect("migrates");
    assert_eq!(applied, migrations::missing(&MYSQL, &[])[1..]);
    assert_eq!(database.open().await.component("none").await.expect("reads"), None);
}

#[tokio::test]
async fn an_upgrade_that_was_cut_short_takes_all_rejections_before_it_as_released() {
    let (_, database) = fresh().await;
    let mut raw = database.raw().await;
    for statement in [
        "UPDATE _sqlx_migrations SET success = FALSE WHERE version = 3",
        "ALTER TABLE partition_offset MODIFY released_offset BIGINT NULL",
        "INSERT INTO partition_offset (partition_no, epoch, next_offset) VALUES (3, 1, 70)",
    ] {
        raw.execute(statement).await.expect("prepares");
    }
    assert_eq!(ledger::migrate(&options_of(&database.0)).await.expect("migrates"), ["0003_releases"]);
    let claim = database.open().await.claim(PartitionNo(3)).await.expect("claims");
    assert_eq!((claim.next_offset, claim.released_offset), (70, 70));
}

#[tokio::test]
async fn a_migration_that_is_run_again_fills_the_tallies_from_the_outcomes() {
    let (ledger, database) = fresh().await;
    ledger.create_campaign(&campaign(10, 2)).await.expect("creates");
    let mut transaction = ledger.begin(PARTITION).await.expect("begins");
    let rejected = Settled { outcome: Outcome::Rejected(Reason::SoldOut), ..grant(2, 2) };
    transaction.insert_outcomes(&[grant(1, 1), rejected]).await.expect("inserts");
    transaction.commit().await.expect("commits");
    let before = ledger.audit(coupon()).await.expect("reads");
    let mut raw = database.raw().await;
    raw.execute("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 6").await.expect("updates");
    raw.execute("UPDATE outcome_tally SET granted = granted + 7").await.expect("updates");
    assert_eq!(ledger::migrate(&options_of(&database.0)).await.expect("migrates"), ["0006_tallies"]);
    assert_eq!(ledger.audit(coupon()).await.expect("reads"), before);
}

#[tokio::test]
async fn connection_errors_name_the_cause_without_the_password() {
    drop(server_itself(&server()).await);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let password_file = folder.path().join("password");
    std::fs::write(&password_file, "sesame\nnothing else\n").expect("writes");
    let wrong = Options { password_file: Some(password_file), ..options_of("sluice") };
    let absent = options_of("sluice_test_absent");
    let unreachable = Options { url: "mysql://sluice:sesame@127.0.0.1:1/sluice".into(), ..Options::default() };
    for (options, expected) in [
        (wrong, "authentication failed for user `sluice` at the database server "),
        (absent, "has no database `sluice_test_absent`: create it, then run `sluice migrate`"),
        (unreachable, "the database server at 127.0.0.1:1 is unreachable: "),
    ] {
        let error = ledger::open(&options, 12).await.err().expect("fails").to_string();
        assert!(error.contains(expected) && !error.contains("sesame"), "{error}");
    }
}

#[tokio::test]
async fn a_value_too_large_for_its_column_is_rejected_and_never_truncated() {
    let (ledger, _database) = fresh().await;
    ledger.create_campaign(&campaign(10, 1)).await.expect("creates");
    let mut generation = grant(1, 1);
    generation.subject.as_mut().expect("a subject").generation = u64::MAX;
    let mut terms = grant(2, 2);
    terms.subject.as_mut().expect("a subject").terms.type_snapshot = "X".repeat(70_000);
    for settled in [generation, terms] {
        let mut transaction = ledger.begin(PARTITION).await.expect("begins");
        let refused = transaction.insert_outcomes(&[settled]).await;
        assert!(is_permanent(&refused), "{refused:?}");
    }
}

#[tokio::test]
async fn a_cancelled_call_leaves_no_lock_and_no_snapshot() {
    let (ledger, _database) = fresh().await;
    ledger.create_campaign(&campaign(10, 1)).await.expect("creates");
    for nanoseconds in (0..2_000_000).step_by(20_000) {
        let soon = Duration::from_nanos(nanoseconds);
        let _ = tokio::time::timeout(soon, ledger.change_campaign(coupon(), CampaignChange::Pause, None)).await;
        let _ = tokio::time::timeout(soon, ledger.campaign(coupon())).await;
    }
    let topped = ledger.change_campaign(coupon(), CampaignChange::TopUp(5), None).await.expect("tops up");
    for _ in 0..2 * SNAPSHOTS_MAX {
        assert_eq!(ledger.campaign(coupon()).await.expect("reads"), Some(topped.clone()));
    }
}

#[tokio::test]
async fn a_killed_connection_is_transient_and_the_next_one_works() {
    let (ledger, database) = fresh().await;
    let claim = ledger.claim(PartitionNo(1)).await.expect("claims");
    let mut transaction = ledger.begin(PARTITION).await.expect("begins");
    transaction.lock_offset(PartitionNo(1)).await.expect("locks");
    let mut raw = database.raw().await;
    kill_others(&mut raw, &database.0).await;
    let advanced = transaction.advance(claim, Claim { next_offset: 7, ..claim }).await;
    assert!(is_transient(&advanced), "{advanced:?}");
    let committed = transaction.commit().await;
    assert!(is_transient(&committed), "{committed:?}");
    assert_eq!(ledger.next_offset(PartitionNo(1)).await.expect("reads"), 0);
    assert!(ledger.claim(PartitionNo(1)).await.expect("claims").epoch > claim.epoch);
}

#[tokio::test]
async fn the_outcome_of_an_unreadable_record_is_stored() {
    let (ledger, _database) = fresh().await;
    let unreadable = Settled { subject: None, ..grant(1, 1) };
    let unreadable = Settled { outcome: Outcome::Rejected(Reason::Invalid), ..unreadable };
    let mut transaction = ledger.begin(PARTITION).await.expect("begins");
    transaction.insert_outcomes(&[unreadable]).await.expect("inserts");
    transaction.commit().await.expect("commits");
}

#[tokio::test]
async fn a_session_idle_in_a_transaction_is_rolled_back_after_its_timeout() {
    let (idle, database) = fresh().await;
    let partition = PartitionNo(3);
    let first = idle.claim(partition).await.expect("claims");
    let mut transaction = idle.begin(PARTITION).await.expect("begins");
    transaction.lock_offset(partition).await.expect("locks");

    let other = database.open().await;
    let claim = async {
        loop {
            if let Ok(claim) = other.claim(partition).await {
                return claim;
            }
        }
    };
    let second = tokio::time::timeout(Duration::from_secs(30), claim).await.expect("the lock is released");
    assert!(second.epoch > first.epoch);
    transaction.advance(first, Claim { next_offset: 1, ..first }).await.expect_err("its transaction was rolled back");
}
