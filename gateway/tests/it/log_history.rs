//! Kafka keeps the history that the ledger relies on, or the operator learns what is missing.

use std::time::Duration;

use serde_json::json;

use crate::crowd::Crowd;
use crate::harness::{Campaign, Cluster, Home, Launch, Process, eventually, free_address};

const WITHIN: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn requests_deleted_from_kafka_stop_only_their_partitions_until_they_are_skipped() {
    let mut cluster = Cluster::start(1, 0).await;
    let coupon = cluster.gateways[0].create(Campaign::of(1_000, 12)).await;
    Crowd::at(&cluster.gateways[0], coupon).send_burst(16, 1..=240).await;
    cluster.topic().delete_records_before(0, 2).await;
    // All of this partition: nothing is behind its gap.
    let log = cluster.gateways[0].operator.get("/admin/log").await.json();
    let end = log["partitions"][1]["endOffset"].as_u64().expect("an offset");
    cluster.topic().delete_records_before(1, end.cast_signed()).await;
    cluster.add_consumer().await;
    let consumer = &cluster.consumers[0];

    let stopped = async || {
        let ready = consumer.operator.get("/readyz").await;
        let reason = ready.json()["settlement"].to_string();
        (ready.status == 503 && reason.contains("partition 0 of the log lacks the offsets [0, 2)")).then_some(())
    };
    eventually("readiness fails", WITHIN, stopped).await;
    let settled = async || {
        let metrics = consumer.metrics().await;
        let lag = |partition: u32| metrics.value("sluice_log_lag_records", &[("partition", &*partition.to_string())]);
        ((2..12).all(|partition| lag(partition) == 0.0) && lag(0) > 0.0).then_some(())
    };
    eventually("the other partitions are settled", WITHIN, settled).await;

    for (partition, to) in [(0, 2), (1, end)] {
        let skip = json!({ "partition": partition, "from": 0, "to": to }).to_string();
        let answer = cluster.gateways[0].operator.post("/admin/log/skip", skip).await;
        assert_eq!(answer.status, 200, "{answer}");
    }
    let is_ready = async || (consumer.operator.get("/readyz").await.status == 200).then_some(());
    eventually("the partitions continue", WITHIN, is_ready).await;
    cluster.gateways[0].wait_until_drained(WITHIN).await;
    assert_eq!(cluster.gateways[0].audit(coupon).await.granted, 238 - end);
    cluster.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_ledger_does_not_settle_a_topic() {
    let cluster = Cluster::start(0, 0).await;
    let [(log, url), (group, name)] = cluster.log_variables();
    let variables = [(log, url.as_str()), (group, name.as_str())];
    let home = Home::new(free_address(), free_address());
    for (arguments, code) in
        [(&["serve", "--config", "sluice.toml"][..], 1), (&["config", "check", "--config", "sluice.toml"], 2)]
    {
        let ended = Process::run(Launch::with(&variables).command(home.path(), arguments), WITHIN).await;
        assert_eq!(ended.code, Some(code), "{ended}");
        assert!(ended.stderr.contains("is for one process, but log.url names a topic"), "{ended}");
    }
    cluster.tear_down().await;
}
