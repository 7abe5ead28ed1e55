//! Log and ledger belong together, and no offset is skipped silently.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sluice::app::{OldLog, Ports, System, adopt};
use sluice::config::{Config, Role};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, SqliteConnection};

use crate::harness::{Files, Fixture, eventually};

/// One request of each user, waiting in a log of two partitions for the next start.
async fn backlog(users: u64) -> (Files, Vec<String>) {
    let configure = |config: &mut Config| {
        config.role = Role::Gateway;
        config.log.partitions = 2;
    };
    let system = Fixture::with(Files::new(), configure, |ports| ports).await;
    let mut status_urls = Vec::new();
    for user in 1..=users {
        status_urls.push(system.accepted(user).await);
    }
    (system.stop().await, status_urls)
}

async fn start(files: Files) -> Fixture {
    Fixture::with(files, |config| config.log.partitions = 2, |ports| ports).await
}

/// Changes a file as no gateway would.
async fn execute(files: &Files, name: &str, statements: &str) {
    let options = SqliteConnectOptions::new().filename(files.path(name));
    let mut file = SqliteConnection::connect_with(&options).await.expect("opens");
    file.execute(AssertSqlSafe(statements)).await.expect("executes");
    file.close().await.expect("closes");
}

fn remove(files: &Files, name: &str) {
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(files.path(&format!("{name}{ending}")));
    }
}

/// Copies a database that no process has open.
fn copy(files: &Files, from: &str, to: &str) {
    remove(files, to);
    for ending in ["", "-wal"] {
        let _ = std::fs::copy(files.path(&format!("{from}{ending}")), files.path(&format!("{to}{ending}")));
    }
}

async fn start_error(config: Config) -> String {
    let ports = Ports::open(&config).await.expect("embedded ports open");
    System::start(config, ports).await.err().expect("the start is refused").to_string()
}

