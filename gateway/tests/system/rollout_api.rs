//! The calls of the admin listener that start, show, change and end rollouts: each answer and each error.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, Fixture, eventually};

const ROLLOUTS: &str = "/admin/rollouts";

/// A candidate that no guard finds worse than the active policy.
fn weighted() -> Value {
    json!({ "hooks": { "shard-picker": { "policy": "weighted" } } })
}

impl Fixture {
    async fn post_rollout(&self, path: &str, body: Option<Value>) -> Answer {
        self.operate(Method::POST, &format!("{ROLLOUTS}{path}"), body).await
    }

    async fn started(&self, body: Value) -> Value {
        let answer = self.post_rollout("", Some(body)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer.body
    }

    async fn rollout(&self, id: u64) -> Value {
        let answer = self.operate(Method::GET, &format!("{ROLLOUTS}/{id}"), None).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body
    }
}

fn is_refused(answer: &Answer, status: u16, reason: &str) {
    assert_eq!((answer.status.as_u16(), &answer.body["reason"]), (status, &json!(reason)), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_rollout_says_what_changes_who_started_it_and_what_was_checked() {
    let system = Fixture::start().await;
    let mut body = weighted();
    body["canaryPercent"] = json!(2.5);
    body["guards"] = json!({ "failures": 0.001 });
    let answer = system.post_rollout("", Some(body)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    assert_eq!(answer.headers["location"], "/admin/rollouts/1");
    let rollout = answer.body;
    assert_eq!((&rollout["id"], &rollout["status"]), (&json!(1), &json!({ "state": "running" })));
    assert_eq!((&rollout["canaryPercent"], &rollout["shadow"]), (&json!(2.5), &json!(true)));
    assert_eq!((&rollout["startedBy"], &rollout["stepNo"]), (&json!("local"), &json!(0)));
    let guards = &rollout["guards"];
    assert_eq!(
        (&guards["failures"], &guards["decisionsMin"]),
        (&json!(0.001), &json!(500)),
        "the others have defaults"
    );
    let hooks = rollout["hooks"].as_object().expect("an object");
    assert_eq!(hooks.keys().collect::<Vec<_>>(), ["shard-picker"], "only those that change");
    let change = &hooks["shard-picker"];
    assert_eq!((&change["candidate"]["policy"], &change["replaced"]["policy"]), (&json!("weighted"), &json!("random")));
    assert!(change["candidate"]["digest"].as_str().is_some_and(|digest| digest.len() == 64), "{change}");
    let steps: Vec<_> = rollout["history"].as_array().expect("a list").iter().map(|step| &step["what"]).collect();
    for (step, beginning) in steps.iter().zip(["checked: shard-picker: weighted", "replayed: ", "started: "]) {
        assert!(step.as_str().is_some_and(|step| step.starts_with(beginning)), "{steps:?}");
    }
    for hidden in ["salt", "scope", "couponId", "auto"] {
        assert_eq!(rollout.get(hidden), None, "{hidden}");
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rollouts_are_listed_newest_first_and_without_their_history() {
    let system = Fixture::start().await;
    assert_eq!(system.operate(Method::GET, ROLLOUTS, None).await.body, json!([]));
    system.started(weighted()).await;
    let of_coupon = json!({ "couponId": 104, "hooks": { "rate-shaper": { "policy": "lottery" } } });
    system.started(of_coupon).await;
    let listed = system.operate(Method::GET, ROLLOUTS, None).await.body;
    let listed = listed.as_array().expect("a list");
    let numbers: Vec<_> = listed.iter().map(|line| (&line["id"], line.get("couponId"))).collect();
    assert_eq!(numbers, [(&json!(2), Some(&json!(104))), (&json!(1), None)]);
    assert_eq!(listed[0].get("history"), None);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_shows_both_arms_side_by_side_and_what_the_guards_find() {
    let system = Fixture::start().await;
    let mut body = weighted();
    body["canaryPercent"] = json!(50);
    let id = system.started(body).await["id"].as_u64().expect("a number");
    let takes_part = async || system.metrics().await.contains("sluice_rollouts_running 1").then_some(());
    eventually("the gateway takes part", takes_part).await;
    for user in 1..=60 {
        system.accepted(user).await;
    }
    let decided = async || {
        let rollout = system.rollout(id).await;
        let of = |arm: &str| rollout["tallies"][arm]["shard-picker"]["decisions"].as_u64().unwrap_or_default();
        (of("active") + of("canary") == 60 && of("shadow") == of("active")).then_some(rollout)
    };
    let rollout = eventually("all decisions are reported", decided).await;
    for arm in ["active", "canary", "shadow"] {
        let arms = rollout["tallies"][arm].as_object().expect("an object");
        assert_eq!(arms.keys().collect::<Vec<_>>(), ["shard-picker"]);
        let arm = &arms["shard-picker"];
        assert_eq!(
            (&arm["failures"], &arm["failureShare"], &arm["refusalShare"]),
            (&json!(0), &json!(0.0), &json!(0.0))
        );
        assert!(arm["callP99Us"].as_f64() > Some(0.0), "{arm}");
        let shards = arm["shards"].as_array().expect("a list");
        let picked: u64 = shards.iter().filter_map(|shard| shard["picked"].as_u64()).sum();
        let share: f64 = shards.iter().filter_map(|shard| shard["share"].as_f64()).sum();
        assert_eq!(json!(picked), arm["decisions"], "{arm}");
        assert!((share - 1.0).abs() < 1e-9, "{arm}");
    }
    let shadow = &rollout["tallies"]["shadow"]["shard-picker"];
    assert_eq!((&shadow["compared"], &shadow["lost"]), (&shadow["decisions"], &json!(0)));
    assert!(shadow["differentShare"].as_f64() > Some(0.0), "{shadow}");
    let found = rollout["guardsFound"].as_array().expect("a list");
    let guards: Vec<_> = found.iter().filter_map(|reading| reading["guard"].as_str()).collect();
    assert_eq!(guards, ["failures", "fallbacks", "call-p99", "spread"]);
    assert!(found.iter().all(|reading| reading["judgement"] == "unknown"), "there are too few decisions: {found:?}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_share_is_a_step_and_the_same_share_is_none() {
    let system = Fixture::start().await;
    system.started(weighted()).await;
    let change = async |percent: f64| {
        let body = json!({ "canaryPercent": percent });
        system.operate(Method::PATCH, "/admin/rollouts/1", Some(body)).await
    };
    for step in [1, 1] {
        let changed = change(10.25).await;
        assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
        assert_eq!((&changed.body["canaryPercent"], &changed.body["stepNo"]), (&json!(10.25), &json!(step)));
        let last = changed.body["history"].as_array().and_then(|steps| steps.last()).expect("a step").clone();
        assert_eq!(
            (&last["who"], &last["what"]),
            (&json!("local"), &json!("the candidate serves 10.25 % of the users"))
        );
    }
    is_refused(&change(100.5).await, 422, "INVALID");
    is_refused(&change(0.001).await, 422, "INVALID");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_rollout_is_over_and_its_candidate_is_the_pipeline() {
    let system = Fixture::start().await;
    system.started(weighted()).await;
    let promoted = system.post_rollout("/1/promote", None).await;
    assert_eq!((promoted.status, &promoted.body["status"]["state"]), (StatusCode::OK, &json!("promoting")));
    let over = async || {
        let status = system.rollout(1).await["status"].clone();
        (status["state"] == "promoted").then(|| status["generation"].clone())
    };
    let generation = eventually("the candidate is published", over).await;
    let pipeline = system.pipeline().await;
    assert_eq!((&pipeline["generation"], &pipeline["history"][0]["source"]), (&generation, &json!("rollout")));
    assert_eq!(pipeline["pipeline"]["shard-picker"]["policy"], "weighted");
    assert_no_change_of_a_rollout_that_is_over(&system, "rollout 1 is promoted: start another one").await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_is_aborted_with_a_reason_or_without() {
    let system = Fixture::start().await;
    for (body, what) in [(None, "aborted"), (Some(json!({ "reason": "it is late" })), "aborted: it is late")] {
        let id = system.started(weighted()).await["id"].clone();
        let aborted = system.post_rollout(&format!("/{id}/abort"), body).await;
        assert_eq!(aborted.status, StatusCode::OK, "{}", aborted.body);
        assert_eq!(aborted.body["status"], json!({ "state": "aborted", "by": "local" }));
        let last = aborted.body["history"].as_array().and_then(|steps| steps.last()).expect("a step").clone();
        assert_eq!(last["what"], what);
    }
    assert_no_change_of_a_rollout_that_is_over(&system, "rollout 1 is aborted: start another one").await;
    system.stop().await;
}

async fn assert_no_change_of_a_rollout_that_is_over(system: &Fixture, detail: &str) {
    let changed = system.operate(Method::PATCH, "/admin/rollouts/1", Some(json!({ "canaryPercent": 5 }))).await;
    let promoted = system.post_rollout("/1/promote", None).await;
    let aborted = system.post_rollout("/1/abort", Some(json!({}))).await;
    for answer in [changed, promoted, aborted] {
        is_refused(&answer, 409, "ROLLOUT_OVER");
        assert_eq!(answer.body["detail"], detail);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_rollout_is_not_found() {
    let system = Fixture::start().await;
    for id in ["1", "0", "18446744073709551616", "first"] {
        let shown = system.operate(Method::GET, &format!("{ROLLOUTS}/{id}"), None).await;
        let changed =
            system.operate(Method::PATCH, &format!("{ROLLOUTS}/{id}"), Some(json!({ "canaryPercent": 5 }))).await;
        let promoted = system.post_rollout(&format!("/{id}/promote"), None).await;
        let aborted = system.post_rollout(&format!("/{id}/abort"), None).await;
        for answer in [shown, changed, promoted, aborted] {
            is_refused(&answer, 404, "ROLLOUT_NOT_FOUND");
            assert_eq!(answer.body["detail"], format!("no rollout has the number {id}"));
        }
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_rollout_runs_its_hooks_change_in_no_other_way() {
    let system = Fixture::start().await;
    let change = async |body: Value| system.operate(Method::PUT, "/admin/pipeline", Some(body)).await;
    assert_eq!(change(json!({ "shard-picker": { "policy": "hash-user" } })).await.status, StatusCode::OK);
    system.started(weighted()).await;
    // A change that comes before would be made, and would end the rollout a few seconds later.
    let takes_part = async || system.metrics().await.contains("sluice_rollouts_running 1").then_some(());
    eventually("the gateway takes part", takes_part).await;
    let refused = change(json!({ "shard-picker": { "policy": "random" } })).await;
    is_refused(&refused, 409, "ROLLOUT_RUNNING");
    assert_eq!(refused.body["detail"], "rollout 1 is changing the shard-picker: promote or abort it first");
    is_refused(&system.operate(Method::POST, "/admin/pipeline/rollback", None).await, 409, "ROLLOUT_RUNNING");

    let second = system.post_rollout("", Some(json!({ "hooks": { "rate-shaper": { "policy": "lottery" } } }))).await;
    is_refused(&second, 409, "ROLLOUT_RUNNING");
    let detail = second.body["detail"].as_str().expect("a sentence");
    assert!(detail.starts_with("rollout 1, started by local at 20"), "{detail}");
    assert!(detail.ends_with("is changing the default pipeline: promote or abort it first"), "{detail}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_makes_no_sense_is_refused_and_the_field_named() {
    let system = Fixture::start().await;
    let with = |key: &str, value: Value| {
        let mut body = weighted();
        body[key] = value;
        body
    };
    for (body, field) in [
        (json!({}), "hooks"),
        (json!({ "hooks": null }), "hooks"),
        (json!({ "hooks": [] }), "hooks"),
        (json!({ "hooks": { "picker": {} } }), "picker"),
        (with("couponId", json!(0)), "couponId"),
        (with("percent", json!(5)), "percent"),
        (with("shadow", json!("no")), "shadow"),
        (with("shadow", json!(false)), "canaryPercent"),
        (with("canaryPercent", json!(100)), "canaryPercent"),
        (with("auto", json!({ "percents": [10, 1] })), "auto.percents"),
        (with("auto", json!({ "percents": [10, 100] })), "99.99"),
        (with("auto", json!({ "seconds": 0 })), "auto.seconds"),
        (with("auto", json!([])), "auto"),
        (with("guards", json!({ "speed": 1 })), "speed"),
        (with("guards", json!({ "failures": 2 })), "guards.failures"),
        (with("guards", json!({ "ledgerSeconds": 1 })), "guards.ledgerSeconds"),
        (with("replay", json!({ "changed": 2 })), "replay"),
    ] {
        let answer = system.post_rollout("", Some(body.clone())).await;
        is_refused(&answer, 422, "INVALID");
        let named = format!("{} {}", answer.body["field"], answer.body["detail"]);
        assert!(named.contains(field), "{body}: {}", answer.body);
    }
    for (path, body) in
        [("/admin/rollouts/1", json!({})), ("/admin/rollouts/1", json!({ "canaryPercent": 5, "step": 1 }))]
    {
        is_refused(&system.operate(Method::PATCH, path, Some(body)).await, 422, "INVALID");
    }
    for body in [json!({ "why": "late" }), json!({ "reason": "x\n\u{1b}[2J" }), json!({ "reason": "x".repeat(501) })] {
        is_refused(&system.post_rollout("/1/abort", Some(body)).await, 422, "INVALID");
    }
    is_refused(&system.post_rollout("", Some(with("couponId", json!(9)))).await, 404, "COUPON_NOT_FOUND");
    assert_eq!(system.operate(Method::GET, ROLLOUTS, None).await.body, json!([]), "nothing was started");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_fails_a_check_is_refused_and_nothing_starts() {
    let system = Fixture::start().await;
    let picker = |spec: Value| json!({ "hooks": { "shard-picker": spec } });
    let mut never_tried = weighted();
    never_tried["replay"] = json!({ "decisionsMin": 1 });
    for (body, detail) in [
        (picker(json!({ "policy": "unknown" })), "the policy `unknown` is unknown"),
        (picker(json!({ "policy": "quota" })), "expected the world shard-picker"),
        (picker(json!({ "config": { "key": 1 } })), "refuses its configuration"),
        (picker(json!({ "policy": "weighted", "budget_fuel": 1 })), "budget_fuel is 1"),
        (picker(json!({ "policy": "random" })), "nothing differs from the active pipeline"),
        (json!({ "hooks": {} }), "nothing differs from the active pipeline"),
        (never_tried, "found 0 recorded decisions, expected 1"),
    ] {
        let answer = system.post_rollout("", Some(body.clone())).await;
        is_refused(&answer, 422, "POLICY_REFUSED");
        assert!(answer.body["detail"].as_str().is_some_and(|found| found.contains(detail)), "{body}: {}", answer.body);
    }
    assert_eq!(system.operate(Method::GET, ROLLOUTS, None).await.body, json!([]));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_without_a_shadow_keeps_some_users() {
    let system = Fixture::start().await;
    let mut body = weighted();
    (body["shadow"], body["canaryPercent"]) = (json!(false), json!(5));
    system.started(body).await;
    let nobody = json!({ "canaryPercent": 0 });
    is_refused(&system.operate(Method::PATCH, "/admin/rollouts/1", Some(nobody)).await, 422, "INVALID");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_runs_is_listed_however_many_came_after_it() {
    let system = Fixture::start().await;
    system.started(weighted()).await;
    let mut of_a_coupon = weighted();
    of_a_coupon["couponId"] = json!(104);
    for _ in 0..51 {
        let started = system.started(of_a_coupon.clone()).await;
        assert_eq!(system.post_rollout(&format!("/{}/abort", started["id"]), None).await.status, 200);
    }
    let listed = system.operate(Method::GET, ROLLOUTS, None).await.body;
    let ids: Vec<u64> = listed.as_array().expect("a list").iter().filter_map(|line| line["id"].as_u64()).collect();
    assert_eq!((ids.len(), ids[0], ids[50]), (51, 52, 1));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_campaign_has_no_rollout() {
    let system = Fixture::start().await;
    let mut of_a_coupon = weighted();
    of_a_coupon["couponId"] = json!(104);
    let rollout = system.started(of_a_coupon.clone()).await;
    assert_eq!(system.operate(Method::POST, "/admin/coupons/104/close", None).await.status, 200);
    is_refused(&system.post_rollout(&format!("/{}/promote", rollout["id"]), None).await, 409, "CLOSED");
    assert_eq!(system.post_rollout(&format!("/{}/abort", rollout["id"]), None).await.status, 200);
    is_refused(&system.post_rollout("", Some(of_a_coupon)).await, 409, "CLOSED");
    system.stop().await;
}
