//! Settlement of a backlog: one consumer settles 250,000 records on MariaDB: of one coupon, of 500 coupons in every
//! batch, and of a coupon that is sold out. Compared with bare inserts of the same rows, and with one record per
//! transaction.
//!
//! The servers are those of `infra/native/services`.

mod common;

use std::time::{Duration, Instant};

use common::Server;
use common::distributed::Stage;
use common::median;
use futures_util::future::join_all;
use sluice::coupon::{
    Accepted, CampaignCounts, IssueRequest, NewCampaign, PartitionNo, RequestId, ShardNo, Terms, now_ms,
};
use sluice::ledger::{self};
use sluice::log::{self, Headers, Record};
use sluice::telemetry::Telemetry;
use sqlx::{MySqlConnection, QueryBuilder, Row};

const ROUNDS: usize = 3;
/// The largest backlog of the original application.
const RECORDS: u64 = 250_000;
/// Enough to measure the rate of one record per transaction, which is much lower.
const RECORDS_SINGLY: u64 = 12_000;
const SHARDS: u32 = 12;
/// More concurrent inserters are not faster.
const INSERTERS: u64 = 4;
const ROWS: u64 = 1024;
const COUPON: u64 = 7;

/// What the waiting records ask for.
#[derive(Clone, Copy)]
struct Backlog {
    records: u64,
    coupons: u64,
    /// Of each coupon.
    stock: u64,
}

const ONE_COUPON: Backlog = Backlog { records: RECORDS, coupons: 1, stock: RECORDS + 1000 };
const MANY_COUPONS: Backlog = Backlog { coupons: 500, ..ONE_COUPON };
const SOLD_OUT: Backlog = Backlog { stock: 1, ..ONE_COUPON };
const SINGLY: Backlog = Backlog { records: RECORDS_SINGLY, ..ONE_COUPON };

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(compare());
}

async fn compare() {
    let [mut inserts, mut one, mut many, mut sold_out] = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    let mut peaks = Vec::new();
    for _ in 0..ROUNDS {
        let stage = Stage::create().await;
        inserts.push(insert(&stage).await);
        stage.delete().await;
        for (backlog, rates) in [(ONE_COUPON, &mut one), (MANY_COUPONS, &mut many), (SOLD_OUT, &mut sold_out)] {
            let (rate, peak_mib) = measure(backlog, 1024).await;
            println!("  {} coupons with {} in stock: {rate:.0}/s, {peak_mib} MiB", backlog.coupons, backlog.stock);
            rates.push(rate);
            peaks.push(peak_mib);
        }
    }
    let (singly, _) = measure(SINGLY, 1).await;

    let insert = median(inserts);
    let peak = peaks.into_iter().max().expect("rounds");
    println!("bare inserts of {ROWS} rows, {INSERTERS} connections {insert:8.0}/s");
    let report = |what: &str, rate: f64| {
        println!("{what:39}{rate:8.0}/s   {:.2} of it (targets 50000/s and 0.30)", rate / insert);
    };
    report(&format!("settled, {RECORDS} waiting"), median(one));
    report("settled, 500 coupons in every batch", median(many));
    report("settled, sold out", median(sold_out));
    println!("settled, one record per transaction    {singly:8.0}/s");
    println!("peak memory of the consumer            {peak:8} MiB   (target 200)");
}

/// Records per second, and the consumer's peak memory.
async fn measure(backlog: Backlog, batch_records_max: u32) -> (f64, u64) {
    let stage = Stage::create().await;
    fill(&stage, backlog).await;
    let measured = drain(&stage, backlog.records, batch_records_max).await;
    stage.delete().await;
    measured
}

