//! A policy that loops for a few users, and clients that hang up: neither is to cost the others anything.

use std::time::{Duration, Instant};

use serde_json::json;

use super::components::text::{Hook, Text, on_requests};
use crate::crowd::Crowd;
use crate::hang_ups::post_and_hang_up;
use crate::harness::{Campaign, Gateway, machine, soak};
use crate::load;

const CONNECTIONS: usize = 64;
const HANG_UPS_PER_SECOND: f64 = 20.0;
const LOOPS_PER_SECOND: f64 = 1.0;
const LASTS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// The same load without hang-ups and loops, to compare with.
const ALONE_LASTS: Duration = Duration::from_secs(3);
/// A moment of other work on the machine.
const SLACK: Duration = Duration::from_millis(50);
/// A request that waited for a loop, or for a client that has hung up, would wait for seconds, again and again.
const WAIT_MAX: Duration = Duration::from_secs(3);
const DRAINED_WITHIN: Duration = Duration::from_secs(120);

/// The policy picks shard 0.
const CAMPAIGN: Campaign = Campaign::of(100_000_000, 1);
/// The first user that hangs up, and the number of which a user that the policy loops for is a multiple.
const HANGS_UP: u64 = 1 << 32;
const LOOPS: u64 = 1 << 40;

fn loops_for_some() -> Vec<u8> {
    let is_one = format!("(i64.eqz (i64.rem_u (local.get $user) (i64.const {LOOPS})))");
    Text::deciding(&on_requests(&format!("(if {is_one} (then (loop $again (br $again))))")))
        .component(Hook::ShardPicker)
}

/// Users from this one on, until the time is over.
fn users_for(lasts: Duration, first: u64) -> impl Iterator<Item = u64> + Send + 'static {
    let begun = Instant::now();
    (first..).take_while(move |_| begun.elapsed() < lasts)
}

/// All requests were accepted. Returns how many.
fn assert_accepted(crowd: &Crowd) -> u64 {
    let exchanges = crowd.history.exchanges();
    let failed: Vec<_> = exchanges.iter().filter(|exchange| !exchange.reply.is_accepted()).take(3).collect();
    assert!(failed.is_empty(), "{failed:?}");
    exchanges.len() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn hang_ups_and_looping_calls_fail_and_delay_no_other_request() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    let coupon = gateway.create(CAMPAIGN).await;
    gateway.home.install("loops", &loops_for_some());
    gateway.change_pipeline(json!({ "shard-picker": { "policy": "loops", "on_failure": "fallback" } })).await;
    let [alone, others, looping] = std::array::from_fn(|_| Crowd::at(&gateway, coupon));
    alone.send_burst(CONNECTIONS, users_for(ALONE_LASTS, 1)).await;

    let lasts = soak::short_or_long(LASTS.0, LASTS.1);
    let hang_ups = (lasts.as_secs_f64() * HANG_UPS_PER_SECOND) as u64;
    let loops = (lasts.as_secs_f64() * LOOPS_PER_SECOND) as u64;
    let hang_up = |user| {
        let after = Duration::from_micros(user * 37 % 2_000);
        let sending = post_and_hang_up(gateway.http, user, coupon, after);
        async move { sending.await.expect("the gateway runs") }
    };
    tokio::join!(
        others.send_burst(CONNECTIONS, users_for(lasts, HANGS_UP / 2)),
        load::run_open(HANG_UPS_PER_SECOND, HANGS_UP..HANGS_UP + hang_ups, hang_up),
        looping.send_at_rate(LOOPS_PER_SECOND, (1..=loops).map(|number| number * LOOPS)),
    );
    let accepted: u64 = [&alone, &others, &looping].into_iter().map(assert_accepted).sum();
    println!("{hang_ups} hang-ups and {loops} looping calls under {accepted} requests");
    let (alone, others) = (alone.latencies(), others.latencies());
    println!("others without them {alone}; with them {others}; looping calls {}", looping.latencies());
    assert!(others.quantile(0.99) <= alone.quantile(0.99) * 2 + SLACK, "{alone}, then {others}");
    assert!(others.max() <= alone.max() + WAIT_MAX, "{alone}, then {others}");

    let metrics = gateway.metrics().await;
    let failures = |reason| metrics.sum("sluice_policy_failures_total", &[("policy", "loops"), ("reason", reason)]);
    assert!(failures("deadline") >= loops as f64, "{} calls reached their deadline", failures("deadline"));
    assert_eq!(failures("busy"), 0.0, "an instance was free for every call");
    gateway.wait_until_drained(DRAINED_WITHIN).await;
    let audit = gateway.audit(coupon).await;
    assert!((accepted..=accepted + hang_ups).contains(&audit.granted) && audit.balanced, "{audit:?}");
}