async fn skip(system: &Fixture, from: u64, to: u64) -> (StatusCode, Value) {
    let body = json!({ "partition": 0, "from": from, "to": to });
    let answer = system.operate(Method::POST, "/admin/log/skip", Some(body)).await;
    (answer.status, answer.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_stops_its_partition_until_exactly_its_range_is_skipped() {
    let (files, status_urls) = backlog(40).await;
    execute(&files, "log", "DELETE FROM record_batch WHERE partition_no = 0 AND base_offset BETWEEN 2 AND 4").await;
    let system = start(files).await;
    let position = |url: &str| {
        let number = |name: &str| url.split(['?', '&']).find_map(|part| part.strip_prefix(name)?.parse::<u64>().ok());
        (number("partition=").expect("a partition"), number("offset=").expect("an offset"))
    };
    for url in status_urls.iter().filter(|url| position(url).0 == 1 || position(url).1 < 2) {
        assert_eq!(system.outcome(url).await["status"], "ISSUED", "{url}");
    }
    let reason = eventually("readiness fails", async || {
        let ready = system.ready().await;
        (ready.status == StatusCode::SERVICE_UNAVAILABLE).then(|| ready.body["settlement"].to_string())
    })
    .await;
    assert!(reason.contains("lacks the offsets [2, 5)"), "{reason}");
    assert!(reason.contains("sluice log skip --partition 0 --from 2 --to 5"), "{reason}");
    eventually("the metric shows the gap", async || {
        let metrics = system.metrics().await;
        let has = |series: &str| metrics.lines().any(|line| line == series);
        (has("sluice_log_gap_records{partition=\"0\"} 3") && has("sluice_log_gap_records{partition=\"1\"} 0"))
            .then_some(())
    })
    .await;

    for (from, to) in [(2, 4), (2, 6), (1, 5), (3, 5), (0, 2)] {
        let (status, body) = skip(&system, from, to).await;
        assert_eq!((status, &body["reason"]), (StatusCode::CONFLICT, &"NOT_A_GAP".into()), "{from} {to} {body}");
    }
    assert_eq!(skip(&system, 2, 5).await.0, StatusCode::OK);
    for url in status_urls.iter().filter(|url| position(url).0 == 0 && position(url).1 >= 5) {
        assert_eq!(system.outcome(url).await["status"], "ISSUED", "{url}");
    }
    eventually("it is ready again", async || (system.ready().await.status == StatusCode::OK).then_some(())).await;
    let log = system.operate(Method::GET, "/admin/log", None).await.body;
    let change = &log["changes"][0];
    assert_eq!((&change["partition"], &change["from"], &change["to"]), (&0.into(), &2.into(), &5.into()), "{log}");
    assert_eq!(skip(&system, 2, 5).await.0, StatusCode::CONFLICT, "a skip applies once");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_created_again_does_not_start() {
    let system = Fixture::start().await;
    let files = system.stop().await;
    remove(&files, "log");
    let error = start_error(files.config()).await;
    assert!(error.contains("do not belong together"), "{error}");
    assert!(error.contains("a log without an identity"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_ledger_does_not_settle_a_log() {
    let system = Fixture::start().await;
    let files = system.stop().await;
    remove(&files, "ledger.db");
    let error = start_error(files.config()).await;
    assert!(error.contains("is settled by another ledger"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_log_is_not_settled_into_a_ledger() {
    let system = Fixture::start().await;
    let files = system.stop().await;
    let mut config = files.config();
    config.log.url = format!("embedded:{}", files.path("other-log").display());
    let error = start_error(config).await;
    assert!(error.contains("do not belong together"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_and_a_ledger_without_identities_are_adopted() {
    let (files, status_urls) = backlog(5).await;
    for name in ["log", "ledger.db"] {
        execute(&files, name, "DELETE FROM log_identity").await;
    }
    let system = start(files).await;
    for url in &status_urls {
        assert_eq!(system.outcome(url).await["status"], "ISSUED");
    }
    let identity = system.operate(Method::GET, "/admin/log", None).await.body["identity"].clone();
    assert!(identity.is_string(), "{identity}");
    let system = start(system.stop().await).await;
    assert_eq!(system.operate(Method::GET, "/admin/log", None).await.body["identity"], identity);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_moves_to_a_new_log_once_the_old_one_is_settled() {
    let (files, status_urls) = backlog(6).await;
    let mut config = files.config();
    config.log.partitions = 2;
    let old_url = config.log.url.clone();
    config.log.url = format!("embedded:{}", files.path("new-log").display());
    let refused = adopt(&config, OldLog::At(&old_url)).await.expect_err("requests wait in the old log").to_string();
    assert!(refused.contains("is settled up to 0"), "{refused}");

    let system = start(files).await;
    for url in &status_urls {
        assert_eq!(system.outcome(url).await["status"], "ISSUED");
    }
    let files = system.stop().await;
    let adopted = adopt(&config, OldLog::At(&old_url)).await.expect("the old log is settled");
    let again = adopt(&config, OldLog::At(&old_url)).await.expect_err("is done already").to_string();
    assert!(again.contains("settles this log already"), "{again}");

    let mut config_of_old = files.config();
    config_of_old.log.partitions = 2;
    assert!(start_error(config_of_old).await.contains("do not belong together"));
    let url = config.log.url.clone();
    let configure = |config: &mut Config| {
        config.log.partitions = 2;
        config.log.url = url;
    };
    let system = Fixture::with(files, configure, |ports| ports).await;
    assert_eq!(system.outcome(&system.accepted(7).await).await["status"], "ISSUED");
    let log = system.operate(Method::GET, "/admin/log", None).await.body;
    assert_eq!(log["identity"], adopted.to_string());
    assert_eq!((&log["changes"][0]["reason"], &log["changes"][0]["to"]), (&"ADOPT".into(), &0.into()), "{log}");
    assert_eq!(system.audit(104).await["granted"], 7);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_restored_from_a_backup_continues_where_it_ends_once_the_operator_says_so() {
    let (files, status_urls) = backlog(10).await;
    copy(&files, "log", "backup");
    let system = start(files).await;
    let later = system.accepted(11).await;
    assert_eq!(system.outcome(&later).await["status"], "ISSUED");
    let files = system.stop().await;
    copy(&files, "backup", "log");
    let mut config = files.config();
    config.log.partitions = 2;
    let error = start_error(config.clone()).await;
    assert!(error.contains("ends at offset"), "{error}");
    let url = config.log.url.clone();
    let adopt = async |old| {
        eventually("the refused start has closed the log", async || match adopt(&config, old).await {
            Err(error) if error.to_string().contains("another sluice process has") => None,
            answer => Some(answer.map_err(|error| error.to_string())),
        })
        .await
    };
    let refused = adopt(OldLog::At(&url)).await.expect_err("does not say that records are lost");
    assert!(refused.contains("give --lost"), "{refused}");
    adopt(OldLog::Lost).await.expect("continues where the log ends");
    let refused = adopt(OldLog::Lost).await.expect_err("is done already");
    assert!(refused.contains("settles this log already"), "{refused}");

    let system = start(files).await;
    for url in status_urls.iter().chain([&later]) {
        assert_eq!(system.outcome(url).await["status"], "ISSUED", "{url}");
    }
    for user in 12..=20 {
        assert_eq!(system.outcome(&system.accepted(user).await).await["status"], "ISSUED");
    }
    assert_eq!(system.audit(104).await["granted"], 20);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_log_is_replaced_only_if_the_operator_says_so() {
    let (files, _) = backlog(3).await;
    remove(&files, "log");
    let config = files.config();
    assert!(start_error(config.clone()).await.contains("do not belong together"));
    let old_url = format!("embedded:{}", files.path("no-such-log").display());
    let refused = eventually("the refused start has closed the log", async || {
        let refused = adopt(&config, OldLog::At(&old_url)).await.expect_err("is not the old log").to_string();
        (!refused.contains("another sluice process has")).then_some(refused)
    })
    .await;
    assert!(refused.contains("is not the log that the ledger settles"), "{refused}");
    adopt(&config, OldLog::Lost).await.expect("adopts");
    let system = Fixture::with(files, |_| {}, |ports| ports).await;
    assert_eq!(system.outcome(&system.accepted(9).await).await["status"], "ISSUED");
    system.stop().await;
}
