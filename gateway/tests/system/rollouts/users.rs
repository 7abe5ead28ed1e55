//! Which users a canary serves, and promotion.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{COUPON, Pair, ask, candidates, is_canary, running};
use crate::harness::{Files, Fixture, eventually, share};

const USERS: u64 = 2000;

/// The users that a gateway serves with the candidate. Those who have a coupon already are refused, which the header
/// tells too.
async fn canary_users(gateway: &Fixture) -> BTreeSet<u64> {
    let mut users = BTreeSet::new();
    for first in (1..=USERS).step_by(50) {
        let asked = join_all((first..first + 50).map(|user| async move { (user, ask(gateway, user).await) })).await;
        users.extend(asked.into_iter().filter(|(_, answer)| is_canary(answer)).map(|(user, _)| user));
    }
    users
}

async fn set_canary(pair: &Pair, id: u64, percent: u64) {
    let path = format!("/admin/rollouts/{id}");
    let changed = pair.gateways[1].operate(Method::PATCH, &path, Some(json!({ "canaryPercent": percent }))).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    for gateway in &pair.gateways {
        let share = format!("sluice_rollout_canary_ratio {}", percent as f64 / 100.0);
        eventually("the share has changed", async || gateway.metrics().await.contains(&share).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_users_belong_to_the_canary_on_all_gateways_and_after_a_restart() {
    let mut pair = Pair::start().await;
    pair.gateways[0].upload("candidate", candidates::good()).await;
    let hooks = json!({ "shard-picker": { "policy": "candidate" } });
    // On a busy machine, single calls may take any time.
    let guards = json!({ "callP99Ratio": 1000 });
    let id = pair.roll_out(json!({ "hooks": hooks, "shadow": false, "canaryPercent": 10, "guards": guards })).await;
    let ten = canary_users(&pair.gateways[0]).await;
    assert!((140..=260).contains(&ten.len()), "{}", ten.len());
    assert_eq!(canary_users(&pair.gateways[1]).await, ten);

    set_canary(&pair, id, 20).await;
    let twenty = canary_users(&pair.gateways[0]).await;
    assert!(ten.is_subset(&twenty) && twenty.len() > ten.len(), "nobody moves back");
    assert_eq!(canary_users(&pair.gateways[1]).await, twenty);
    set_canary(&pair, id, 10).await;
    assert_eq!(canary_users(&pair.gateways[1]).await, ten);

    let third = Pair::join(share(&mut pair.ports), Files::new()).await;
    assert_eq!(canary_users(&third).await, ten, "from the first request on");
    let _ = third.stop_without_settling().await;
    pair.stop().await;
}

/// Its comparison would otherwise go on with another policy than the one that it names.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_whose_active_policy_changes_in_another_way_is_rolled_back() {
    let pair = Pair::start().await;
    let id = pair
        .roll_out(json!({
            "couponId": COUPON,
            "hooks": { "shard-picker": { "policy": "weighted" } },
            "canaryPercent": 10,
            // On a busy machine, single calls may take any time.
            "guards": { "callP99Ratio": 1000 },
        }))
        .await;
    let other_hook = json!({ "rate-shaper": { "deadline_ms": 6 } });
    let changed = pair.gateways[1].operate(Method::PUT, "/admin/pipeline", Some(other_hook)).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    // The coupon follows the default pipeline until its own is promoted.
    let same_hook = json!({ "shard-picker": { "policy": "hash-user" } });
    let changed = pair.gateways[1].operate(Method::PUT, "/admin/pipeline", Some(same_hook)).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    let (over, _) = pair.load_until_over(id).await;
    let reason = over["status"]["reason"].as_str().expect("a reason");
    assert_eq!(reason, "the shard-picker was changed in another way, so what the rollout replaces is gone");
    assert_eq!(over["history"].as_array().map(Vec::len), Some(4), "the other hook ended nothing: {over}");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_candidate_goes_through_all_steps_and_no_request_fails() {
    let pair = Pair::start().await;
    pair.gateways[0].upload("candidate", candidates::good()).await;
    let before = pair.generations().await;
    let id = pair
        .roll_out(json!({
            "hooks": { "shard-picker": { "policy": "candidate" } },
            "auto": { "percents": [20, 50], "seconds": 1, "decisions": 30 },
            // On a busy machine, single calls may take any time.
            "guards": { "decisionsMin": 30, "callP99Ratio": 1000 },
        }))
        .await;
    let (over, answers) = pair.load_until_over(id).await;
    assert_eq!(over["status"]["state"], "promoted", "{over}");
    assert_eq!(answers.refused, 0, "{answers:?}");
    assert!(answers.by_canary > 0, "{answers:?}");
    for gateway in &pair.gateways {
        let is_active = async || {
            let pipeline = gateway.pipeline().await;
            (pipeline["pipeline"]["shard-picker"]["policy"] == "candidate").then_some(())
        };
        eventually("the candidate is the pipeline", is_active).await;
    }
    let after = pair.generations().await;
    assert_eq!(after, [&over["status"]["generation"], &over["status"]["generation"]].map(Value::clone));
    assert_ne!(after, before);
    assert_eq!(pair.round().await.by_canary, 0, "everybody is served by the active pipeline");
    let steps: Vec<_> = over["history"].as_array().expect("a list").iter().map(|step| step["what"].as_str()).collect();
    assert_eq!(steps.len(), 7, "checked, replayed, started, 20 %, 50 %, promoting, promoted: {steps:?}");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_of_a_rollout_change_through_it_only_and_others_freely() {
    let pair = Pair::start().await;
    pair.gateways[0].upload("candidate", candidates::good()).await;
    let hooks = json!({ "shard-picker": { "policy": "candidate" } });
    // On a busy machine, single calls may take any time.
    let guards = json!({ "callP99Ratio": 1000 });
    let id = pair.roll_out(json!({ "hooks": hooks, "canaryPercent": 10, "guards": guards })).await;
    let change = async |gateway: usize, body: Value| {
        pair.gateways[gateway].operate(Method::PUT, "/admin/pipeline", Some(body)).await
    };
    for gateway in [0, 1] {
        let refused = change(gateway, json!({ "shard-picker": { "policy": "weighted" } })).await;
        assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.body);
        let expected = format!("rollout {id} is changing the shard-picker: promote or abort it first");
        assert_eq!(refused.body["detail"], expected);
    }
    let changed = change(1, json!({ "user-limit": { "deadline_ms": 9 } })).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    let is_canary_of_new = async || {
        pair.round().await;
        let status = pair.rollout(id).await["status"]["state"].clone();
        (status == "running"
            && pair.generations().await == [changed.body["generation"].clone(), changed.body["generation"].clone()])
        .then_some(())
    };
    eventually("the candidate is part of the new generation", is_canary_of_new).await;

    let second = json!({ "hooks": { "rate-shaper": { "policy": "lottery" } } });
    let refused = pair.gateways[1].operate(Method::POST, "/admin/rollouts", Some(second.clone())).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.body);
    let detail = refused.body["detail"].as_str().expect("a sentence");
    assert!(detail.starts_with(&format!("rollout {id}, started by ")) && detail.contains(" at 20"), "{detail}");

    let aborted = pair.gateways[1].operate(Method::POST, &format!("/admin/rollouts/{id}/abort"), Some(json!({}))).await;
    assert_eq!(aborted.status, StatusCode::OK, "{}", aborted.body);
    for gateway in &pair.gateways {
        eventually("the rollout is over", async || (running(gateway).await == 0).then_some(())).await;
    }
    let both =
        [0, 1].map(|gateway| pair.gateways[gateway].operate(Method::POST, "/admin/rollouts", Some(second.clone())));
    let started = join_all(both).await.into_iter().filter(|answer| answer.status == StatusCode::CREATED).count();
    assert_eq!(started, 1, "of two operators at once, one starts a rollout");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_counts_nothing_for_the_users() {
    let pair = Pair::start().await;
    // Counts requests of a user in a window, as the active limit does not.
    let hooks =
        json!({ "user-limit": { "policy": "sliding-window", "config": { "limit": 1000, "window_ms": 60_000 } } });
    let id = pair.roll_out(json!({ "hooks": hooks, "guards": { "decisionsMin": 1_000_000 } })).await;
    let compared = async || {
        let answers = pair.round().await;
        assert_eq!(answers.refused, 0, "every user is new: {answers:?}");
        let tallies = &pair.rollout(id).await["tallies"]["shadow"]["user-limit"];
        (tallies["compared"].as_u64() > Some(50)).then(|| tallies.clone())
    };
    let shadow = eventually("the shadow is asked", compared).await;
    assert_eq!(shadow["different"], 0, "{shadow}");
    let again = ask(&pair.gateways[0], 1).await;
    assert_eq!(again.status, StatusCode::TOO_MANY_REQUESTS, "the active limit counts as before: coupon {COUPON}");
    pair.stop().await;
}
