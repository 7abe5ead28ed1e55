//! Guests that do what a policy must not, in force while people ask.

use std::time::Duration;

use serde_json::json;

use crate::crowd::Crowd;
use crate::harness::{Campaign, Gateway, hostile_guests, turn};
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
/// Status calls a second beside them: they must not notice.
const OTHERS_PER_SECOND: f64 = 200.0;

/// The hook that a guest is made for, and the failure that is metered; `None` where it does not fail.
fn nature(guest: &str) -> (&'static str, Option<&'static str>) {
    match guest {
        "stall" => ("rate-shaper", None),
        "bad-code" => ("user-limit", Some("answer")),
        "flood-string" => ("user-limit", Some("memory")),
        "spin" => ("shard-picker", Some("deadline")),
        "hoard" => ("shard-picker", Some("memory")),
        "nowhere" => ("shard-picker", Some("answer")),
        "trap" | "trap-sometimes" | "recurse" => ("shard-picker", Some("trap")),
        _ => ("shard-picker", None),
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
    let _turn = turn::alone().await;
    let gateway = Gateway::start().await;
    let campaign = Campaign::of(100_000, 12);
    let crowd = Crowd::before(&gateway, gateway.create(campaign).await);
    let asked = (ASKED_PER_SECOND * ASKED_FOR.as_secs_f64()) as u64;
    let mut users = 1..;
    let baseline = others_beside(&gateway, crowd.stream(ASKED_PER_SECOND, users.by_ref().take(asked as usize))).await;
    println!("{:16} others {baseline}", "(none)");

    for guest in hostile_guests() {
        let (hook, failure) = nature(&guest);
        gateway.home.install_hostile(&guest);
        let answer = gateway.put_pipeline(json!({ hook: { "policy": guest } })).await;
        if answer.status != 200 {
            assert_eq!(answer.refusal(), (422, "POLICY_REFUSED".to_owned()), "{guest}: {answer}");
            println!("{guest:16} refused: {}", answer.json()["detail"]);
            continue;
        }
        let begun = crowd.history.exchanges().len();
        let people: Vec<u64> = users.by_ref().take(asked as usize).collect();
        let others = others_beside(&gateway, crowd.stream(ASKED_PER_SECOND, people)).await;
        let exchanges = crowd.history.exchanges().split_off(begun);
        let own = Latencies::of(exchanges.iter().map(|exchange| exchange.took));
        println!("{guest:16} own {own}; others {others}");

        assert!(exchanges.iter().all(|exchange| exchange.reply.is_accepted()), "{guest}: {exchanges:?}");
        let held = if guest == "stall" { DELAY_MAX } else { Duration::from_millis(DEADLINE_MS) };
        assert!(own.max() <= held + SLACK, "{guest}: {own}");
        let twice = baseline.quantile(0.99) * 2;
        assert!(others.quantile(0.99) <= twice + SLACK, "{guest}: {others}, {baseline} without it");
        let labels = [("hook", hook), ("policy", &*guest)];
        let failures = gateway.metrics().await;
        match failure {
            Some(reason) => {
                let labels = [labels[0], labels[1], ("reason", reason)];
                assert!(failures.sum("sluice_policy_failures_total", &labels) > 0.0, "{guest} {reason}");
            }
            None => assert_eq!(failures.sum("sluice_policy_failures_total", &labels), 0.0, "{guest}"),
        }
        gateway.change_pipeline(DEFAULTS.parse().expect("JSON")).await;
    }
    crowd.verdict(&gateway, campaign).await.assert_holds();
}

const DEFAULTS: &str = r#"{
    "rate-shaper": { "policy": "token-bucket" },
    "user-limit": { "policy": "quota" },
    "shard-picker": { "policy": "random" }
}"#;

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_meet_the_trap_does_not_wait_for_those_who_do() {
    let _turn = turn::alone().await;
    let gateway = Gateway::start().await;
    let campaign = Campaign::of(100_000, 12);
    let coupon = gateway.create(campaign).await;
    // One user in ten meets the trap; here it is one in ten of the second crowd only.
    let untouched = |user: &u64| !user.is_multiple_of(10);
    let before = Crowd::before(&gateway, coupon);
    before.stream(1_000.0, (1..4_000).filter(untouched)).await;
    gateway.suffer("shard-picker", "trap-sometimes").await;
    let after = Crowd::before(&gateway, coupon);
    after.stream(1_000.0, 10_001..14_000).await;

    let of = |crowd: &Crowd, trapped: bool| {
        let exchanges = crowd.history.exchanges();
        let of_kind = exchanges.iter().filter(|exchange| untouched(&exchange.user) != trapped);
        Latencies::of(of_kind.map(|exchange| exchange.took))
    };
    let (without, others, trapped) = (of(&before, false), of(&after, false), of(&after, true));
    println!("without traps {without}; others {others}; trapped {trapped}");
    assert!(others.quantile(0.99) <= without.quantile(0.99) * 2 + SLACK, "{others}, {without} without traps");
    assert!(after.history.exchanges().iter().all(|exchange| exchange.reply.is_accepted()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_refuses_on_failure_answers_503_and_takes_nothing() {
    let _turn = turn::together().await;
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
    let _turn = turn::together().await;
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
    let _turn = turn::alone().await;
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
