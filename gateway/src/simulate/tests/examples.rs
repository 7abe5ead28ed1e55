use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::{EMBEDDED, SERVERS, picker, predict, scenario};
use crate::simulate::{Speed, System};

fn counts<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
    counts.into_iter().map(|(code, count)| (code.to_owned(), count)).collect()
}

/// Ten users ask for three coupons, one every 100 ms from 0 on.
fn ten_for_three() -> crate::simulate::Scenario {
    let load = json!({ "executor": "constant-arrival-rate", "rate": 10, "duration": "1s" });
    scenario(json!({ "load": load, "crowd": { "users": 10 }, "total": 3, "shards": 1 }))
}

fn with_transactions_of(transaction: Duration) -> System {
    let speed = Speed { append: Duration::from_millis(10), transaction, record: Duration::from_millis(5) };
    System { speed, ..EMBEDDED }
}

#[test]
fn requests_after_the_last_settled_coupon_are_refused() {
    // Durable at 10, 110 and 210 ms, settled 55 ms later: at 300 ms, no stock is left.
    let system = with_transactions_of(Duration::from_millis(50));
    let prediction = predict(&ten_for_three(), &system, picker("random"), 1);
    assert_eq!(prediction.refused, counts([("SOLD_OUT", 7)]));
    let outcomes = prediction.outcomes;
    assert_eq!((outcomes.accepted, outcomes.granted, outcomes.rejected.len()), (3, 3, 0));
    assert_eq!((prediction.peak_lag_records, outcomes.drain_ms), (1, 0));
}

#[test]
fn requests_that_wait_longer_than_the_stock_lasts_are_rejected() {
    // The first is settled from 10 to 1015 ms. By then the other nine are durable, the last one at 910 ms. Their
    // transaction grants two and finds the shard empty: it takes 1010 ms, until 2025. The next one reads all shards and
    // rejects seven: it takes 1035 ms, until 3060.
    let system = with_transactions_of(Duration::from_secs(1));
    let prediction = predict(&ten_for_three(), &system, picker("random"), 1);
    let outcomes = prediction.outcomes;
    assert_eq!((outcomes.accepted, outcomes.granted), (10, 3));
    assert_eq!(outcomes.rejected, [("SOLD_OUT", 7)].into());
    assert_eq!((prediction.peak_lag_records, outcomes.drain_ms), (10, 3060 - 910));
    assert_eq!((outcomes.refused_users, outcomes.inverted_users), (7, 0));
}

/// The drain of ten records in ten partitions: from 910 ms on, when the last one is durable.
fn drain_of_ten_partitions(system: &System) -> u64 {
    let load = json!({ "executor": "constant-arrival-rate", "rate": 10, "duration": "1s" });
    let ten = scenario(json!({ "load": load, "crowd": { "users": 10 } }));
    predict(&ten, system, picker("round-robin"), 1).outcomes.drain_ms
}

#[test]
fn partitions_that_wait_for_the_writer_share_a_transaction_up_to_its_most_records() {
    // The first is settled from 10 to 1015 ms. The other nine share a transaction of 1045 ms.
    let system = with_transactions_of(Duration::from_secs(1));
    assert_eq!(drain_of_ten_partitions(&system), 1015 + 1045 - 910);
    // In transactions of four, four and one.
    let small = System { batch_records_max: 4, ..system.clone() };
    assert_eq!(drain_of_ten_partitions(&small), 1015 + 1020 + 1020 + 1005 - 910);
    // Each has its own, the last one from 910 ms on.
    let server = System { transactions_max: 12, ..system };
    assert_eq!(drain_of_ten_partitions(&server), 1005);
}

#[test]
fn round_robin_picks_all_shards_equally_often() {
    let prediction = predict(&scenario(json!({ "total": 1200 })), &EMBEDDED, picker("round-robin"), 1);
    assert_eq!((prediction.outcomes.accepted, prediction.outcomes.granted), (400, 400));
    assert!(prediction.outcomes.picked.iter().all(|picked| [33, 34].contains(picked)), "{prediction:?}");
}

