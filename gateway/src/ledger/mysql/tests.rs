mod secure;

use std::time::Duration;

use sqlx::{Executor, MySqlConnection, Row};

use super::*;
use crate::coupon::{CampaignChange, Outcome, Reason, Settled, ShardNo};
use crate::ledger::migrations::{self, MYSQL};
use crate::ledger::{self, Options, Shards, StockDecrement};
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
    let others = "SELECT cast(id AS SIGNED) AS id FROM information_schema.processlist \
                  WHERE db = ? AND id <> connection_id()";
    let others = sqlx::query(others).bind(database).fetch_all(&mut *connection).await.expect("reads");
    for row in others {
        let kill = sqlx::AssertSqlSafe(format!("KILL {}", row.get::<i64, _>("id")));
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
    let message = ledger::open(&options_of(&database.0)).await.err().expect("fails").to_string();
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
        [ledger::open(&options_of(&database.0)).await.err(), ledger::migrate(&options_of(&database.0)).await.err()]
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
    let mut applied = one.expect("migrates").applied;
    applied.extend(other.expect("migrates").applied);
    assert_eq!(applied, migrations::missing(&MYSQL, &[]));
    assert!(ledger::migrate(&options).await.expect("migrates").applied.is_empty());
    database.open().await.ready().await.expect("is ready");
}

#[tokio::test]
async fn an_interrupted_migration_is_run_again() {
    let (_, database) = fresh().await;
    let mut raw = database.raw().await;
    raw.execute("DELETE FROM _sqlx_migrations WHERE version > 2").await.expect("deletes");
    raw.execute("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 2").await.expect("updates");
    raw.execute("DROP TABLE policy_component").await.expect("drops");
    let message = ledger::open(&options_of(&database.0)).await.err().expect("fails").to_string();
    assert!(message.contains("is at version 1"), "{message}");
    let applied = ledger::migrate(&options_of(&database.0)).await.expect("migrates").applied;
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
    assert_eq!(ledger::migrate(&options_of(&database.0)).await.expect("migrates").applied, ["0003_releases"]);
    let claim = database.open().await.claim(PartitionNo(3)).await.expect("claims");
    assert_eq!((claim.next_offset, claim.released_offset), (70, 70));
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
        (wrong, "authentication failed for user `sluice` at the database server 127.0.0.1:13306: Access denied"),
        (absent, "has no database `sluice_test_absent`: create it, then run `sluice migrate`"),
        (unreachable, "the database server at 127.0.0.1:1 is unreachable: "),
    ] {
        let error = ledger::open(&options).await.err().expect("fails").to_string();
        assert!(error.contains(expected) && !error.contains("sesame"), "{error}");
    }
}

#[tokio::test]
async fn one_user_settled_by_two_partitions_is_granted_once_and_the_loser_is_transient() {
    let (ledger, _database) = fresh().await;
    ledger.create_campaign(&campaign(10, 2)).await.expect("creates");
    let mut first = ledger.begin().await.expect("begins");
    first.insert_outcomes(&[grant(1, 1)]).await.expect("inserts");
    let second = async {
        let mut second = ledger.begin().await.expect("begins");
        second.insert_outcomes(&[grant(2, 1)]).await
    };
    let first = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        first.commit().await
    };
    let (first, second) = tokio::join!(first, second);
    first.expect("commits");
    assert!(is_transient(&second), "{second:?}");
}

