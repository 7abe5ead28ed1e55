//! Settlement and audits on a MariaDB ledger that holds 20 million outcomes, compared with an empty one; also with the
//! database half a millisecond away.
//!
//! The servers are those of `infra/native/services`. It takes some minutes and 6 GB of disk.

mod common;

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::backlog::{Backlog, COUPON, Ids, SHARDS};
use common::distributed::{DATABASE, Stage};
use common::median;
use futures_util::future::{self, Either};
use sluice::coupon::{Audit, CouponId};
use sluice::ledger::{self, Ledger};
use sqlx::{AssertSqlSafe, Executor};

const OUTCOMES: u64 = 20_000_000;
/// Of one transaction.
const CHUNK: u64 = 500_000;
const ROUNDS: u64 = 3;
const RECORDS: u64 = 250_000;
const OLD_COUPON: u64 = 5;
/// All of it is issued.
const OLD: Backlog = Backlog { records: 0, first_coupon: OLD_COUPON, coupons: 1, stock: OUTCOMES, ids: Ids::UnderKeys };
/// Audits a second while settlement runs: more than any dashboard asks for.
const AUDITS_EVERY: Duration = Duration::from_millis(100);
/// Added to every round trip: a database in the same region.
const DELAY: Duration = Duration::from_micros(500);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(compare());
}

async fn compare() {
    let far = common::delay::delay(DATABASE.parse().expect("an address"), DELAY);
    let empty = Stage::create().await;
    let mut coupons = COUPON..;
    drain_near_and_far("empty", &empty, far, &mut coupons).await;
    empty.delete().await;

    let aged = Stage::create().await;
    let ledger = ledger::open(&aged.ledger(), aged.log().partitions).await.expect("opens");
    let begun = Instant::now();
    insert_outcomes(&aged, &*ledger).await;
    println!("{OUTCOMES} outcomes inserted in {:.0?}", begun.elapsed());
    drain_near_and_far("aged", &aged, far, &mut coupons).await;

    let old = CouponId::try_from(OLD_COUPON).expect("in range");
    let audit = || async { check(ledger.audit(old).await.expect("reads").expect("exists")) };
    let recount = || async { check(ledger.recount(old).await.expect("reads").expect("exists")) };
    println!("audit of {OUTCOMES} outcomes {:?}, recount {:.1?}", duration(audit).await, duration(recount).await);
    let paced = || async {
        audit().await;
        tokio::time::sleep(AUDITS_EVERY).await;
    };
    let drain_one = |coupon| drain_once(&aged, coupon, Ids::OrderedByTime, None);
    report("aged, audited ten times a second", beside(paced, drain_one(coupons.next().expect("a number"))).await);
    report("aged, during recounts", beside(recount, drain_one(coupons.next().expect("a number"))).await);
    ledger.close().await;
    let rejected = Backlog { records: RECORDS, ..OLD };
    rejected.append(&aged.log()).await;
    report("aged, more requests with keys for the old coupon", rejected.drain(&aged, None, &[]).await.0);
    aged.delete().await;
}

fn report(what: &str, rate: f64) {
    println!("settled, {what:49}{rate:8.0}/s");
}

/// The tallies were written by `insert_outcomes`, and the rows were counted.
fn check(audit: Audit) {
    assert_eq!(audit.granted, OUTCOMES);
    if let Some(recount) = audit.recount {
        assert!(recount.agrees, "{recount:?}");
    }
}

async fn duration<F: Future<Output = ()>>(work: impl Fn() -> F) -> Duration {
    let begun = Instant::now();
    work().await;
    begun.elapsed()
}

/// Repeats `other` until `drain` ends.
async fn beside<F: Future<Output = ()>>(other: impl Fn() -> F, drain: impl Future<Output = f64>) -> f64 {
    let repeated = async {
        loop {
            other().await;
        }
    };
    match future::select(Box::pin(drain), Box::pin(repeated)).await {
        Either::Left((rate, _)) => rate,
        Either::Right((never, _)) => never,
    }
}

/// Reports the median of some rounds, each with a new coupon.
async fn drain_near_and_far(ledger: &str, stage: &Stage, far: SocketAddr, coupons: &mut impl Iterator<Item = u64>) {
    for (ids, keys) in [(Ids::OrderedByTime, "without keys"), (Ids::UnderKeys, "with keys")] {
        for (database, distance) in [(None, "near"), (Some(far), "far")] {
            let mut rates = Vec::new();
            for _ in 0..ROUNDS {
                rates.push(drain_once(stage, coupons.next().expect("a number"), ids, database).await);
            }
            report(&format!("{ledger}, requests {keys}, {distance}"), median(rates));
        }
    }
}

/// Records per second.
async fn drain_once(stage: &Stage, coupon: u64, ids: Ids, database: Option<SocketAddr>) -> f64 {
    let backlog = Backlog { records: RECORDS, first_coupon: coupon, coupons: 1, stock: RECORDS + 1000, ids };
    backlog.fill(stage).await;
    backlog.drain(stage, database, &[]).await.0
}

/// Inserts outcomes as settlement would have, of one coupon that sold out. MariaDB's `seq_1_to_N` is a table of numbers.
async fn insert_outcomes(stage: &Stage, ledger: &dyn Ledger) {
    OLD.create_campaigns(ledger).await;
    let mut connection = stage.connect().await;
    let mut execute = async |statement: String| {
        connection.execute(AssertSqlSafe(statement)).await.expect("inserts");
    };
    execute("INSERT INTO issue_terms (digest, terms) VALUES (repeat('d', 16), '{}')".to_owned()).await;
    execute(format!("UPDATE coupon_issue_shard SET remaining = 0 WHERE coupon_id = {OLD_COUPON}")).await;
    execute(format!(
        "INSERT INTO outcome_tally
         SELECT {OLD_COUPON}, seq % {SHARDS}, seq % {SHARDS}, count(*), count(*), count(*), 0, 0, 0
           FROM seq_1_to_{OUTCOMES} GROUP BY seq % {SHARDS}"
    ))
    .await;
    // The ids lie as far apart as hashes under keys do, in the order in which they are inserted fastest.
    let of_coupon = hex(&OLD.request_id(1).as_bytes()[..2]);
    let apart = (1 << 48) / OUTCOMES;
    for first in (1..=OUTCOMES).step_by(usize::try_from(CHUNK).expect("small")) {
        let last = OUTCOMES.min(first + CHUNK - 1);
        execute(format!(
            "INSERT INTO issue_outcome (request_id, status, coupon_id, user_id, grant_no, shard_no, picked_shard_no,
                                        generation, partition_no, log_offset, arrived_at_ms, settled_at_ms, terms_digest)
             SELECT unhex(concat('{of_coupon}', lpad(hex(seq * {apart}), 12, '0'), lpad(hex(seq), 16, '0'))), 'ISSUED', {OLD_COUPON},
                    seq, 1, seq % {SHARDS}, seq % {SHARDS}, 1, seq % {SHARDS}, seq DIV {SHARDS}, 1700000000000,
                    1700000000000, repeat('d', 16)
               FROM seq_{first}_to_{last}"
        ))
        .await;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
