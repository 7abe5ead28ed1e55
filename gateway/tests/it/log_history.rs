//! Kafka keeps the history that the ledger relies on, or the operator learns what is missing.

use std::time::Duration;

use serde_json::json;

use crate::crowd::Crowd;
use crate::harness::{Campaign, Cluster, Gateway, Home, Launch, Process, eventually, free_address};

const WITHIN: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn requests_deleted_from_kafka_stop_only_their_partition_until_they_are_skipped() {
    let mut cluster = Cluster::start(1, 0).await;
    let coupon = cluster.gateways[0].create(Campaign::of(1_000, 12)).await;
    Crowd::at(&cluster.gateways[0], coupon).send_burst(16, 1..=240).await;
    cluster.topic().delete_records_before(0, 2).await;
    cluster.add_consumer().await;
    let consumer = &cluster.consumers[0];

    let stopped = async || {
        let ready = consumer.operator.get("/readyz").await;
        (ready.status == 503 && ready.json()["settlement"] != "ok").then(|| ready.json()["settlement"].to_string())
    };
    let reason = eventually("readiness fails", WITHIN, stopped).await;
    assert!(reason.contains("partition 0 of the log lacks the offsets [0, 2)"), "{reason}");
    let settled = async || {
        let metrics = consumer.metrics().await;
        let lag = |partition: u32| metrics.value("sluice_log_lag_records", &[("partition", &*partition.to_string())]);
        ((1..12).all(|partition| lag(partition) == 0.0) && lag(0) > 0.0).then_some(())
    };
    eventually("the other partitions are settled", WITHIN, settled).await;

    let skip = json!({ "partition": 0, "from": 0, "to": 2 }).to_string();
    let answer = cluster.gateways[0].operator.post("/admin/log/skip", skip).await;
    assert_eq!(answer.status, 200, "{answer}");
    let is_ready = async || (consumer.operator.get("/readyz").await.status == 200).then_some(());
    eventually("the partition continues", WITHIN, is_ready).await;
    cluster.gateways[0].wait_until_drained(WITHIN).await;
    assert_eq!(cluster.gateways[0].audit(coupon).await.granted, 238);
    cluster.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sqlite_ledger_does_not_settle_a_topic() {
    let cluster = Cluster::start(0, 0).await;
    let [(log, url), (group, name)] = cluster.log_variables();
    let variables = [(log, url.as_str()), (group, name.as_str())];
    let mut first = Gateway::with(&variables).await;
    let second = Home::new(free_address(), free_address());
    let serve = Launch::with(&variables).command(second.path(), &["serve", "--config", "sluice.toml"]);
    let ended = Process::run(serve, WITHIN).await;
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.stderr.contains("is settled by another ledger"), "{ended}");
    first.stop().await;
    cluster.tear_down().await;
}
