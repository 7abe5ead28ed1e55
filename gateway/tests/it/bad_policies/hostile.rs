//! Guests that do what a policy must not, in force while people ask.

use std::time::Duration;

use serde_json::json;

use crate::checker::Exchange;
use crate::crowd::Crowd;
use crate::harness::{Campaign, Gateway, hostile_guests, machine};
use crate::load::{self, Latencies};

/// The pipeline's default, in milliseconds.
const DEADLINE_MS: u64 = 5;
/// What a busy machine adds to a deadline.
const SLACK: Duration = Duration::from_millis(250);
/// How long a policy may delay a request at most.
const DELAY_MAX: Duration = Duration::from_secs(2);
/// Requests a second while a guest misbehaves: a guest that burns its whole deadline takes a quarter
/// of a core at this rate.
const ASKED_PER_SECOND: f64 = 50.0;
const ASKED_FOR: Duration = Duration::from_millis(1500);
/// Other work on the machine can only make answers slower, so the best of a few rounds counts.
const ROUNDS: u64 = 3;
/// Status calls a second beside them: they must not notice.
const OTHERS_PER_SECOND: f64 = 200.0;

/// The hook that a guest is made for, and the failures that it may be metered with.
fn nature(guest: &str) -> (&'static str, &'static [&'static str]) {
    match guest {
        "stall" => ("rate-shaper", &[]),
        "bad-code" => ("user-limit", &["answer"]),
        "flood-string" => ("user-limit", &["memory", "deadline", "circuit_open"]),
        "spin" => ("shard-picker", &["deadline", "circuit_open"]),
        "hoard" => ("shard-picker", &["memory", "deadline", "circuit_open"]),
        "nowhere" => ("shard-picker", &["answer"]),
        "trap" | "trap-sometimes" | "recurse" => ("shard-picker", &["trap"]),
        _ => ("shard-picker", &[]),
    }
}

/// How long status calls take, while somebody else asks.
async fn others_beside<T>(gateway: &Gateway, asking: impl Future<Output = T>) -> Latencies {
    let calls = (OTHERS_PER_SECOND * ASKED_FOR.as_secs_f64()) as u64;
    let call = |_| {
        let client = std::sync::Arc::clone(&gateway.client);
        async move {
            let begun = std::time::Instant::now();
            let answer = client.get("/coupon/issue/00000000-0000-7000-8000-000000000000").await;
            assert_eq!(answer.status, 404);
            begun.elapsed()
        }
    };
    let (latencies, _) = tokio::join!(load::open(OTHERS_PER_SECOND, 0..calls, call), asking);
    Latencies::of(latencies)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_misbehaves_costs_its_own_decision_and_nobody_elses_time() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    let campaign = Campaign::of(100_000, 12);
    let crowd = Crowd::before(&gateway, gateway.create(campaign).await);
    let asked = (ASKED_PER_SECOND * ASKED_FOR.as_secs_f64()) as u64;
    let mut users = 1..;
    let baseline = others_beside(&gateway, crowd.stream(ASKED_PER_SECOND, users.by_ref().take(asked as usize))).await;
    println!("{:16} others {baseline}", "(none)");

    for guest in hostile_guests() {
        let (hook, expected) = nature(&guest);
        gateway.home.install_hostile(&guest);
        let answer = gateway.put_pipeline(json!({ hook: { "policy": guest } })).await;
        if answer.status != 200 {
            assert_eq!(answer.refusal(), (422, "POLICY_REFUSED".to_owned()), "{guest}: {answer}");
            println!("{guest:16} refused: {}", answer.json()["detail"]);
            continue;
        }
        let held = if guest == "stall" { DELAY_MAX } else { Duration::from_millis(DEADLINE_MS) };
        let mut is_within = false;
        for _ in 0..ROUNDS {
            let begun = crowd.history.exchanges().len();
            let people: Vec<u64> = users.by_ref().take(asked as usize).collect();
            let others = others_beside(&gateway, crowd.stream(ASKED_PER_SECOND, people)).await;
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
        gateway.assert_metered(hook, &guest, expected).await;
        gateway.change_pipeline(DEFAULTS.parse().expect("JSON")).await;
    }
    crowd.verdict(&gateway, campaign).await.assert_holds();
}

impl Gateway {
    /// Whether the failures of a guest are metered, and with a fitting reason.
    async fn assert_metered(&self, hook: &str, guest: &str, expected: &[&str]) {
        let metrics = self.metrics().await;
        let labels = [("hook", hook), ("policy", guest)];
        let failures = metrics.sum("sluice_policy_failures_total", &labels);
        let with =
            |reason: &&str| metrics.sum("sluice_policy_failures_total", &[labels[0], labels[1], ("reason", reason)]);
        let fitting: f64 = expected.iter().map(with).sum();
        // A processor that is busy elsewhere can cost any guest its deadline.
        let preempted = with(&"deadline");
        assert!(failures <= fitting + preempted, "{guest}: {failures} failures, {fitting} of them fitting");
        assert!(expected.is_empty() || fitting > 0.0, "{guest}: none of {expected:?}");
    }
}

const DEFAULTS: &str = r#"{
    "rate-shaper": { "policy": "token-bucket" },
    "user-limit": { "policy": "quota" },
    "shard-picker": { "policy": "random" }
}"#;

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_meet_the_trap_does_not_wait_for_those_who_do() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    let coupon = gateway.create(Campaign::of(100_000, 12)).await;
    let is_trapped = |user: &u64| user.is_multiple_of(10);
    let mut is_within = false;
    for round in 0..ROUNDS {
        let people = round * 100_000 + 1..round * 100_000 + 2_000;
        gateway.pick_by("random").await;
        let without = Crowd::before(&gateway, coupon);
        without.stream(1_000.0, people.clone().map(|user| user + 50_000)).await;
        gateway.suffer("shard-picker", "trap-sometimes").await;
        let crowd = Crowd::before(&gateway, coupon);
        crowd.stream(1_000.0, people).await;

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
async fn a_hook_that_refuses_on_failure_answers_503_and_takes_nothing() {
    let gateway = Gateway::start().await;
    gateway.home.install_hostile("trap");
    gateway.change_pipeline(json!({ "shard-picker": { "policy": "trap", "on_failure": "refuse" } })).await;
    let crowd = Crowd::before(&gateway, 104);
    for _ in 0..3 {
        let answer = gateway.client.post("/coupon/issue", crate::harness::payload(1, 104)).await;
        assert_eq!(answer.refusal(), (503, "POLICY_UNAVAILABLE".to_owned()));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    gateway.pick_by("random").await;
    assert!(crowd.ask(1).await.is_accepted(), "what was counted for the user was given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_fails_and_may_be_skipped_lets_everybody_through_to_the_ledger() {
    let gateway = Gateway::start().await;
    gateway.home.install_hostile("bad-code");
    gateway.change_pipeline(json!({ "user-limit": { "policy": "bad-code", "on_failure": "skip" } })).await;
    let campaign = Campaign::of(100, 4);
    let crowd = Crowd::before(&gateway, gateway.create(campaign).await);
    crowd.rush(4, std::iter::repeat_n(1, 5)).await;
    let report = crowd.verdict(&gateway, campaign).await;
    report.assert_holds();
    assert_eq!((report.accepted, report.issued(), report.audit.user_limit), (5, 1, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_leaks_is_replaced_before_the_gateway_grows() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    gateway.suffer("shard-picker", "leak").await;
    let campaign = Campaign::of(100_000, 12);
    let crowd = Crowd::before(&gateway, gateway.create(campaign).await);
    // Each call keeps 64 KiB: without bounds this would be 1.2 GiB.
    crowd.rush(32, 1..=20_000).await;
    let memory = gateway.memory();
    println!("{memory} after 20,000 calls that keep 64 KiB each");
    assert!(memory.peak < 300 << 20, "{memory}");
    crowd.verdict(&gateway, campaign).await.assert_holds();
}
