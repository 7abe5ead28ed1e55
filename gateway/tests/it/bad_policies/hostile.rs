//! Hostile policies, active under load.

use std::time::Duration;

use serde_json::json;

use super::others::latencies_during;
use crate::checker::Exchange;
use crate::crowd::Crowd;
use crate::harness::{Campaign, Gateway, hostile_policies, machine};
use crate::load::Latencies;

/// The pipeline's default, in milliseconds.
const DEADLINE_MS: u64 = 5;
/// A busy machine delays answers by up to this.
const SLACK: Duration = Duration::from_millis(250);
/// The longest delay that a rate shaper may ask for.
const DELAY_MAX: Duration = Duration::from_secs(2);
/// At this rate a policy that always runs into its deadline takes a quarter of a core.
const REQUESTS_PER_SECOND: f64 = 50.0;
const ROUND: Duration = Duration::from_millis(1500);
/// Other work on the machine only makes answers slower, so one round within the limit is enough.
const ROUNDS: u64 = 3;

/// The hook that a policy implements, and the failure reasons that are expected of it.
fn hook_and_failures(guest: &str) -> (&'static str, &'static [&'static str]) {
    match guest {
        "stall" => ("rate-shaper", &[]),
        "bad-code" => ("user-limit", &["answer"]),
        "flood-string" => ("user-limit", &["memory", "deadline", "circuit_open"]),
        "spin" => ("shard-picker", &["deadline", "circuit_open"]),
        "hoard" => ("shard-picker", &["memory", "deadline", "circuit_open"]),
        "nowhere" => ("shard-picker", &["answer"]),
        "trap" | "recurse" => ("shard-picker", &["trap", "busy", "circuit_open"]),
        "trap-sometimes" => ("shard-picker", &["trap"]),
        _ => ("shard-picker", &[]),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_policy_fails_only_its_own_decisions_and_delays_no_other_call() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    let campaign = Campaign::of(100_000, 12);
    let crowd = Crowd::at(&gateway, gateway.create(campaign).await);
    let requests = (REQUESTS_PER_SECOND * ROUND.as_secs_f64()) as u64;
    let mut users = 1..;
    let alone = crowd.send_at_rate(REQUESTS_PER_SECOND, users.by_ref().take(requests as usize));
    let (baseline, ()) = latencies_during(&gateway, alone).await;
    println!("{:16} others {baseline}", "(none)");

    for guest in hostile_policies() {
        let (hook, expected) = hook_and_failures(&guest);
        gateway.home.install_hostile(&guest);
        let answer = gateway.put_pipeline(json!({ hook: { "policy": guest, "on_failure": "fallback" } })).await;
        if answer.status != 200 {
            assert_eq!(answer.refusal(), (422, "POLICY_REFUSED".to_owned()), "{guest}: {answer}");
            println!("{guest:16} refused: {}", answer.json()["detail"]);
            continue;
        }
        let held = if guest == "stall" { DELAY_MAX } else { Duration::from_millis(DEADLINE_MS) };
        let mut is_within = false;
        for _ in 0..ROUNDS {
            let begun = crowd.history.exchanges().len();
            let batch: Vec<u64> = users.by_ref().take(requests as usize).collect();
            let (others, ()) = latencies_during(&gateway, crowd.send_at_rate(REQUESTS_PER_SECOND, batch)).await;
            let exchanges = crowd.history.exchanges().split_off(begun);
            assert!(exchanges.iter().all(|exchange| exchange.reply.is_accepted()), "{guest}: {exchanges:?}");
            let own = Latencies::of(exchanges.iter().map(|exchange| exchange.took));
            println!("{guest:16} own {own}; others {others}");
            is_within = own.max() <= held + SLACK && others.quantile(0.99) <= baseline.quantile(0.99) * 2 + SLACK;
            if is_within {
                break;
            }
        }
        assert!(is_within, "{guest}: in none of {ROUNDS} rounds; others without it {baseline}");
        gateway.assert_failures_counted(hook, &guest, expected).await;
        gateway.change_pipeline(DEFAULTS.parse().expect("JSON")).await;
    }
    crowd.verify(&gateway, campaign).await.assert_holds();
}

impl Gateway {
    /// Failures must be counted under an expected reason.
    async fn assert_failures_counted(&self, hook: &str, guest: &str, expected: &[&str]) {
        let metrics = self.metrics().await;
        let labels = [("hook", hook), ("policy", guest)];
        let failures = metrics.sum("sluice_policy_failures_total", &labels);
        let with =
            |reason: &&str| metrics.sum("sluice_policy_failures_total", &[labels[0], labels[1], ("reason", reason)]);
        let fitting: f64 = expected.iter().map(with).sum();
        // On a busy machine any policy may miss its deadline, several times in a row, or use more than its share of time.
        let preempted: f64 = ["deadline", "circuit_open", "over_budget"]
            .iter()
            .filter(|reason| !expected.contains(reason))
            .map(with)
            .sum();
        assert!(failures <= fitting + preempted, "{guest}: {failures} failures, {fitting} of them expected");
        assert!(expected.is_empty() || fitting > 0.0, "{guest}: none of {expected:?}");
    }
}

const DEFAULTS: &str = r#"{
    "rate-shaper": { "policy": "token-bucket" },
    "user-limit": { "policy": "quota" },
    "shard-picker": { "policy": "random" }
}"#;

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_trap_are_not_delayed_by_requests_with_one() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    let coupon = gateway.create(Campaign::of(100_000, 12)).await;
    let is_trapped = |user: &u64| user.is_multiple_of(10);
    let mut is_within = false;
    for round in 0..ROUNDS {
        let batch = round * 100_000 + 1..round * 100_000 + 2_000;
        gateway.set_shard_picker("random").await;
        let without = Crowd::at(&gateway, coupon);
        without.send_at_rate(1_000.0, batch.clone().map(|user| user + 50_000)).await;
        gateway.activate_hostile("shard-picker", "trap-sometimes").await;
        let crowd = Crowd::at(&gateway, coupon);
        crowd.send_at_rate(1_000.0, batch).await;

        let exchanges = crowd.history.exchanges();
        assert!(exchanges.iter().all(|exchange| exchange.reply.is_accepted()), "{exchanges:?}");
        let (trapped, others): (Vec<_>, Vec<_>) = exchanges.iter().partition(|exchange| is_trapped(&exchange.user));
        let latencies = |of: Vec<&Exchange>| Latencies::of(of.iter().map(|exchange| exchange.took));
        let (without, others) = (without.latencies(), latencies(others));
        println!("without traps {without}; others {others}; trapped {}", latencies(trapped));
        is_within |= others.quantile(0.99) <= without.quantile(0.99) * 2 + Duration::from_millis(20);
    }
    assert!(is_within, "in none of {ROUNDS} rounds");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_is_reported_once_with_its_message_and_the_facts_of_the_call() {
    const FAILED: &str = "policy gave no decision; repeats are only counted in sluice_policy_failures_total";
    let mut gateway = Gateway::start().await;
    gateway.activate_hostile("shard-picker", "trap").await;
    let crowd = Crowd::at(&gateway, 104);
    crowd.send_burst(1, 41..=44).await;
    let pipeline = gateway.pipeline().await;
    // Only the log of a process that has ended is complete.
    let log = gateway.stop().await;
    let logged: Vec<_> = log.iter().filter(|line| line["message"] == FAILED && line["reason"] == "trap").collect();
    assert_eq!(logged.len(), 1, "{logged:?}");
    let shown = &pipeline["hooks"]["shard-picker"]["failures"][0];
    for report in [logged[0], shown] {
        let text = |key: &str| report[key].as_str().unwrap_or_else(|| panic!("{key} is missing: {report}"));
        assert_eq!(text("reason"), "trap");
        let panicked = "panicked at hostile/examples/trap.rs:11:5: a trap (at module offset 0x";
        assert!(text("detail").starts_with(panicked), "{report}");
        assert!(text("facts").contains("user_id: 41"), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_failure_refuse_answers_503_and_releases_the_reservation() {
    let gateway = Gateway::start().await;
    gateway.home.install_hostile("trap");
    gateway.change_pipeline(json!({ "shard-picker": { "policy": "trap", "on_failure": "refuse" } })).await;
    let crowd = Crowd::at(&gateway, 104);
    for _ in 0..3 {
        let answer = gateway.client.post("/coupon/issue", crate::harness::payload(1, 104)).await;
        assert_eq!(answer.refusal(), (503, "POLICY_UNAVAILABLE".to_owned()));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    gateway.set_shard_picker("random").await;
    assert!(crowd.request(1).await.is_accepted(), "the reservation was released");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_failure_skip_leaves_the_limit_to_the_ledger() {
    let gateway = Gateway::start().await;
    gateway.home.install_hostile("bad-code");
    gateway.change_pipeline(json!({ "user-limit": { "policy": "bad-code", "on_failure": "skip" } })).await;
    let campaign = Campaign::of(100, 4);
    let crowd = Crowd::at(&gateway, gateway.create(campaign).await);
    crowd.send_burst(4, std::iter::repeat_n(1, 5)).await;
    let report = crowd.verify(&gateway, campaign).await;
    report.assert_holds();
    assert_eq!((report.accepted, report.issued(), report.audit.user_limit), (5, 1, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_of_a_leaking_policy_is_replaced_before_memory_grows() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    gateway.activate_hostile("shard-picker", "leak").await;
    let campaign = Campaign::of(100_000, 12);
    let crowd = Crowd::at(&gateway, gateway.create(campaign).await);
    // Each call leaks 64 KiB, 1.2 GiB in all.
    crowd.send_burst(32, 1..=20_000).await;
    let memory = gateway.memory();
    println!("{memory} after 20,000 calls that leak 64 KiB each");
    assert!(memory.peak < 300 << 20, "{memory}");
    crowd.verify(&gateway, campaign).await.assert_holds();
}
