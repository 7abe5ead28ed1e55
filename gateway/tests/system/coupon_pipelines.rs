//! Pipelines of coupons: some hooks are set for one coupon, the others follow the default pipeline.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sluice::app::Ports;
use sluice::config::Role;
use sluice::coupon::CouponId;
use sluice::ledger::{self, GenerationRow, Ledger};
use sluice::policy::Digest;

use crate::faulty::{FaultyLedger, LedgerFaults};
use crate::harness::{
    Answer, Files, Fixture, built_policies, eventually, payload_for, replace_ledger, share, stop_all,
};

/// A coupon besides the one that every new ledger has.
const OTHER: u64 = 105;

/// Starts a gateway on a ledger that several processes use, and returns its ports for another one.
async fn start() -> (Fixture, Ports) {
    let faults = Arc::new(LedgerFaults::default());
    faults.is_shared.store(true, Ordering::Relaxed);
    let files = Files::new();
    let mut config = files.config();
    config.role = Role::Gateway;
    let ports = Ports::open(&config).await.expect("embedded ports open");
    let mut ports = replace_ledger(ports, |ledger| FaultyLedger::wrap(ledger, &faults));
    (Fixture::on(share(&mut ports), files, config).await, ports)
}

async fn join(ports: Ports) -> Fixture {
    let files = Files::new();
    let mut config = files.config();
    config.role = Role::Gateway;
    Fixture::on(ports, files, config).await
}

/// A rate shaper that refuses everybody with `NOT_DRAWN`.
fn nobody_is_drawn() -> Value {
    json!({ "rate-shaper": { "policy": "lottery", "config": { "ratio": 0.0 } } })
}

fn id(coupon: u64) -> CouponId {
    coupon.try_into().expect("in range")
}

impl Fixture {
    async fn of_coupon(&self, method: Method, coupon: u64, body: Option<Value>) -> Answer {
        self.operate(method, &format!("/admin/coupons/{coupon}/pipeline"), body).await
    }

    /// Changes the pipeline of a coupon; answers with the number of the generation.
    async fn set(&self, coupon: u64, body: Value) -> u64 {
        generation(&self.of_coupon(Method::PUT, coupon, Some(body)).await)
    }

    async fn pipeline_of(&self, coupon: u64) -> Value {
        let answer = self.of_coupon(Method::GET, coupon, None).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body
    }

    async fn follows_coupon(&self, coupon: u64, number: u64) {
        let has = async || (self.pipeline_of(coupon).await["generation"] == number).then_some(());
        eventually("the change is active on the other gateway", has).await;
    }

    async fn create(&self, coupon: u64) {
        let new = json!({ "couponId": coupon, "policyId": 21, "total": 100 });
        let answer = self.operate(Method::POST, "/admin/coupons", Some(new)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    }

    /// What a request for a coupon is answered: `ACCEPTED` or the reason of the refusal, and the generation that decided.
    async fn requested(&self, coupon: u64, user: u64) -> (String, u64) {
        let answer = self.call(Method::POST, "/coupon/issue", Some(payload_for(coupon, user))).await;
        let generation = answer.headers["sluice-generation"].to_str().expect("text").parse().expect("a number");
        let reason = answer.body["reason"].as_str().unwrap_or("ACCEPTED");
        (reason.to_owned(), generation)
    }

    async fn metric(&self, beginning: &str) -> usize {
        let metrics = self.metrics().await;
        let lines = metrics.lines().filter(|line| line.starts_with(beginning));
        lines.map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<usize>().ok()).expect("a count")).sum()
    }

    /// The live instances of all policies.
    async fn instances(&self) -> usize {
        self.metric("sluice_policy_instances{").await
    }
}

fn generation(answer: &Answer) -> u64 {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body["generation"].as_u64().expect("a number")
}

fn origins(pipeline: &Value) -> [&str; 3] {
    ["rate-shaper", "user-limit", "shard-picker"].map(|hook| pipeline["hooks"][hook]["from"].as_str().expect("a word"))
}

