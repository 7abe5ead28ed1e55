//! Settlement of a backlog: one consumer settles 250,000 records on MariaDB: of one coupon, of 500 coupons in every
//! batch, and of a coupon that is sold out; each also with a database half a millisecond away. Compared with bare
//! inserts of the same rows, and with smaller and larger batches. Then the 500 coupons in one ledger group, beside the
//! same in two groups on two database servers.
//!
//! The servers are those of `infra/native/services up kafka mariadb mariadb-2`.

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::backlog::{Backlog, COUPON, Ids};
use common::distributed::{DATABASE, Stage, TWO_DATABASES};
use common::median;
use futures_util::future::join_all;
use sluice::coupon::{RequestId, now_ms};
use sqlx::{MySqlConnection, QueryBuilder};

const ROUNDS: usize = 3;
/// The largest backlog of the original application.
const RECORDS: u64 = 250_000;
/// Enough to measure the rate of one record per transaction, which is much lower.
const RECORDS_SINGLY: u64 = 12_000;
/// More concurrent inserters are not faster.
const INSERTERS: u64 = 4;
const ROWS: u64 = 1024;
/// Added to every round trip: a database in the same region.
const DELAY: Duration = Duration::from_micros(500);

const ONE_COUPON: Backlog =
    Backlog { records: RECORDS, first_coupon: COUPON, coupons: 1, stock: RECORDS + 1000, ids: Ids::OrderedByTime };
const MANY_COUPONS: Backlog = Backlog { coupons: 500, ..ONE_COUPON };
const SOLD_OUT: Backlog = Backlog { stock: 1, ..ONE_COUPON };
const SINGLY: Backlog = Backlog { records: RECORDS_SINGLY, ..ONE_COUPON };
/// The most records of a transaction, beside the default of 2048.
const BATCHES: [&str; 4] = ["16", "128", "1024", "4096"];
const BACKLOGS: [(&str, Backlog); 3] =
    [("one coupon", ONE_COUPON), ("500 coupons in every batch", MANY_COUPONS), ("sold out", SOLD_OUT)];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(compare());
}

async fn compare() {
    let distant = common::delay::delay(DATABASE.parse().expect("an address"), DELAY);
    let mut inserts = Vec::new();
    let mut rates = BACKLOGS.map(|_| [Vec::new(), Vec::new()]);
    let mut peak = 0;
    for _ in 0..ROUNDS {
        let stage = Stage::create().await;
        inserts.push(insert(&stage).await);
        stage.delete().await;
        for ((name, backlog), rates) in BACKLOGS.into_iter().zip(&mut rates) {
            for (database, rates) in [None, Some(distant)].into_iter().zip(rates) {
                let (rate, peak_mib) = measure(backlog, database, &[]).await;
                println!("  {name}, {}: {rate:.0}/s", if database.is_some() { "far" } else { "near" });
                rates.push(rate);
                peak = peak.max(peak_mib);
            }
        }
    }
    let (singly, _) = measure(SINGLY, None, &[("SETTLEMENT__BATCH_RECORDS_MAX", "1")]).await;
    for batch in BATCHES {
        for (name, backlog) in &BACKLOGS[..2] {
            let (rate, _) = measure(*backlog, None, &[("SETTLEMENT__BATCH_RECORDS_MAX", batch)]).await;
            println!("  {name}, at most {batch} records a transaction: {rate:.0}/s");
        }
    }
    let mut groups = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (databases, rates) in [&TWO_DATABASES[..1], TWO_DATABASES].into_iter().zip(&mut groups) {
            let (rate, _) = measure_on(Stage::create_on(databases).await, MANY_COUPONS, None, &[]).await;
            println!("  500 coupons on {} database servers: {rate:.0}/s", databases.len());
            rates.push(rate);
        }
    }

    let insert = median(inserts);
    println!("bare inserts of {ROWS} rows, {INSERTERS} connections {insert:8.0}/s");
    for ((name, _), rates) in BACKLOGS.iter().zip(rates) {
        let [near, far] = rates.map(median);
        println!(
            "settled, {name:27}{near:9.0}/s   {:.2} of it (targets 50000/s and 0.30); {DELAY:?} away {far:8.0}/s",
            near / insert
        );
    }
    println!("settled, one record per transaction {singly:9.0}/s");
    let [one, two] = groups.map(median);
    println!("two groups on two database servers  {two:9.0}/s   {:.2} of one group ({one:.0}/s)", two / one);
    println!("peak memory of the consumer         {peak:9} MiB (target 200)");
}

/// Records per second, and the consumer's peak memory.
async fn measure(backlog: Backlog, database: Option<SocketAddr>, variables: &[(&'static str, &str)]) -> (f64, u64) {
    measure_on(Stage::create().await, backlog, database, variables).await
}

async fn measure_on(
    stage: Stage,
    backlog: Backlog,
    database: Option<SocketAddr>,
    variables: &[(&'static str, &str)],
) -> (f64, u64) {
    backlog.fill(&stage).await;
    let measured = backlog.drain(&stage, database, variables).await;
    stage.delete().await;
    measured
}

/// Inserts the same rows into a table of the same shape. Returns rows per second.
async fn insert(stage: &Stage) -> f64 {
    let mut connection = stage.connect().await;
    sqlx::query("CREATE TABLE bare_outcome LIKE issue_outcome").execute(&mut connection).await.expect("makes");
    let begun = Instant::now();
    let inserting = (0..INSERTERS).map(|which| async move {
        let mut connection = stage.connect().await;
        for first in (which * ROWS + 1..=RECORDS).step_by(usize::try_from(INSERTERS * ROWS).expect("small")) {
            insert_rows(&mut connection, first..RECORDS.min(first + ROWS - 1) + 1).await;
        }
    });
    join_all(inserting).await;
    RECORDS as f64 / begun.elapsed().as_secs_f64()
}

async fn insert_rows(connection: &mut MySqlConnection, users: std::ops::Range<u64>) {
    let now = now_ms();
    let terms_digest = vec![0_u8; 16];
    let mut insert = QueryBuilder::new(
        "INSERT INTO bare_outcome (request_id, status, coupon_id, user_id, grant_no, shard_no, picked_shard_no, \
         generation, arm, partition_no, log_offset, arrived_at_ms, settled_at_ms, terms_digest) ",
    );
    insert.push_values(users, |mut row, user| {
        row.push_bind(RequestId::new().as_bytes().to_vec()).push("'ISSUED'");
        row.push(COUPON)
            .push(user)
            .push("1, 3, 3, 1, 0, 3")
            .push(user)
            .push(now)
            .push(now)
            .push_bind(terms_digest.clone());
    });
    insert.build().execute(connection).await.expect("inserts");
}
