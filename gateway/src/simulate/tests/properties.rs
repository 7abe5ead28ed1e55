use proptest::prelude::*;
use serde_json::json;

use super::{EMBEDDED, SERVERS, picker, predict, scenario};
use crate::simulate::{Scenario, System};

const PICKERS: [&str; 5] = ["hash-user", "power-of-two", "random", "round-robin", "weighted"];

fn scenarios() -> impl Strategy<Value = Scenario> {
    let crowd = (1..300_u64, prop_oneof![Just(None), Just(Some(1.2))], 0.0..0.5_f64, 0..3_u64);
    (crowd, 1..300_u64, 1..20_u32, 1..4_u32, 1..4_u32).prop_map(|(crowd, total, shards, campaigns, limit)| {
        let (users, zipf, retries, bots) = crowd;
        let mut crowd = json!({ "users": users, "retries": retries, "bots": bots, "botShare": 0.2 });
        if let Some(zipf) = zipf {
            crowd["zipf"] = json!(zipf);
        }
        scenario(json!({
            "crowd": crowd, "total": total, "shards": shards, "campaigns": campaigns, "perUserLimit": limit
        }))
    })
}

fn systems() -> impl Strategy<Value = System> {
    let system = prop_oneof![Just(EMBEDDED), Just(SERVERS)];
    (system, 1..50_u32, 1.0..100.0_f64).prop_map(|(system, batch_records_max, slow_partition)| System {
        batch_records_max,
        slow_partition,
        ..system
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_request_is_answered_once_and_no_coupon_is_lost_or_oversold(
        scenario in scenarios(), system in systems(), policy in prop::sample::select(PICKERS.to_vec()), seed in any::<u64>(),
    ) {
        let prediction = predict(&scenario, &system, picker(policy), seed);
        let outcomes = &prediction.outcomes;
        let refused: u64 = prediction.refused.values().sum();
        prop_assert_eq!(prediction.policy_failures, 0);
        prop_assert!(outcomes.accepted + refused + prediction.repeated <= prediction.requests);
        prop_assert_eq!(outcomes.accepted, outcomes.granted + outcomes.rejected.values().sum::<u64>());
        let stock: u64 = scenario.campaigns.iter().map(|campaign| campaign.total).sum();
        prop_assert_eq!(outcomes.granted + prediction.unsold_coupons, stock);
        prop_assert!(outcomes.steals <= outcomes.granted);
        prop_assert!(outcomes.inverted_users <= outcomes.refused_users);
        let is_refused_sold_out = outcomes.rejected.contains_key("SOLD_OUT") && scenario.campaigns.len() == 1;
        prop_assert!(!is_refused_sold_out || prediction.unsold_coupons == 0);
    }

    #[test]
    fn the_same_seed_gives_the_same_prediction(
        scenario in scenarios(), system in systems(), policy in prop::sample::select(PICKERS.to_vec()), seed in any::<u64>(),
    ) {
        let bytes = || serde_json::to_vec(&predict(&scenario, &system, picker(policy), seed)).expect("JSON");
        prop_assert_eq!(bytes(), bytes());
    }
}
