//! A gateway whose clock runs fast, with short retention: campaigns open, sell out and close one after the other, and
//! what it keeps stays bounded while every promise holds.
//!
//! `SLUICE_AGING_MINUTES` makes the long form shorter, with a clock that runs faster.

mod plot;

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Row};

use crate::checker::{Exchange, Reply, Report};
use crate::client::{Client, post};
use crate::crowd::Crowd;
use crate::hang_ups::post_and_hang_up;
use crate::harness::{Campaign, Gateway, Launch, machine, payload, soak};
use crate::load;

/// Minutes of the long form. A minute is an hour then, so rejections and the log are kept for a minute, and grants for
/// 24 minutes.
const MINUTES: u64 = 60;
const RETENTION: [(&str, &str); 3] =
    [("LOG__RETENTION_HOURS", "1"), ("LEDGER__KEEP_REJECTIONS_HOURS", "1"), ("LEDGER__KEEP_DAYS", "1")];
const PER_SECOND: f64 = 100.0;
/// How many campaigns follow each other: the short form has none that is deleted.
const ROUNDS: (u64, u64) = (2, 60);
/// Seconds of load for one campaign.
const ROUND: u64 = 4;
/// The same, for each minute of the long form. The rest of its share is for checking.
const ROUND_LONG: f64 = 5.0 / 6.0;
/// By the middle of the long form as much is deleted as is added.
const GROWTH_MAX: f64 = 1.2;

/// What a gateway holds after a campaign.
struct Sample {
    at: Duration,
    log_bytes: u64,
    ledger_bytes: u64,
    memory_bytes: u64,
    outcomes: u64,
    terms: u64,
    batches: u64,
}

impl Sample {
    const COLUMNS: &str = "seconds,log_bytes,ledger_bytes,memory_bytes,outcomes,terms,batches";

    async fn take(gateway: &Gateway, begun: Instant) -> Self {
        let data = gateway.home.path().join("data");
        Self {
            at: begun.elapsed(),
            log_bytes: bytes(&data, "log"),
            ledger_bytes: bytes(&data, "ledger.db"),
            memory_bytes: gateway.memory().now,
            outcomes: rows(&data.join("ledger.db"), "SELECT count(*) FROM issue_outcome").await,
            terms: rows(&data.join("ledger.db"), "SELECT count(*) FROM issue_terms").await,
            batches: rows(&data.join("log"), "SELECT count(*) FROM record_batch").await,
        }
    }

    fn sizes(&self) -> [(&'static str, u64); 6] {
        [
            ("log, bytes", self.log_bytes),
            ("ledger, bytes", self.ledger_bytes),
            ("memory, bytes", self.memory_bytes),
            ("outcomes", self.outcomes),
            ("sets of terms", self.terms),
            ("batches", self.batches),
        ]
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.at.as_secs())?;
        self.sizes().iter().try_for_each(|(_, size)| write!(f, ",{size}"))
    }
}

/// The size of a database with its write-ahead log.
fn bytes(folder: &Path, name: &str) -> u64 {
    let entries = std::fs::read_dir(folder).expect("the data folder").filter_map(Result::ok);
    let of_database = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(name));
    of_database.map(|entry| entry.metadata().expect("a file").len()).sum()
}

async fn rows(database: &Path, count: &'static str) -> u64 {
    let options = SqliteConnectOptions::new().filename(database).read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await.expect("opens");
    let row = sqlx::query(count).fetch_one(&mut connection).await.expect("counts");
    row.get::<i64, _>(0).cast_unsigned()
}

/// Every fourth user hangs up at once. Every other fourth has a key: it retries, and then asks for something else with
/// it. The others have none.
async fn request(crowd: Crowd, client: Arc<Client>, http: SocketAddr, user: u64) {
    let key = || Some(format!("request of user {user} for coupon {}", crowd.coupon));
    match user % 4 {
        0 => {
            let begun = Instant::now();
            post_and_hang_up(http, user, crowd.coupon, Duration::from_micros(user * 37 % 2_000)).await;
            let (coupon, took) = (crowd.coupon, begun.elapsed());
            crowd.history.record(Exchange { user, coupon, key: None, took, reply: Reply::Unanswered });
        }
        1 => {
            let first = crowd.request_with_key(user, key()).await;
            let second = crowd.request_with_key(user, key()).await;
            if first.is_accepted() {
                assert_eq!(first.receipt().request_id, second.receipt().request_id, "user {user}");
                let body = payload(user, crowd.coupon).replace("FIXED", "RATE");
                let mut other = post("/coupon/issue", body);
                other.headers_mut().insert("idempotency-key", key().expect("a key").parse().expect("a header"));
                let answer = client.call(other).await;
                assert_eq!((answer.status, answer.reason().as_str()), (422, "IDEMPOTENCY_CONFLICT"), "{answer}");
            }
        }
        _ => drop(crowd.request(user).await),
    }
}

