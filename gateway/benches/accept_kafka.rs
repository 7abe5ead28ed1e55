//! The accept path on Kafka compared with a bare producer: the share of the brokers' throughput that remains when three
//! policies decide and requests come over HTTP.
//!
//! Both keep the same number of requests in flight, alternate on topics of the same shape, and wait for all in-sync
//! replicas. The servers are those of `infra/native/services`.

mod common;

use common::crowd::Crowd;
use common::distributed::Stage;
use common::load::{Pace, flood};
use common::producer::BareProducer;
use common::{CONNECTIONS, Server, median, trial};

const ROUNDS: usize = 6;
const SECONDS: u64 = 3;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(compare());
}

async fn compare() {
    let [for_gateway, for_producer] = [Stage::create().await, Stage::create().await];
    let variables = for_gateway.variables(None);
    let gateway = Server::sluice("gateway", &variables.each_ref().map(|(name, value)| (*name, value.as_str())));
    gateway.open_campaign().await;
    let (http, producer) = (gateway.http.expect("a gateway listens"), BareProducer::new(for_producer.topic()));
    let (mut crowd, lasts) = (Crowd::strangers(), trial::seconds(SECONDS));
    let mut request = || {
        let measured = flood(http, CONNECTIONS, lasts, &mut crowd);
        println!("  gateway  {:8.0}/s   {}", measured.per_second(), measured.cost());
        measured.per_second()
    };
    let (pace, mut other_crowd) = (Pace::Closed { connections: CONNECTIONS }, Crowd::strangers());
    let mut produce = || {
        let rate = producer.produce(pace, lasts, &mut other_crowd).per_second();
        println!("  producer {rate:8.0}/s");
        rate
    };
    // A warm-up: the first records of a topic wait for the election of leaders.
    request();
    produce();
    let [mut gateway_rates, mut producer_rates] = [Vec::new(), Vec::new()];
    for round in 0..trial::rounds(ROUNDS) {
        for position in 0..2 {
            if (round + position) % 2 == 0 { gateway_rates.push(request()) } else { producer_rates.push(produce()) }
        }
    }
    let [gateway_rate, producer_rate] = [gateway_rates, producer_rates].map(median);
    println!("bare producer, {CONNECTIONS} records in flight      {producer_rate:8.0}/s");
    println!(
        "gateway, {CONNECTIONS} connections                 {gateway_rate:8.0}/s   {:.2} of it (target 1.50)",
        gateway_rate / producer_rate
    );
    drop(gateway);
    for_gateway.delete().await;
    for_producer.delete().await;
}
