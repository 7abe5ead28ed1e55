//! No offset is skipped silently.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
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