/// The export has one line for each outcome of the audit, with what the status call said.
async fn verify_export(gateway: &Gateway, crowd: &Crowd, report: &Report) {
    let ended = gateway.run(&["coupon", "export", &crowd.coupon.to_string()]).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    let lines = ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("an object"));
    let exported: HashMap<String, Value> =
        lines.map(|line| (line["requestId"].as_str().expect("an id").to_owned(), line)).collect();
    let audit = &report.audit;
    let audited = audit.granted + audit.sold_out + audit.user_limit + audit.invalid;
    assert_eq!(
        (exported.len() as u64, ended.stdout.lines().count() as u64),
        (audited, audited),
        "coupon {}",
        crowd.coupon
    );
    for receipt in crowd.history.receipts() {
        let outcome = crowd.history.outcome(&receipt.request_id).expect("verified");
        let line = &exported[&receipt.request_id];
        assert_eq!(
            (&line["status"], line["reason"].as_str()),
            (&outcome.status.into(), outcome.reason.as_deref()),
            "{line}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_keeps_stays_bounded_while_campaigns_come_and_go() {
    machine::exclusive();
    let minutes = soak::number("SLUICE_AGING_MINUTES", MINUTES);
    let (seconds, rounds) = soak::short_or_long((ROUND, ROUNDS.0), ((ROUND_LONG * minutes as f64) as u64, ROUNDS.1));
    let speed = u32::try_from(60 * MINUTES / minutes).expect("at least a minute");
    let gateway = Gateway::launch(Launch::with(&RETENTION).with_clock_speed(speed)).await;
    let users = (PER_SECOND * seconds as f64) as u64;
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("aging.csv");
    let mut table = File::create(&path).expect("a file");
    writeln!(table, "{}", Sample::COLUMNS).expect("writes");
    let (begun, mut samples, mut accepted) = (Instant::now(), Vec::new(), 0);
    for round in 0..rounds {
        // A third of the requests finds no coupon left.
        let campaign = Campaign { coupon: 8_000 + round, ..Campaign::of(users * 2 / 3, 4) };
        let crowd = Crowd::at(&gateway, gateway.create(campaign).await);
        let send = |user| request(crowd.clone(), Arc::clone(&gateway.client), gateway.http, user);
        load::run_open(PER_SECOND, 1..=users, send).await;
        let report = crowd.verify(&gateway, campaign).await;
        report.assert_holds();
        verify_export(&gateway, &crowd, &report).await;
        accepted += report.accepted;
        assert_eq!(gateway.change(campaign.coupon, "close", Value::Null).await.status, 200);
        let sample = Sample::take(&gateway, begun).await;
        println!("round {round}: {sample}");
        writeln!(table, "{sample}").expect("writes");
        samples.push(sample);
        std::fs::write(path.with_extension("svg"), plot::svg(&samples)).expect("writes");
    }
    println!("{accepted} accepted in {:.0?}; sizes in {}, plotted in aging.svg", begun.elapsed(), path.display());
    if rounds == ROUNDS.1 {
        assert_bounded(&samples);
    }
}

/// Compares the last quarter with the one before.
fn assert_bounded(samples: &[Sample]) {
    let quarter = samples.len() / 4;
    let largest = |samples: &[Sample], column: usize| samples.iter().map(|s| s.sizes()[column].1).max().expect("some");
    let (before, last) = samples[2 * quarter..].split_at(quarter);
    for (column, (name, _)) in samples[0].sizes().into_iter().enumerate() {
        let growth = largest(last, column) as f64 / largest(before, column) as f64;
        println!("{name}: {growth:.2} of the quarter before");
        assert!(growth < GROWTH_MAX, "{name} grows: {growth:.2}");
    }
}
