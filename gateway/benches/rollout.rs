//! What recorded decisions and rollouts cost on the accept path: a gateway that records nothing, compared with one that
//! records 1 % of its decisions, one whose candidate shadows all requests, and one whose candidate serves 10 % of the
//! users.
//!
//! The four gateways take turns under the same load from this process. The ratios are of medians.

mod common;

use common::crowd::Crowd;
use common::load::flood;
use common::{CONNECTIONS, Server, median, trial};
use serde_json::{Value, json};

const ROUNDS: usize = 8;
const SECONDS: u64 = 3;
/// Name and target of the gateways after the first.
const SUBJECTS: [(&str, f64); 3] = [("1 % recorded", 0.97), ("shadow", 0.9), ("canary of 10 %", 0.98)];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(compare());
}

async fn compare() {
    let gateway =
        |sample| Server::sluice("all", &[("DECISIONS__SAMPLE", sample), ("DECISIONS__SAMPLE_REFUSALS", sample)]);
    let gateways = [gateway("0"), gateway("0.01"), gateway("0"), gateway("0")];
    for gateway in &gateways {
        gateway.open_campaign().await;
    }
    roll_out(&gateways[2], json!({ "shadow": true })).await;
    roll_out(&gateways[3], json!({ "shadow": false, "canaryPercent": 10 })).await;
    let mut crowd = Crowd::strangers();
    let mut rates = [const { Vec::new() }; 4];
    for round in 0..trial::rounds(ROUNDS) {
        // Each goes first as often as last.
        for turn in 0..gateways.len() {
            let which = (round + turn) % gateways.len();
            rates[which].push(measure(&gateways[which], &mut crowd).await);
        }
    }
    let [plain, others @ ..] = rates.map(median);
    println!("nothing recorded, no rollout {plain:8.0}/s");
    for ((name, target), rate) in SUBJECTS.into_iter().zip(others) {
        println!("{name:28} {rate:8.0}/s   {:.3} of it (target {target})", rate / plain);
    }
}

/// All three hooks change, and no guard ends it.
async fn roll_out(gateway: &Server, mut rollout: Value) {
    rollout["hooks"] = json!({
        "rate-shaper": { "deadline_ms": 6 }, "user-limit": { "deadline_ms": 6 }, "shard-picker": { "policy": "weighted" },
    });
    rollout["guards"] = json!({
        "failures": 1, "fallbacks": 1, "refusals": 1, "divergence": 1, "spread": 1, "callP99Ratio": 1000,
    });
    let url = gateway.admin_url("/admin/rollouts");
    let answer = reqwest::Client::new().post(url).json(&rollout).send().await.expect("answers");
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap_or_default());
}

/// Accepted requests per second. What a gateway has accepted, it settles before the next one is measured.
async fn measure(gateway: &Server, crowd: &mut Crowd) -> f64 {
    let settled_before = gateway.settled().await;
    let measured = flood(gateway.http.expect("it listens"), CONNECTIONS, trial::seconds(SECONDS), crowd);
    gateway.until_settled(settled_before + measured.responses.count() as f64).await;
    measured.per_second()
}
