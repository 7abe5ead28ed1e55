//! Several gateways and consumers on Kafka, MariaDB and Redis: the same promises, and what each process
//! must hear of the others.

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde_json::json;

use crate::crowd::Crowd;
use crate::harness::{Campaign, Cluster, eventually, machine};
use crate::load;

const SEED: u64 = 104;
/// What an operator changes on one process, all have heard of within this time.
const HEARD_WITHIN: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_coupons_are_issued_by_two_gateways_and_three_consumers() {
    machine::exclusive();
    let cluster = Cluster::start(2, 3).await;
    let campaign = Campaign::of(10_000, 4);
    let coupon = cluster.gateways[0].create(campaign).await;
    cluster.hears_of(coupon).await;
    let crowd = Crowd::before(&cluster.gateways[0], coupon);
    let others = crowd.through(&cluster.gateways[1]);

    let mut people: Vec<u64> = (1..=20_000).chain(1..=10_000).collect();
    people.shuffle(&mut StdRng::seed_from_u64(SEED));
    let rest = people.split_off(15_000);
    let begun = Instant::now();
    tokio::join!(crowd.rush(64, people), others.rush(64, rest));
    println!("{:.0} requests/s, {}", load::per_second(30_000, begun), crowd.latencies());

    let report = crowd.verdict(&cluster.gateways[0], campaign).await;
    report.assert_holds();
    // On a busy machine a request may be told 503 although its record arrived, so what counts is the ledger's word.
    assert_eq!((report.audit.granted, report.audit.users), (10_000, 10_000));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_on_one_gateway_reaches_the_other() {
    let cluster = Cluster::start(2, 1).await;
    let [here, there] = &cluster.gateways[..] else { panic!("two gateways") };
    let coupon = here.create(Campaign::of(1, 1)).await;
    cluster.hears_of(coupon).await;
    let crowd = Crowd::before(there, coupon);

    let number = here.pick_by("hash-user").await;
    let is_in_force = async || (there.pipeline().await["generation"] == number).then_some(());
    eventually("the pipeline is in force everywhere", HEARD_WITHIN, is_in_force).await;
    let number = there.pick_by("weighted").await;
    let is_in_force = async || (here.pipeline().await["generation"] == number).then_some(());
    eventually("the pipeline is in force everywhere", HEARD_WITHIN, is_in_force).await;

    let mut users = 1..;
    let mut refusal_becomes = async |expected: &str| {
        let asked = async || {
            let reply = crowd.ask(users.next().expect("users")).await;
            (!reply.is_accepted() && reply.refusal().1 == expected).then_some(())
        };
        eventually(expected, HEARD_WITHIN, asked).await;
    };
    here.change(coupon, "pause", json!({})).await;
    refusal_becomes("PAUSED").await;
    here.change(coupon, "resume", json!({})).await;
    refusal_becomes("SOLD_OUT").await;

    here.change(coupon, "top-up", json!({ "amount": 1 })).await;
    let late = async || crowd.ask(users.next().expect("users")).await.is_accepted().then_some(());
    eventually("the top-up is known", HEARD_WITHIN, late).await;
    crowd.history.gather(&there.client, Duration::from_secs(20)).await;
    let audit = here.audit(coupon).await;
    assert_eq!((audit.total, audit.granted, audit.balanced), (2, 2, true), "{audit:?}");
    cluster.end().await;
}