#[tokio::test]
async fn a_deadlock_is_transient_and_one_transaction_commits() {
    let (ledger, _database) = fresh().await;
    ledger.create_campaign(&campaign(10, 2)).await.expect("creates");
    let against_the_order = async |first: u32, second: u32| {
        let mut transaction = ledger.begin().await?;
        for shard in [first, second] {
            let shards = Shards::Some(BTreeSet::from([ShardNo(shard)]));
            transaction.lock_stock(coupon(), &shards).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        transaction.commit().await
    };
    let (one, other) = tokio::join!(against_the_order(0, 1), against_the_order(1, 0));
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    assert!(is_transient(&one) || is_transient(&other), "{one:?} {other:?}");
}

#[tokio::test]
async fn different_shards_of_a_coupon_are_locked_concurrently() {
    let (ledger, _database) = fresh().await;
    ledger.create_campaign(&campaign(10, 4)).await.expect("creates");
    let mut held = Vec::new();
    for shard in 0..4 {
        let mut transaction = ledger.begin().await.expect("begins");
        let shards = Shards::Some(BTreeSet::from([ShardNo(shard)]));
        let locking = tokio::time::timeout(Duration::from_secs(5), transaction.lock_stock(coupon(), &shards));
        locking.await.expect("does not wait").expect("locks");
        held.push(transaction);
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
        let mut transaction = ledger.begin().await.expect("begins");
        let refused = transaction.insert_outcomes(&[settled]).await;
        assert!(is_permanent(&refused), "{refused:?}");
    }
}

#[tokio::test]
async fn large_outcomes_are_split_over_statements_and_read_back_unchanged() {
    let (ledger, database) = fresh().await;
    ledger.create_campaign(&campaign(1000, 1)).await.expect("creates");
    let settled: Vec<_> = (1..=200)
        .map(|name| {
            let mut settled = grant(name, name.into());
            settled.subject.as_mut().expect("a subject").terms.type_snapshot = "한'\"\\\u{1F39F}\n".repeat(2000);
            settled
        })
        .collect();
    let mut transaction = ledger.begin().await.expect("begins");
    transaction.insert_outcomes(&settled).await.expect("inserts");
    transaction.commit().await.expect("commits");
    let rows = sqlx::query("SELECT terms FROM issue_outcome").fetch_all(&mut database.raw().await).await;
    let rows = rows.expect("reads");
    assert_eq!(rows.len(), settled.len());
    let terms = serde_json::to_string(&settled[0].subject.as_ref().expect("a subject").terms).expect("JSON");
    assert!(rows.iter().all(|row| row.get::<String, _>("terms") == terms));
}

#[tokio::test]
async fn stock_is_conserved_under_concurrent_settlements_and_changes() {
    const EACH: u64 = 60;
    let (ledger, _database) = fresh().await;
    ledger.create_campaign(&campaign(10_000, 8)).await.expect("creates");
    let settle = async |shard: u32| {
        let mut taken = 0;
        while taken < EACH {
            let attempt = async {
                let mut transaction = ledger.begin().await?;
                let shards = if taken.is_multiple_of(3) { Shards::All } else { Shards::Some([ShardNo(shard)].into()) };
                transaction.lock_stock(coupon(), &shards).await?;
                let take = StockDecrement { coupon_id: coupon(), shard_no: ShardNo(shard), records: 1 };
                transaction.take_stock(&[take]).await?;
                transaction.commit().await
            };
            match attempt.await {
                Ok(()) => taken += 1,
                Err(error) => assert!(matches!(error, LedgerError::Transient { .. }), "{error}"),
            }
        }
    };
    let change = async {
        for round in 0..20 {
            let change =
                if round % 2 == 0 { CampaignChange::TopUp(100) } else { CampaignChange::Reshard(4 + round / 2) };
            ledger.change_campaign(coupon(), change, None).await.expect("changes");
        }
    };
    tokio::join!(settle(0), settle(1), settle(2), settle(3), change);
    let campaign = ledger.campaign(coupon()).await.expect("reads").expect("exists");
    assert_eq!((campaign.total, campaign.remaining()), (11_000, 11_000 - 4 * EACH));
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
    let mut transaction = ledger.begin().await.expect("begins");
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
    let mut transaction = ledger.begin().await.expect("begins");
    transaction.insert_outcomes(&[unreadable]).await.expect("inserts");
    transaction.commit().await.expect("commits");
}

#[tokio::test]
async fn a_session_idle_in_a_transaction_is_rolled_back_after_its_timeout() {
    let (idle, database) = fresh().await;
    let partition = PartitionNo(3);
    let first = idle.claim(partition).await.expect("claims");
    let mut transaction = idle.begin().await.expect("begins");
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