/// Records a pipeline of a coupon with this shard picker, as another gateway does.
async fn record(ledger: &dyn Ledger, number: u64, coupon: u64, deadline_ms: u64, component: &[u8], digest: Digest) {
    let spec = json!({
        "policy": "mine", "on_failure": "fallback", "deadline_ms": deadline_ms, "isolation": "warm", "config": {},
    });
    let picker = json!({ "digest": digest, "spec": spec });
    let hooks = json!({ "rate-shaper": null, "user-limit": null, "shard-picker": picker });
    let pipeline = json!({ "hooks": hooks, "source": "admin" }).to_string();
    let row = GenerationRow { number, coupon: Some(id(coupon)), pipeline, published_at_ms: 1 };
    let components = [(digest.to_string(), component.into())];
    assert!(ledger.publish_generation(&row, &components).await.expect("records"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_of_a_coupon_decides_about_that_coupon_on_every_gateway() {
    let (here, ports) = start().await;
    here.create(OTHER).await;
    let there = join(ports).await;
    let set = here.set(OTHER, nobody_is_drawn()).await;
    assert_eq!((set, here.requested(OTHER, 1).await), (2, ("NOT_DRAWN".into(), 2)));
    there.follows_coupon(OTHER, set).await;
    assert_eq!(there.requested(OTHER, 1).await, ("NOT_DRAWN".into(), 2));
    assert_eq!(there.requested(104, 1).await, ("ACCEPTED".into(), 1));

    let default = json!({ "shard-picker": { "policy": "hash-user" } });
    let changed = generation(&there.operate(Method::PUT, "/admin/pipeline", Some(default)).await);
    here.follows_coupon(OTHER, changed).await;
    let pipeline = here.pipeline_of(OTHER).await;
    assert_eq!(origins(&pipeline), ["coupon", "default", "default"]);
    assert_eq!(pipeline["pipeline"]["rate-shaper"]["config"], json!({ "ratio": 0.0 }));
    assert_eq!(pipeline["pipeline"]["shard-picker"]["policy"], "hash-user");
    assert_eq!(pipeline["history"].as_array().map(Vec::len), Some(1));
    assert_eq!(here.requested(OTHER, 2).await, ("NOT_DRAWN".into(), changed));
    assert_eq!(here.metric("sluice_policy_generation ").await as u64, changed);

    let removed = generation(&there.of_coupon(Method::DELETE, OTHER, None).await);
    here.follows_coupon(OTHER, removed).await;
    assert_eq!(origins(&here.pipeline_of(OTHER).await), ["default"; 3]);
    assert_eq!(here.requested(OTHER, 3).await, ("ACCEPTED".into(), removed));
    assert_eq!(here.requested(104, 3).await, ("ACCEPTED".into(), changed));
    stop_all([here, there]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_the_pipeline_of_a_coupon() {
    let system = Fixture::gateway_only(Files::new()).await;
    system.set(104, nobody_is_drawn()).await;
    let restarted = Fixture::gateway_only(system.stop().await).await;
    assert_eq!(restarted.requested(104, 1).await, ("NOT_DRAWN".into(), 2));
    assert_eq!(origins(&restarted.pipeline_of(104).await), ["coupon", "default", "default"]);
    restarted.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_of_a_coupon_that_does_not_load_is_reported_and_the_default_decides() {
    let files = Fixture::gateway_only(Files::new()).await.stop().await;
    let ledger = ledger::open(&files.config().ledger, 12).await.expect("opens");
    record(&*ledger, 2, 104, 5, b"damaged", Digest::of(b"intact")).await;
    ledger.close().await;
    drop(ledger);
    let system = Fixture::gateway_only(files).await;
    let pipeline = system.pipeline_of(104).await;
    assert_eq!((&pipeline["generation"], &pipeline["notLoaded"]["generation"]), (&1.into(), &2.into()));
    assert_eq!(origins(&pipeline), ["default"; 3]);
    let ready = system.ready().await;
    let problem = ready.body["pipeline"].as_str().expect("a text");
    assert!(problem.starts_with("generation 2 of coupon 104 is not loaded: the component "), "{problem}");
    assert_eq!((ready.status, system.metric("sluice_policy_coupons_not_loaded ").await), (StatusCode::OK, 1));
    assert_eq!(system.requested(104, 1).await, ("ACCEPTED".into(), 1));
    assert_eq!(system.pipeline().await.get("notLoaded"), None, "the default pipeline is loaded");

    assert_eq!(system.set(104, nobody_is_drawn()).await, 3);
    assert_eq!(system.pipeline_of(104).await.get("notLoaded"), None);
    assert_eq!(system.metric("sluice_policy_coupons_not_loaded ").await, 0);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_coupons_share_the_instances_of_twenty_configurations() {
    const COUPONS: u64 = 1000;
    const CONFIGURATIONS: u64 = 20;
    let system = Fixture::gateway_only(Files::new()).await;
    let of_the_default = system.instances().await;
    let files = system.stop().await;
    let component = std::fs::read(built_policies().join("hash-user.wasm")).expect("reads a policy");
    let ledger = ledger::open(&files.config().ledger, 12).await.expect("opens");
    for no in 0..COUPONS {
        record(&*ledger, 2 + no, 200 + no, 6 + no % CONFIGURATIONS, &component, Digest::of(&component)).await;
    }
    ledger.close().await;
    drop(ledger);
    // Each instance takes more than a megabyte.
    let system = Fixture::with(files, |config| config.policies.memory_mib_max = 1024, |ports| ports).await;
    let of_a_policy = of_the_default / 3;
    assert_eq!(system.instances().await, of_the_default + CONFIGURATIONS as usize * of_a_policy);
    for no in [0, 1, COUPONS - 1] {
        system.create(200 + no).await;
        let pipeline = system.pipeline_of(200 + no).await;
        assert_eq!(origins(&pipeline), ["default", "default", "coupon"]);
        assert_eq!(pipeline["pipeline"]["shard-picker"]["deadline_ms"], 6 + no % CONFIGURATIONS);
        assert_eq!(system.requested(200 + no, 1).await, ("ACCEPTED".into(), 2 + no));
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pipeline_of_a_closed_campaign_leaves_memory_and_cannot_be_changed() {
    let system = Fixture::gateway_only(Files::new()).await;
    let before = system.instances().await;
    system.set(104, nobody_is_drawn()).await;
    assert!(system.instances().await > before);
    let closed = system.operate(Method::POST, "/admin/coupons/104/close", None).await;
    assert_eq!(closed.body["state"], "CLOSED");
    let is_gone = async || (system.instances().await == before).then_some(());
    eventually("the instances are gone", is_gone).await;
    let refused = system.of_coupon(Method::PUT, 104, Some(nobody_is_drawn())).await;
    assert_eq!((refused.status, &refused.body["reason"]), (StatusCode::CONFLICT, &"CLOSED".into()));
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_are_wrong_are_refused_and_change_nothing() {
    let system = Fixture::gateway_only(Files::new()).await;
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let unknown = system.of_coupon(method.clone(), 9, Some(nobody_is_drawn())).await;
        let expected = (StatusCode::NOT_FOUND, &"COUPON_NOT_FOUND".into());
        assert_eq!((unknown.status, &unknown.body["reason"]), expected, "{method}");
    }
    for body in [json!({ "shard-picker": { "policy": "unknown" } }), json!({ "rate-shaper": { "policy": "quota" } })] {
        let refused = system.of_coupon(Method::PUT, 104, Some(body)).await;
        assert_eq!(refused.body["reason"], "POLICY_REFUSED", "{}", refused.body);
    }
    let roll_back = async || system.operate(Method::POST, "/admin/coupons/104/pipeline/rollback", None).await;
    assert_eq!(roll_back().await.body["reason"], "NOTHING_TO_ROLL_BACK");
    assert_eq!(system.pipeline_of(104).await["generation"], 1);

    system.set(104, nobody_is_drawn()).await;
    system.set(104, json!({ "rate-shaper": { "config": { "ratio": 1.0 } } })).await;
    assert_eq!(system.requested(104, 1).await, ("ACCEPTED".into(), 3));
    assert_eq!(generation(&roll_back().await), 4);
    assert_eq!(system.requested(104, 2).await, ("NOT_DRAWN".into(), 4));
    system.stop().await;
}
