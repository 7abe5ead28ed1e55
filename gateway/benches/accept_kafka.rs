//! The accept path on Kafka compared with a bare producer: the share of the brokers' throughput that remains when three
//! policies decide and requests come over HTTP.
//!
//! Both keep one request in flight per connection, alternate on topics of the same shape, and wait for all in-sync
//! replicas. The servers are those of `infra/native/services`.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::distributed::{BROKERS, Stage};
use common::{CONNECTIONS, ROUND, Server, body, load, median};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};

const ROUNDS: usize = 6;
const PARTITIONS: u64 = 12;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(compare());
}

async fn compare() {
    let users = Arc::new(AtomicU64::new(1));
    let [for_gateway, for_producer] = [Stage::create().await, Stage::create().await];
    let variables = for_gateway.variables(None);
    let gateway = Server::sluice("gateway", &variables.each_ref().map(|(name, value)| (*name, value.as_str())));
    gateway.open_campaign().await;
    let http = gateway.http.expect("a gateway listens");
    // The settings that affect durability and batching are the gateway's; the rest are defaults.
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", BROKERS)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "2")
        .create()
        .expect("a producer");

    // A warm-up: the first records of a topic wait for the election of leaders.
    load(http, &users).await;
    produce(&producer, for_producer.topic(), &users).await;
    let [mut gateway_rates, mut producer_rates] = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        for position in 0..2 {
            if (round + position) % 2 == 0 {
                gateway_rates.push(load(http, &users).await);
            } else {
                producer_rates.push(produce(&producer, for_producer.topic(), &users).await);
            }
        }
    }
    println!("bare producer: {producer_rates:.0?}/s\ngateway:       {gateway_rates:.0?}/s");
    let [gateway_rate, producer_rate] = [gateway_rates, producer_rates].map(median);
    println!("bare producer, {CONNECTIONS} records in flight      {producer_rate:8.0}/s");
    println!(
        "gateway, {CONNECTIONS} connections                 {gateway_rate:8.0}/s   {:.2} of it (target 0.80)",
        gateway_rate / producer_rate
    );
    drop(gateway);
    for_gateway.delete().await;
    for_producer.delete().await;
}

/// Appends the same bodies for one round; records a second.
async fn produce(producer: &FutureProducer, topic: &str, users: &Arc<AtomicU64>) -> f64 {
    let begun = Instant::now();
    let appending = (0..CONNECTIONS).map(|_| {
        let (producer, topic, users) = (producer.clone(), topic.to_owned(), Arc::clone(users));
        tokio::spawn(async move {
            let mut appended = 0;
            while begun.elapsed() < ROUND {
                let user = users.fetch_add(1, Ordering::Relaxed);
                let (key, payload) = (format!("7:{}", user % PARTITIONS), body(user));
                let partition = i32::try_from(user % PARTITIONS).expect("a partition");
                let record = FutureRecord::to(&topic).partition(partition).key(&key).payload(&payload);
                producer.send(record, Duration::from_secs(15)).await.expect("is durable");
                appended += 1;
            }
            appended
        })
    });
    let mut appended = 0;
    for task in appending.collect::<Vec<_>>() {
        appended += task.await.expect("the task does not panic");
    }
    f64::from(appended) / begun.elapsed().as_secs_f64()
}
