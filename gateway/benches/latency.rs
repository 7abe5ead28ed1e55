//! Latency at load: of the response, and of the outcome, at 10, 50 and 90 % of the highest rate, and with one request and
//! 64 at once. Embedded, compared with a bare axum handler at the same rates; and on Kafka, MariaDB and Redis, if the
//! servers of `infra/native/services` run, compared with a bare producer.
//!
//! A response counts from when its request was due, see `common/load.rs`. It takes 5 minutes, or 10 with the servers.

mod common;

use std::time::Duration;

use common::crowd::Crowd;
use common::distributed::{self, COUNTERS, Stage};
use common::load::{Cost, Load, Measured, Pace, Quantiles};
use common::own_server::{OwnServer, serve_if_asked};
use common::producer::BareProducer;
use common::{Server, disk, results, trial};
use serde::Serialize;

const SECONDS: u64 = 20;
const WARM_UP_SECONDS: u64 = 3;
/// Of the highest rate, in percent.
const SHARES: [u32; 3] = [10, 50, 90];
const MANY: usize = 64;
/// One of these is the sample.
const REQUESTS_PER_OUTCOME: u64 = 20;
/// In milliseconds.
const MANY_TARGET_MS: f64 = 1.2;

fn main() {
    serve_if_asked();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure());
}

/// A line of the table.
#[derive(Serialize)]
struct Row {
    subject: &'static str,
    load: String,
    per_second: f64,
    response: Quantiles,
    outcome: Option<Quantiles>,
    /// How late requests were sent.
    delay: Quantiles,
    generator: Cost,
}

#[derive(Serialize)]
struct Results {
    machine: String,
    fdatasync: Quantiles,
    rows: Vec<Row>,
}

async fn measure() {
    let fdatasync = disk::fdatasync().quantiles().expect("some writes");
    let mut rows = Vec::new();
    embedded(&mut rows).await;
    if distributed::is_up() {
        stack(&mut rows).await;
    } else {
        println!("Embedded only: the servers do not run. Start them with `infra/native/services up`.\n");
    }
    let results = Results { machine: results::machine(), fdatasync, rows };
    println!("{}", results.table());
    println!("{}", results.targets());
    println!("{}", results::write_json("latency.json", &results).display());
}

async fn embedded(rows: &mut Vec<Row>) {
    let gateway = Server::sluice("all", &[]);
    gateway.open_campaign().await;
    let http = gateway.http.expect("a gateway listens");
    let mut crowd = Crowd::strangers();
    let highest = rows_of("gateway, embedded", None, rows, |pace, lasts| {
        Load { gateways: &[http], pace, lasts, requests_per_outcome: REQUESTS_PER_OUTCOME }.send(&mut crowd)
    });
    drop(gateway);
    let bare = OwnServer::Bare.start();
    let http = bare.http.expect("it listens");
    rows_of("bare axum handler", Some(highest), rows, |pace, lasts| {
        Load { gateways: &[http], pace, lasts, requests_per_outcome: 0 }.send(&mut crowd)
    });
}

async fn stack(rows: &mut Vec<Row>) {
    let [for_gateway, for_producer] = [Stage::create().await, Stage::create().await];
    let variables = for_gateway.variables(None);
    let mut variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    variables.push(COUNTERS);
    let (gateway, consumer) = (Server::sluice("gateway", &variables), Server::sluice("consumer", &variables));
    gateway.open_campaign().await;
    let http = gateway.http.expect("a gateway listens");
    let mut crowd = Crowd::newcomers();
    let highest = rows_of("gateway, Kafka", None, rows, |pace, lasts| {
        Load { gateways: &[http], pace, lasts, requests_per_outcome: REQUESTS_PER_OUTCOME }.send(&mut crowd)
    });
    drop((gateway, consumer));
    let producer = BareProducer::new(for_producer.topic());
    rows_of("bare producer", Some(highest), rows, |pace, lasts| producer.produce(pace, lasts, &mut crowd));
    for_gateway.delete().await;
    for_producer.delete().await;
}

/// Measures one subject at every load. Its highest rate is what 64 connections get, unless another one is given. Returns
/// that rate.
fn rows_of(
    subject: &'static str,
    highest: Option<f64>,
    rows: &mut Vec<Row>,
    mut send: impl FnMut(Pace, Duration) -> Measured,
) -> f64 {
    let many = Pace::Closed { connections: MANY };
    send(many, trial::seconds(WARM_UP_SECONDS));
    let mut measure = |load: String, pace| {
        println!("{subject}, {load}");
        let row = Row::new(subject, load, &send(pace, trial::seconds(SECONDS)));
        let per_second = row.per_second;
        rows.push(row);
        per_second
    };
    measure("one at a time".to_owned(), Pace::Closed { connections: 1 });
    let own_highest = measure(format!("{MANY} at once"), many);
    let highest = highest.unwrap_or(own_highest);
    for share in SHARES {
        let per_second = highest * f64::from(share) / 100.0;
        measure(format!("{share} % of {highest:.0}/s"), Pace::Open { per_second });
    }
    highest
}

impl Row {
    fn new(subject: &'static str, load: String, measured: &Measured) -> Self {
        Self {
            subject,
            load,
            per_second: measured.per_second(),
            response: measured.responses.quantiles().expect("answers"),
            outcome: measured.outcomes.quantiles(),
            delay: measured.delays.quantiles().expect("requests"),
            generator: measured.cost(),
        }
    }

    fn cells(&self) -> Vec<String> {
        let outcome = self.outcome.map_or_else(|| vec![String::new(); 4], |outcome| outcome.cells());
        let mut cells = vec![self.subject.to_owned(), self.load.clone(), format!("{:.0}", self.per_second)];
        cells.extend(self.response.cells());
        cells.extend(outcome);
        cells.push(format!("{:.3}", self.delay.p99_ms));
        cells.push(format!("{:.1} µs, {:.0} %", self.generator.us, self.generator.machine_percent));
        cells
    }
}

impl Results {
    fn table(&self) -> String {
        let header = [
            "",
            "load",
            "requests/s",
            "response p50, ms",
            "p99",
            "p99.9",
            "max",
            "outcome p50, ms",
            "p99",
            "p99.9",
            "max",
            "sent late p99, ms",
            "generator's thread: a request, of the machine",
        ];
        results::table(&header, &self.rows.iter().map(Row::cells).collect::<Vec<_>>())
    }

    fn targets(&self) -> String {
        let alone_target_ms = 2.0 * self.fdatasync.p50_ms + 0.1;
        let (alone, many) = (self.rows[0].response.p50_ms, self.rows[1].response.p50_ms);
        format!(
            "fdatasync p50 {:.3} ms, p99 {:.3} ms\n\
             embedded, one at a time: p50 {alone:.3} ms (target {alone_target_ms:.3}: twice fdatasync and 0.1)\n\
             embedded, {MANY} at once: p50 {many:.3} ms (target {MANY_TARGET_MS})",
            self.fdatasync.p50_ms, self.fdatasync.p99_ms,
        )
    }
}
