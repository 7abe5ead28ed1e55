//! A gateway whose clock runs fast, with short retention: campaigns open, sell out and close one after the other, and
//! what it keeps stays bounded while every promise holds.
//!
//! `SLUICE_AGING_MINUTES` makes the long form shorter, with a clock that runs faster.

mod plot;

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Row};

use crate::checker::Body;
use crate::crowd::Crowd;
use crate::habits;
use crate::harness::{Campaign, Gateway, Launch, machine, soak};
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
const ROUND_LONG: f64 = 0.95;
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

/// A key is remembered from the first 202 on.
fn assert_other_bodies_were_refused(crowd: &Crowd) {
    let exchanges = crowd.history.exchanges();
    let after_acceptance =
        exchanges.iter().filter(|exchange| exchange.body == Body::Other && habits::asks_again(exchange.user));
    assert!(after_acceptance.clone().count() > 10);
    for exchange in after_acceptance {
        assert_eq!(exchange.reply.refusal(), (422, "IDEMPOTENCY_CONFLICT"), "user {}", exchange.user);
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
        load::run_open(PER_SECOND, 1..=users, |user| habits::act([crowd.clone(), crowd.clone()], user)).await;
        let report = crowd.verify(&gateway, campaign).await;
        report.assert_holds();
        assert_other_bodies_were_refused(&crowd);
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
