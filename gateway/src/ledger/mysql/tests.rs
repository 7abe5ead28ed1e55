mod secure;

use std::collections::BTreeSet;

use sqlx::{Executor, MySqlConnection};

use super::*;
use crate::coupon::{CampaignChange, Outcome, Reason, Settled, ShardNo};
use crate::ledger::{self, Options, Shards, Take};

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
        let shown = ledger::redacted(url);
        panic!("no server at {shown} ({error}): start it with `infra/native/services up mariadb`")
    })
}

/// Ends all connections to a database but this one.
async fn end_others(connection: &mut MySqlConnection, database: &str) {
    let others = "SELECT cast(id AS SIGNED) AS id FROM information_schema.processlist \
                  WHERE db = ? AND id <> connection_id()";
    let others = sqlx::query(others).bind(database).fetch_all(&mut *connection).await.expect("reads");
    for row in others {
        let kill = sqlx::AssertSqlSafe(format!("KILL {}", row.get::<i64, _>("id")));
        // It may have ended by itself.
        let _ = connection.execute(kill).await;
    }
}

/// A database that is gone when this is: its name, and the URL of the user who alone may end connections to it.
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
        Mysql::open(&Server::of(&options_of(&self.0)).expect("is right")).await.expect("opens")
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
            // This thread's runtime stands still, and a transaction that was left open would hold its tables.
            end_others(&mut server, &database).await;
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

/// A grant for a user, as the contract's tests make it.
pub(super) fn grant(name: u8, user: u64) -> Settled {
    ledger::contract::settled(name, user, Outcome::Issued { shard: ShardNo(0), grant_no: 1 })
}

fn is_transient<T: std::fmt::Debug>(result: &Result<T, LedgerError>) -> bool {
    matches!(result, Err(LedgerError::Transient { .. }))
}

fn is_refused<T: std::fmt::Debug>(result: &Result<T, LedgerError>) -> bool {
    matches!(result, Err(LedgerError::Permanent { .. }))
}

#[tokio::test]
async fn a_database_without_tables_is_not_opened_and_says_what_to_do() {
    let database = Database::empty().await;
    let says = ledger::open(&options_of(&database.0)).await.err().expect("is refused").to_string();
    assert!(says.contains("is at version 0 and this sluice needs 2: run `sluice migrate`"), "{says}");
}

#[tokio::test]
async fn a_database_of_a_newer_sluice_is_neither_opened_nor_migrated() {
    let (_, database) = fresh().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (99, 'later', TRUE, '', 0)";
    database.raw().await.execute(newer).await.expect("inserts");
    for refused in
        [ledger::open(&options_of(&database.0)).await.err(), ledger::migrate(&options_of(&database.0)).await.err()]
    {
        let says = refused.expect("is refused").to_string();
        assert!(says.contains("of a newer sluice (version 99, this one knows 2): run that version"), "{says}");
    }
}

#[tokio::test]
async fn two_who_migrate_at_once_apply_each_migration_once() {
    let database = Database::empty().await;
    let options = options_of(&database.0);
    let (one, other) = tokio::join!(ledger::migrate(&options), ledger::migrate(&options));
    let mut applied = one.expect("migrates").applied;
    applied.extend(other.expect("migrates").applied);
    assert_eq!(applied, ["0001_ledger", "0002_pipeline"]);
    assert!(ledger::migrate(&options).await.expect("migrates").applied.is_empty());
    database.open().await.ready().await.expect("is ready");
}

#[tokio::test]
async fn a_migration_that_was_cut_short_is_run_again() {
    let (_, database) = fresh().await;
    let mut raw = database.raw().await;
    raw.execute("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 2").await.expect("updates");
    raw.execute("DROP TABLE policy_component").await.expect("drops");
    let says = ledger::open(&options_of(&database.0)).await.err().expect("is refused").to_string();
    assert!(says.contains("is at version 1"), "{says}");
    assert_eq!(ledger::migrate(&options_of(&database.0)).await.expect("migrates").applied, ["0002_pipeline"]);
    assert_eq!(database.open().await.component("none").await.expect("reads"), None);
}

#[tokio::test]
async fn what_is_wrong_with_the_way_in_is_said_without_the_password() {
    drop(server_itself(&server()).await);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let password_file = folder.path().join("password");
    std::fs::write(&password_file, "sesame\nnothing else\n").expect("writes");
    let wrong = Options { password_file: Some(password_file), ..options_of("sluice") };
    let absent = options_of("sluice_test_absent");
    let nobody = Options { url: "mysql://sluice:sesame@127.0.0.1:1/sluice".into(), ..Options::default() };
    for (options, says) in [
        (wrong, "turns away the user `sluice`: Access denied"),
        (absent, "has no database `sluice_test_absent`; create it, then run `sluice migrate`"),
        (nobody, "no database server answers at 127.0.0.1:1: "),
    ] {
        let error = ledger::open(&options).await.err().expect("is refused").to_string();
        assert!(error.contains(says) && !error.contains("sesame"), "{error}");
    }
}

