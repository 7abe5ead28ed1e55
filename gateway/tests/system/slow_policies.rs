//! A policy that starts slowly delays only itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use reqwest::Method;
use sluice::config::Role;
use sluice::ledger::{GenerationRow, Ledger};
use sluice::policy::Digest;

use crate::faulty::{FaultyLedger, LedgerFaults};
use crate::harness::{Files, Fixture, eventually, replace_ledger};

/// A shard picker by its export. Its start never ends, so that it is stopped after a second.
const STARTS_FOR_EVER: &str = r#"(component
    (core module $m (func $spin (loop (br 0))) (start $spin) (func (export "pick") (result i32) i32.const 0))
    (core instance $i (instantiate $m))
    (func $pick (result u32) (canon lift (core func $i "pick")))
    (export "pick" (func $pick)))"#;

/// Publishes the active pipeline with another shard picker, as another gateway does.
async fn publish(ledger: &dyn Ledger, picker: Vec<u8>) {
    let newest = ledger.generations(None, 1).await.expect("reads").remove(0);
    let record: serde_json::Value = serde_json::from_str(&newest.pipeline).expect("JSON");
    let digest = Digest::of(&picker).to_string();
    let pipeline = newest.pipeline.replace(record["digests"][2].as_str().expect("a digest"), &digest);
    let row = GenerationRow { number: newest.number + 1, pipeline, ..newest };
    assert!(ledger.publish_generation(&row, &[(digest, picker.into())]).await.expect("publishes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_and_offsets_are_polled_while_a_policy_of_another_gateway_starts_slowly() {
    let faults = Arc::new(LedgerFaults::default());
    faults.is_shared.store(true, Ordering::Relaxed);
    let mut shared = None;
    let system = Fixture::with(
        Files::new(),
        |config| config.role = Role::Gateway,
        |ports| {
            let ports = replace_ledger(ports, |ledger| FaultyLedger::wrap(ledger, &faults));
            shared = Some(Arc::clone(&ports.ledger));
            ports
        },
    )
    .await;
    publish(&*shared.expect("a ledger"), wat::parse_str(STARTS_FOR_EVER).expect("valid WebAssembly text")).await;
    let before = faults.offset_reads.load(Ordering::Relaxed);
    eventually("the generation is not loaded", async || {
        let pipeline = system.operate(Method::GET, "/admin/pipeline", None).await.body;
        pipeline["notLoaded"]["error"].is_string().then_some(())
    })
    .await;
    let reads = faults.offset_reads.load(Ordering::Relaxed) - before;
    // Four times a second; a poller that waits for the policy reads once.
    assert!(reads >= 3, "{reads}");
    system.stop().await;
}