/// Appends records as a gateway would.
async fn fill(stage: &Stage, backlog: Backlog) {
    let Backlog { records, coupons, stock } = backlog;
    let ledger = ledger::open(&stage.ledger()).await.expect("opens");
    for coupon in COUPON..COUPON + coupons {
        ledger.create_campaign(&campaign(coupon, stock)).await.expect("makes the campaign");
    }
    let (log, background) = log::open(&stage.log(), &Telemetry::new()).await.expect("opens");
    background.into_iter().for_each(|task| _ = tokio::spawn(task.run));
    let mut waiting = Vec::new();
    for user in 1..=records {
        let coupon = COUPON + user % coupons;
        // As even as a random picker, but no shard is exhausted early.
        let shard_no = ShardNo(u32::try_from(user / coupons % u64::from(SHARDS)).expect("a shard"));
        let accepted = accepted(user, coupon, shard_no);
        let partition = PartitionNo::of(accepted.request.coupon_id, shard_no, SHARDS);
        let record = Record {
            key: format!("{coupon}:{shard_no}"),
            headers: Headers { request_id: Some(accepted.request_id), traceparent: None, generation: 1 },
            value: accepted.encode(),
        };
        waiting.push(log.append(partition, record).expect("has room"));
        if waiting.len() == 4096 {
            join_all(waiting.drain(..)).await.into_iter().for_each(|ack| _ = ack.expect("is durable"));
        }
    }
    join_all(waiting).await.into_iter().for_each(|ack| _ = ack.expect("is durable"));
    log.close().await;
    ledger.close().await;
}

fn campaign(coupon: u64, stock: u64) -> NewCampaign {
    NewCampaign {
        coupon_id: coupon.try_into().expect("in range"),
        policy_id: 21_u64.try_into().expect("in range"),
        total: stock,
        shards: SHARDS,
        per_user_limit: 1,
        opens_at_ms: None,
        closes_at_ms: None,
    }
}

fn accepted(user: u64, coupon: u64, shard_no: ShardNo) -> Accepted {
    Accepted {
        request_id: RequestId::new(),
        arrived_at_ms: now_ms(),
        shard_no,
        generation: 1,
        fingerprint: None,
        campaign_counts: CampaignCounts::default(),
        request: IssueRequest {
            user_id: user.try_into().expect("in range"),
            coupon_id: coupon.try_into().expect("in range"),
            policy_id: 21_u64.try_into().expect("in range"),
            terms: terms(),
        },
    }
}

fn terms() -> Terms {
    Terms {
        type_snapshot: "FIXED".to_owned(),
        discount_rate_snapshot: Some(10.0),
        discount_amount_snapshot: Some(1000),
        minimum_order_amount_snapshot: Some(5000),
        usage_period_snapshot: Some(30),
        expired_at: Some("2025-12-31T23:59:59".parse().expect("a date")),
    }
}

/// Starts one consumer. Returns its records per second from the first to the last, and its peak memory.
async fn drain(stage: &Stage, records: u64, batch_records_max: u32) -> (f64, u64) {
    let variables = stage.variables();
    let batch = batch_records_max.to_string();
    let mut variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    variables.push(("SETTLEMENT__BATCH_RECORDS_MAX", &batch));
    let mut connection = stage.connect().await;
    let consumer = Server::sluice("consumer", &variables);
    let mut begun = None;
    loop {
        let settled = settled(&mut connection).await;
        if settled > 0 {
            // Records that settled before the first query have no known duration, so they are not counted.
            let (begun_at, before) = *begun.get_or_insert((Instant::now(), settled));
            if settled == records {
                let rate = (records - before) as f64 / begun_at.elapsed().as_secs_f64();
                return (rate, consumer.peak_mib());
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn settled(connection: &mut MySqlConnection) -> u64 {
    let sum = "SELECT cast(coalesce(sum(next_offset), 0) AS UNSIGNED) AS settled FROM partition_offset";
    sqlx::query(sum).fetch_one(connection).await.expect("reads").get("settled")
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
         generation, partition_no, log_offset, arrived_at_ms, settled_at_ms, terms_digest) ",
    );
    insert.push_values(users, |mut row, user| {
        row.push_bind(RequestId::new().as_bytes().to_vec()).push("'ISSUED'");
        row.push(COUPON)
            .push(user)
            .push("1, 3, 3, 1, 3")
            .push(user)
            .push(now)
            .push(now)
            .push_bind(terms_digest.clone());
    });
    insert.build().execute(connection).await.expect("inserts");
}