#[tokio::test]
async fn two_partitions_that_settle_one_user_grant_once_and_the_second_tries_again() {
    let (ledger, _database) = fresh().await;
    ledger.create_campaign(&campaign(10, 2)).await.expect("makes");
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
async fn a_deadlock_passes_and_one_of_the_two_goes_on() {
    let (ledger, _database) = fresh().await;
    ledger.create_campaign(&campaign(10, 2)).await.expect("makes");
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
async fn two_shards_of_a_coupon_are_locked_by_two_at_once() {
    let (ledger, _database) = fresh().await;
    ledger.create_campaign(&campaign(10, 4)).await.expect("makes");
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
async fn what_does_not_fit_a_column_is_refused_and_never_cut() {
    let (ledger, _database) = fresh().await;
    ledger.create_campaign(&campaign(10, 1)).await.expect("makes");
    let mut generation = grant(1, 1);
    generation.subject.as_mut().expect("a subject").generation = u64::MAX;
    let mut terms = grant(2, 2);
    terms.subject.as_mut().expect("a subject").terms.type_snapshot = "X".repeat(70_000);
    for settled in [generation, terms] {
        let mut transaction = ledger.begin().await.expect("begins");
        let refused = transaction.insert_outcomes(&[settled]).await;
        assert!(is_refused(&refused), "{refused:?}");
    }
}

#[tokio::test]
async fn outcomes_of_many_bytes_take_several_statements_and_read_back_as_they_were() {
    let (ledger, database) = fresh().await;
    ledger.create_campaign(&campaign(1000, 1)).await.expect("makes");
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
async fn stock_is_conserved_while_settlements_and_changes_run_at_once() {
    const EACH: u64 = 60;
    let (ledger, _database) = fresh().await;
    ledger.create_campaign(&campaign(10_000, 8)).await.expect("makes");
    let settle = async |shard: u32| {
        let mut taken = 0;
        while taken < EACH {
            let attempt = async {
                let mut transaction = ledger.begin().await?;
                let shards = if taken.is_multiple_of(3) { Shards::All } else { Shards::Some([ShardNo(shard)].into()) };
                transaction.lock_stock(coupon(), &shards).await?;
                let take = Take { coupon_id: coupon(), shard_no: ShardNo(shard), records: 1 };
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
            ledger.change_campaign(coupon(), change).await.expect("changes");
        }
    };
    tokio::join!(settle(0), settle(1), settle(2), settle(3), change);
    let campaign = ledger.campaign(coupon()).await.expect("reads").expect("is there");
    assert_eq!((campaign.total, campaign.remaining()), (11_000, 11_000 - 4 * EACH));
}

#[tokio::test]
async fn a_call_that_is_dropped_midway_leaves_no_lock_and_no_snapshot_behind() {
    let (ledger, _database) = fresh().await;
    ledger.create_campaign(&campaign(10, 1)).await.expect("makes");
    for nanoseconds in (0..2_000_000).step_by(20_000) {
        let soon = Duration::from_nanos(nanoseconds);
        let _ = tokio::time::timeout(soon, ledger.change_campaign(coupon(), CampaignChange::Pause)).await;
        let _ = tokio::time::timeout(soon, ledger.campaign(coupon())).await;
    }
    let topped = ledger.change_campaign(coupon(), CampaignChange::TopUp(5)).await.expect("tops up");
    for _ in 0..2 * SNAPSHOTS_MAX {
        assert_eq!(ledger.campaign(coupon()).await.expect("reads"), Some(topped.clone()));
    }
}

#[tokio::test]
async fn a_connection_that_the_server_ended_passes_and_the_next_one_works() {
    let (ledger, database) = fresh().await;
    let claim = ledger.claim(PartitionNo(1)).await.expect("claims");
    let mut transaction = ledger.begin().await.expect("begins");
    transaction.lock_offset(PartitionNo(1)).await.expect("locks");
    let mut raw = database.raw().await;
    end_others(&mut raw, &database.0).await;
    let advanced = transaction.advance(claim, 7).await;
    assert!(is_transient(&advanced), "{advanced:?}");
    let committed = transaction.commit().await;
    assert!(is_transient(&committed), "{committed:?}");
    assert_eq!(ledger.next_offset(PartitionNo(1)).await.expect("reads"), 0);
    assert!(ledger.claim(PartitionNo(1)).await.expect("claims").epoch > claim.epoch);
}

#[tokio::test]
async fn an_invalid_record_needs_no_subject() {
    let (ledger, _database) = fresh().await;
    let unreadable = Settled { subject: None, ..grant(1, 1) };
    let unreadable = Settled { outcome: Outcome::Rejected(Reason::Invalid), ..unreadable };
    let mut transaction = ledger.begin().await.expect("begins");
    transaction.insert_outcomes(&[unreadable]).await.expect("inserts");
    transaction.commit().await.expect("commits");
}

#[tokio::test]
async fn who_hangs_within_a_transaction_keeps_nobody_waiting_for_long() {
    let (hung, database) = fresh().await;
    let partition = PartitionNo(3);
    let first = hung.claim(partition).await.expect("claims");
    let mut transaction = hung.begin().await.expect("begins");
    transaction.lock_offset(partition).await.expect("locks");

    let other = database.open().await;
    let claim = async {
        loop {
            if let Ok(claim) = other.claim(partition).await {
                return claim;
            }
        }
    };
    let second = tokio::time::timeout(Duration::from_secs(30), claim).await.expect("is let go");
    assert!(second.epoch > first.epoch);
    transaction.advance(first, 1).await.expect_err("its transaction is no more");
}
