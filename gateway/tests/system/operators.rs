//! The admin listener.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sluice::ledger::{self, GenerationRow};
use sluice::policy::Digest;

use crate::harness::Fixture;

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_is_paused_resumed_topped_up_resharded_and_closed() {
    let system = Fixture::start().await;
    let change =
        async |action: &str, body| system.operate(Method::POST, &format!("/admin/coupons/104/{action}"), body).await;
    assert_eq!(change("pause", None).await.body["state"], "PAUSED");
    let refused = system.issue(1).await;
    assert_eq!((refused.status, &refused.body["reason"]), (StatusCode::CONFLICT, &"PAUSED".into()));
    assert_eq!(change("resume", None).await.body["state"], "OPEN");
    assert_eq!(system.outcome(&system.accepted(1).await).await["status"], "ISSUED");
    assert_eq!(change("top-up", Some(json!({ "amount": 5 }))).await.body["total"], 10_005);
    let resharded = change("reshard", Some(json!({ "shards": 7 }))).await.body;
    assert_eq!(resharded["shards"].as_array().map(Vec::len), Some(7));
    assert_eq!(change("close", None).await.body["state"], "CLOSED");
    assert_eq!(system.issue(2).await.body["reason"], "CLOSED");
    let audit = system.audit(104).await;
    assert_eq!((&audit["granted"], &audit["remaining"], &audit["balanced"]), (&1.into(), &10_004.into(), &true.into()));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_change_of_a_campaign_is_refused_and_changes_nothing() {
    let system = Fixture::start().await;
    let cases = [
        ("/admin/coupons/104/top-up", json!({ "amount": 0 }), 422),
        ("/admin/coupons/104/reshard", json!({ "shards": 257 }), 422),
        ("/admin/coupons/104/top-up", json!({ "sum": 1 }), 422),
        ("/admin/coupons/9/top-up", json!({ "amount": 1 }), 404),
        ("/admin/coupons", json!({ "couponId": 104, "policyId": 21, "total": 1 }), 409),
    ];
    for (path, body, status) in cases {
        let answer = system.operate(Method::POST, path, Some(body)).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.body);
    }
    assert_eq!(system.audit(104).await["total"], 10_000);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_is_recounted_on_request() {
    let system = Fixture::start().await;
    for user in [1, 2] {
        system.outcome(&system.accepted(user).await).await;
    }
    let audit = system.audit(104).await;
    assert_eq!((&audit["granted"], &audit["users"], &audit["balanced"]), (&2.into(), &2.into(), &true.into()));
    assert_eq!(audit.get("recount"), None);
    let recounted = system.operate(Method::GET, "/admin/coupons/104/audit?recount=true", None).await.body;
    let expected = json!({
        "agrees": true, "outcomesDeleted": false, "granted": 2, "soldOut": 0, "userLimit": 0, "invalid": 0, "users": 2,
        "usersOverLimit": 0,
    });
    assert_eq!(recounted["recount"], expected);
    let refused = system.operate(Method::GET, "/admin/coupons/104/audit?recount=maybe", None).await;
    assert_eq!((refused.status, &refused.body["reason"]), (StatusCode::BAD_REQUEST, &"MALFORMED".into()));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_changed_and_rolled_back_while_requests_are_served() {
    let system = Fixture::start().await;
    let first = system.issue(1).await.headers["sluice-generation"].clone();
    let patch = json!({ "shard-picker": { "policy": "hash-user" } });
    let changed = system.operate(Method::PUT, "/admin/pipeline", Some(patch)).await;
    assert_eq!((changed.status, &changed.body["generation"]), (StatusCode::OK, &2.into()), "{}", changed.body);
    let second = system.issue(2).await.headers["sluice-generation"].clone();
    assert_ne!(first, second);
    let rolled_back = system.operate(Method::POST, "/admin/pipeline/rollback", None).await;
    assert_eq!(rolled_back.status, StatusCode::OK, "{}", rolled_back.body);
    let pipeline = system.operate(Method::GET, "/admin/pipeline", None).await.body;
    assert_eq!(pipeline["pipeline"]["shard-picker"]["policy"], "random");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_does_not_exist_changes_nothing() {
    let system = Fixture::start().await;
    let patch = json!({ "shard-picker": { "policy": "nowhere-to-be-found" } });
    let refused = system.operate(Method::PUT, "/admin/pipeline", Some(patch)).await;
    assert_eq!((refused.status, &refused.body["reason"]), (StatusCode::UNPROCESSABLE_ENTITY, &"POLICY_REFUSED".into()));
    assert_eq!(system.outcome(&system.accepted(1).await).await["status"], "ISSUED");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_changes_nothing_publishes_no_generation() {
    let system = Fixture::start().await;
    let with_nulls = json!({ "rate-shaper": null, "shard-picker": { "policy": "random", "deadline_ms": null } });
    for same in [json!({}), json!({ "shard-picker": { "policy": "random" } }), with_nulls] {
        let answer = system.operate(Method::PUT, "/admin/pipeline", Some(same)).await;
        assert_eq!((answer.status, &answer.body["generation"]), (StatusCode::OK, &1.into()), "{}", answer.body);
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_generation_that_does_not_load_is_reported_and_an_older_one_decides() {
    let files = Fixture::start().await.stop().await;
    let ledger = ledger::open(&files.config().ledger, 12).await.expect("opens");
    let first = ledger.generations(None, 1).await.expect("reads").remove(0);
    let digest = Digest::of(b"broken").to_string();
    let mut record: Value = serde_json::from_str(&first.pipeline).expect("JSON");
    record["digests"][2] = digest.clone().into();
    let broken = GenerationRow { number: 2, pipeline: record.to_string(), ..first };
    assert!(ledger.publish_generation(&broken, &[(digest, (*b"broken").into())]).await.expect("records"));
    ledger.close().await;
    drop(ledger);
    let system = Fixture::with(files, |_| {}, |ports| ports).await;

    let pipeline = system.operate(Method::GET, "/admin/pipeline", None).await.body;
    assert_eq!((&pipeline["generation"], &pipeline["notLoaded"]["generation"]), (&1.into(), &2.into()));
    let ready = system.ready().await;
    assert_eq!((ready.status, &ready.body["generation"]), (StatusCode::OK, &1.into()));
    let detail = ready.body["pipeline"].as_str().expect("a detail");
    assert!(detail.starts_with("generation 2 is not loaded: shard-picker: not a WebAssembly component"), "{detail}");
    let metrics = system.metrics().await;
    for line in ["\nsluice_policy_generation 1\n", "\nsluice_policy_generation_recorded 2\n"] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert_eq!(system.issue(1).await.headers["sluice-generation"], "1");
    let patch = json!({ "shard-picker": { "policy": "hash-user" } });
    assert_eq!(system.operate(Method::PUT, "/admin/pipeline", Some(patch)).await.body["generation"], 3);
    assert_eq!(system.ready().await.body["pipeline"], "ok");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_under_a_key_is_applied_once() {
    let system = Fixture::start().await;
    for _ in 0..2 {
        let answer = system.change_under("restock", "top-up", json!({ "amount": 10 })).await;
        assert_eq!((answer.status, &answer.body["total"]), (StatusCode::OK, &10_010.into()), "{}", answer.body);
    }
    let files = system.stop().await;
    let system = Fixture::with(files, |_| {}, |ports| ports).await;
    let (one, other) = tokio::join!(
        system.change_under("restock", "top-up", json!({ "amount": 10 })),
        system.change_under("restock", "top-up", json!({ "amount": 10 })),
    );
    assert_eq!((&one.body["total"], &other.body["total"]), (&10_010.into(), &10_010.into()));
    for (action, body) in [("top-up", json!({ "amount": 11 })), ("reshard", json!({ "shards": 10 }))] {
        let refused = system.change_under("restock", action, body).await;
        let expected = (StatusCode::UNPROCESSABLE_ENTITY, &"IDEMPOTENCY_CONFLICT".into());
        assert_eq!((refused.status, &refused.body["reason"]), expected, "{}", refused.body);
    }
    let second = system.change_under("another", "top-up", json!({ "amount": 10 })).await;
    assert_eq!(second.body["total"], 10_020);
    assert_eq!(system.audit(104).await["total"], 10_020);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_change_leaves_its_key_free() {
    let system = Fixture::start().await;
    let refused = system.change_under("restock", "top-up", json!({ "amount": 1_000_000_000_000_u64 })).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.body);
    let answer = system.change_under("restock", "top-up", json!({ "amount": 10 })).await;
    assert_eq!(answer.body["total"], 10_010, "{}", answer.body);
    system.stop().await;
}
