//! What policies cost in fuel, and what a hook may cost.

use serde_json::{Map, json};

use super::guest::{picker, spin};
use super::{Fixture, built, options, patch, request};
use crate::policy::wire::Shard;
use crate::policy::{MeteredPolicy, OfflineHost, Scope, bench};
use crate::telemetry::FailureReason;

fn picker_of(bytes: &[u8]) -> impl Future<Output = MeteredPolicy<Vec<Shard>>> {
    let host = OfflineHost::new(&options());
    let bytes = bytes.to_vec();
    async move { host.load_metered(bytes, &Map::new()).await.expect("loads") }
}

fn shards() -> Vec<Shard> {
    (0..4).map(|shard_no| Shard { shard_no, remaining: 1, unsettled: 0, lag_records: 0 }).collect()
}

#[tokio::test]
async fn the_same_call_costs_the_same_fuel_each_time_and_more_rounds_cost_more() {
    let mut costs = Vec::new();
    for rounds in [100, 100, 1_000] {
        let policy = picker_of(&picker("", &spin(rounds)).bytes).await;
        for _ in 0..2 {
            let mut instance = policy.instance().expect("there is room");
            let call = instance.decide(&request(1), &[], &shards()).expect("there is room");
            assert_eq!(call.verdict, Ok(0));
            costs.push(call.fuel);
        }
    }
    assert!(costs[0] > 100 && costs[..4].iter().all(|cost| *cost == costs[0]), "{costs:?}");
    assert!(costs[4] > 5 * costs[0], "{costs:?}");
}

#[tokio::test]
async fn a_loop_ends_when_its_fuel_is_used_up_and_the_next_call_decides() {
    let loops_for_user_2 = "(if (i64.eq (local.get 2) (i64.const 2)) (then (loop $again (br $again))))";
    let policy = picker_of(&picker("", loops_for_user_2).bytes).await;
    let mut instance = policy.instance().expect("there is room");
    let mut decide = |user| instance.decide(&request(user), &[], &shards()).expect("there is room").verdict;
    assert_eq!([1, 2, 1].map(&mut decide), [Ok(0), Err(FailureReason::Deadline), Ok(0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_over_its_budget_is_refused_with_its_figure_and_one_within_it_is_activated() {
    let Fixture { pipelines, _data, .. } = Fixture::start().await;
    let budget = async |fuel: u64| {
        let spec = json!({ "shard-picker": { "policy": "hash-user", "budget_fuel": fuel } });
        pipelines.change(Scope::Default, patch(spec), "anna").await.map_err(|error| error.to_string())
    };
    let error = budget(10).await.expect_err("is over the budget");
    let costs = error.strip_prefix("shard-picker: a decision costs ").and_then(|rest| rest.split_once(' '));
    let costs: u64 = costs.and_then(|(fuel, _)| fuel.parse().ok()).unwrap_or_else(|| panic!("{error}"));
    assert!(error.contains("budget_fuel is 10:"), "{error}");
    budget(costs - 1).await.expect_err("is over the budget by one");
    assert_eq!(pipelines.current().number(), 1, "nothing has changed");
    assert_eq!(budget(costs).await, Ok(2));
    assert_eq!(pipelines.current().pipeline().shard_picker.budget_fuel, costs);
    let removed = json!({ "shard-picker": { "budget_fuel": 0 } });
    pipelines.change(Scope::Default, patch(removed), "anna").await.expect("removes the budget");
}

#[tokio::test]
async fn a_bench_of_a_picker_has_a_row_for_each_number_of_shards_and_more_shards_cost_more() {
    let rows = async |policy| {
        let component = std::fs::read(built(policy)).expect("reads");
        bench(&options(), component, Map::new()).await.expect("is a policy")
    };
    let picker = rows("weighted").await;
    let shards: Vec<_> = picker.iter().map(|row| row.shards).collect();
    assert_eq!(shards, [Some(1), Some(4), Some(12), Some(64), Some(256)]);
    assert!(picker.is_sorted_by_key(|row| row.fuel) && picker[4].fuel > 2 * picker[2].fuel, "{picker:?}");
    assert!(picker.iter().all(|row| row.memory_bytes >= 65_536 && row.nanoseconds > 0), "{picker:?}");
    let again: Vec<_> = rows("weighted").await.iter().map(|row| row.fuel).collect();
    assert_eq!(picker.iter().map(|row| row.fuel).collect::<Vec<_>>(), again);
    assert_eq!(rows("quota").await.len(), 1);
}
