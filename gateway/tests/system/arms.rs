//! The arm of a rollout, from the log record to the outcome.

use std::sync::Arc;

use serde_json::{Value, json};
use sluice::app::Ports;
use sluice::coupon::{PartitionNo, RequestId};
use sluice::log::{Headers, Log, Record};

use crate::harness::{Files, Fixture};

/// Appends what a gateway appends for a user of the canary, and returns its status URL.
async fn accept_in_canary(log: &dyn Log, user: u64) -> String {
    let request_id = RequestId::new();
    let request = json!({ "userId": user, "couponId": 104, "policyId": 21, "terms": { "typeSnapshot": "FIXED" } });
    let accepted = json!({
        "requestId": request_id, "arrivedAtMs": 1, "shardNo": 0, "generation": 2, "arm": "canary", "request": request,
    });
    let value = accepted.to_string().into_bytes();
    let record = Record { key: "104:0".to_owned(), headers: Headers::default(), value };
    let offset = log.append(PartitionNo(0), record).expect("has room").await.expect("is durable");
    format!("/coupon/issue/{request_id}?partition=0&offset={offset}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_and_its_line_of_an_export_name_the_arm_if_it_is_the_canary() {
    let mut log = None;
    let keep = |ports: Ports| {
        log = Some(Arc::clone(&ports.log));
        ports
    };
    let system = Fixture::with(Files::new(), |config| config.log.partitions = 1, keep).await;
    let active = system.outcome(&system.accepted(1).await).await;
    let canary = accept_in_canary(&*log.take().expect("kept"), 2).await;
    let canary = system.outcome(&canary).await;
    assert_eq!((&active["status"], active.get("arm")), (&"ISSUED".into(), None));
    assert_eq!((&canary["status"], canary.get("arm")), (&"ISSUED".into(), Some(&"canary".into())));
    let exported = system.export(104).await;
    let arms: Vec<Option<&Value>> = exported.iter().map(|line| line.get("arm")).collect();
    assert_eq!(arms, [None, Some(&"canary".into())]);
    system.stop().await;
}
