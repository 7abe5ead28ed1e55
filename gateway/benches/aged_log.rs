//! An embedded log that retains 50 million batches, half of them due to be deleted, compared with a new one: how long a
//! start takes, how long an append, and how fast a backlog settles.
//!
//! It takes some minutes and 14 GB of disk.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::Server;
use common::backlog::{Backlog, COUPON, Ids, SHARDS};
use sluice::coupon::{GroupLayout, PartitionNo};
use sluice::ledger;
use sluice::log::{self, Log};
use sluice::telemetry::Telemetry;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Row};

const BATCHES: u64 = 50_000_000;
/// Of one transaction.
const CHUNK: u64 = 1_000_000;
/// Appends are measured for this long, with as many at once.
const APPENDING: Duration = Duration::from_secs(20);
const APPENDERS: usize = 64;
const BACKLOG: Backlog =
    Backlog { records: 250_000, first_coupon: COUPON, coupons: 1, stock: 251_000, ids: Ids::OrderedByTime };

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for batches in [0, BATCHES] {
            measure(batches).await;
        }
    });
}

async fn measure(batches: u64) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
    let url = |scheme: &str, name: &str| format!("{scheme}:{}", folder.path().join(name).display());
    let (log, ledger) = (url("embedded", "log"), url("sqlite", "ledger.db"));
    // Creates both files.
    drop(start(&log, &ledger));
    fill(folder.path(), batches).await;
    let begun = Instant::now();
    drop(start(&log, &ledger));
    println!("{batches} batches: started in {:.2?}", begun.elapsed());

    let options = log::Options { url: log.clone(), retention_hours: 1, ..log::Options::default() };
    append(&options).await;
    let ledger_options = ledger::Options { url: ledger.clone(), ..ledger::Options::default() };
    let opened = ledger::open(&ledger_options, options.partitions).await.expect("opens");
    BACKLOG.create_campaigns(&*opened).await;
    opened.close().await;
    // Releases the lock of the file.
    drop(opened);
    skip_to_end(folder.path()).await;
    BACKLOG.append(&options).await;
    let server = start(&log, &ledger);
    let (begun, left) = (Instant::now(), server.lag().await);
    while server.lag().await > 0.0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("{batches} batches: {:.0} records settled a second", left / begun.elapsed().as_secs_f64());
}

fn start(log: &str, ledger: &str) -> Server {
    Server::sluice("all", &[("LOG__URL", log), ("LEDGER__URL", ledger), ("LOG__RETENTION_HOURS", "1")])
}

/// Appends with settled batches to delete at the same time.
async fn append(options: &log::Options) {
    let begun = Instant::now();
    let (log, background) = log::open(options, &Telemetry::new()).await.expect("opens");
    println!("  opened in {:.2?}", begun.elapsed());
    background.into_iter().for_each(|task| _ = tokio::spawn(task.run));
    for partition in (0..log.partitions()).map(PartitionNo) {
        log.trim(partition, log.end_offset(partition));
    }
    let users = Arc::new(AtomicU64::new(1));
    let appenders: Vec<_> =
        (0..APPENDERS).map(|_| tokio::spawn(append_in_turn(Arc::clone(&log), Arc::clone(&users)))).collect();
    let mut took = Vec::new();
    for appender in appenders {
        took.extend(appender.await.expect("does not panic"));
    }
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!(
        "  {} appends, {APPENDERS} at once: median {:.1?}, p99 {:.1?}, longest {:.1?}",
        took.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    log.close().await;
}

async fn append_in_turn(log: Arc<dyn Log>, users: Arc<AtomicU64>) -> Vec<Duration> {
    let (begun, mut took) = (Instant::now(), Vec::new());
    while begun.elapsed() < APPENDING {
        let (partition, record) = BACKLOG.record(users.fetch_add(1, Ordering::Relaxed), GroupLayout::new(1, SHARDS));
        let appended = Instant::now();
        log.append(partition, record).expect("has room").await.expect("is durable");
        took.push(appended.elapsed());
    }
    took
}

/// Adds settled batches of one record each to the log, the first half older than the retention.
async fn fill(folder: &Path, batches: u64) {
    let mut log = open(folder, "log").await;
    let execute = sqlx::raw_sql("PRAGMA synchronous = OFF");
    execute.execute(&mut log).await.expect("sets");
    let begun = Instant::now();
    for first in (0..batches).step_by(usize::try_from(CHUNK).expect("small")) {
        let insert = "
            WITH RECURSIVE batch (number) AS (SELECT ?1 UNION ALL SELECT number + 1 FROM batch WHERE number + 1 < ?2)
            INSERT INTO record_batch (partition_no, base_offset, records, appended_at_ms, payload)
            SELECT number % ?3, number / ?3, 1, ?4, zeroblob(200) FROM batch";
        let appended_at_ms = if first < batches / 2 { 0 } else { sluice::coupon::now_ms() };
        sqlx::query(insert)
            .bind(first.cast_signed())
            .bind(batches.min(first + CHUNK).cast_signed())
            .bind(SHARDS)
            .bind(appended_at_ms)
            .execute(&mut log)
            .await
            .expect("inserts");
    }
    println!("{batches} batches inserted in {:.0?}", begun.elapsed());
    log.close().await.expect("closes");
    // The kernel would otherwise write the new rows to the disk while appends are measured.
    std::fs::File::open(folder.join("log")).expect("opens").sync_all().expect("is on the disk");
    skip_to_end(folder).await;
}

/// Makes everything in the log count as settled.
async fn skip_to_end(folder: &Path) {
    let (mut log, mut ledger) = (open(folder, "log").await, open(folder, "ledger.db").await);
    for partition in 0..SHARDS {
        let end = "SELECT base_offset + records AS next FROM record_batch WHERE partition_no = ?1
                   ORDER BY base_offset DESC LIMIT 1";
        let Some(row) = sqlx::query(end).bind(partition).fetch_optional(&mut log).await.expect("reads") else {
            continue;
        };
        let next: i64 = row.get("next");
        let settle = "INSERT INTO partition_offset (partition_no, epoch, next_offset, released_offset)
                      VALUES (?1, 0, ?2, ?2)
                      ON CONFLICT (partition_no) DO UPDATE SET next_offset = ?2, released_offset = ?2";
        sqlx::query(settle).bind(partition).bind(next).execute(&mut ledger).await.expect("updates");
    }
}

async fn open(folder: &Path, name: &str) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(folder.join(name));
    SqliteConnection::connect_with(&options).await.expect("opens")
}