#[test]
fn a_single_shard_has_no_skew_no_steals_and_no_inversions() {
    for system in [EMBEDDED, SERVERS] {
        let outcomes = predict(&scenario(json!({ "shards": 1 })), &system, picker("random"), 1).outcomes;
        assert_eq!((outcomes.skew_percent, outcomes.steals), (0.0, 0));
        assert_eq!((outcomes.inverted_users, outcomes.displaced_coupons), (0, 0));
        assert_eq!((outcomes.granted, outcomes.refused_users), (100, 300));
    }
}

#[test]
fn a_slow_partition_lets_later_users_overtake() {
    let slow = System { slow_partition: 500.0, ..SERVERS };
    let inverted =
        |system: &System| predict(&scenario(json!({})), system, picker("round-robin"), 1).outcomes.inverted_users;
    let (even, slow) = (inverted(&SERVERS), inverted(&slow));
    assert!(slow > even, "{slow} with a slow partition, {even} without");
}

#[test]
fn a_flooded_partition_lags_and_its_requests_are_not_counted() {
    let flood = json!({ "executor": "constant-arrival-rate", "rate": 5000, "duration": "2s" });
    let system = System { speed: Speed { record: Duration::from_micros(500), ..Speed::SERVERS }, ..SERVERS };
    let calm = predict(&scenario(json!({})), &system, picker("round-robin"), 1);
    let flooded = predict(&scenario(json!({ "flood": flood })), &system, picker("round-robin"), 1);
    assert!(flooded.peak_lag_records > 5_000, "{flooded:?}");
    assert_eq!(flooded.requests, 10_400);
    assert_eq!(flooded.outcomes.granted, 100);
    assert!(flooded.outcomes.drain_ms > calm.outcomes.drain_ms, "{flooded:?} {calm:?}");
}

#[test]
fn a_request_that_is_sent_again_is_answered_as_before() {
    let retried = scenario(json!({ "crowd": { "users": 400, "retries": 1 }, "total": 1000 }));
    let prediction = predict(&retried, &EMBEDDED, picker("random"), 1);
    assert_eq!((prediction.requests, prediction.repeated), (800, 400));
    assert_eq!((prediction.outcomes.accepted, prediction.outcomes.granted), (400, 400));
}

#[test]
fn refusals_of_policies_are_counted_by_reason() {
    let bucket = json!({ "policy": "token-bucket", "config": { "per_second": 50, "burst": 1 } });
    let everybody = scenario(json!({ "total": 400 }));
    let prediction = predict(&everybody, &EMBEDDED, json!({ "rate-shaper": bucket }), 1);
    assert_eq!(prediction.refused, counts([("RATE_LIMITED", 300)]));
    let greedy = scenario(json!({ "crowd": { "users": 100 }, "total": 400 }));
    assert_eq!(predict(&greedy, &EMBEDDED, json!({}), 1).refused, counts([("USER_LIMIT", 300)]));
}

#[test]
fn a_delayed_request_is_settled_later() {
    let system = with_transactions_of(Duration::from_secs(1));
    let lag_aware = json!({
        "policy": "lag-aware", "config": { "delay_from_seconds": 0.05, "shed_from_seconds": 60.0, "delay_ms_max": 60000 }
    });
    let at_once = predict(&ten_for_three(), &system, json!({}), 1);
    let delayed = predict(&ten_for_three(), &system, json!({ "rate-shaper": lag_aware }), 1);
    assert_eq!(at_once.outcomes.accepted, delayed.outcomes.accepted);
    assert!(delayed.peak_lag_records < at_once.peak_lag_records, "{delayed:?} {at_once:?}");
}

#[test]
fn the_stock_of_a_gateway_that_polls_is_late() {
    let polled = System { gateways: 1, ..SERVERS };
    let known = System { stock_poll: None, ..polled.clone() };
    let accepted = |system: &System| predict(&scenario(json!({})), system, picker("round-robin"), 1).outcomes.accepted;
    let (polled, known) = (accepted(&polled), accepted(&known));
    assert!(polled > known, "{polled} while the stock is polled, {known} if it is known");
}
