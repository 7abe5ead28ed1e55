//! Several gateways and consumers on Kafka, MariaDB and Redis keep the same promises and see each other's changes.

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde_json::json;

use crate::crowd::Crowd;
use crate::harness::{Campaign, Cluster, eventually, machine};
use crate::load;

const SEED: u64 = 104;
/// An operator's change on one process is active on all within this time.
const ACTIVE_WITHIN: Duration = Duration::from_secs(2);
/// For the steps around the measured ones.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_and_three_consumers_issue_exactly_ten_thousand_coupons() {
    machine::exclusive();
    let cluster = Cluster::start(2, 3).await;
    let campaign = Campaign::of(10_000, 4);
    let coupon = cluster.gateways[0].create(campaign).await;
    cluster.wait_for_campaign(coupon).await;
    let crowd = Crowd::at(&cluster.gateways[0], coupon);
    let others = crowd.through(&cluster.gateways[1]);

    let mut requests: Vec<u64> = (1..=20_000).chain(1..=10_000).collect();
    requests.shuffle(&mut StdRng::seed_from_u64(SEED));
    let rest = requests.split_off(15_000);
    let begun = Instant::now();
    tokio::join!(crowd.send_burst(64, requests), others.send_burst(64, rest));
    println!("{:.0} requests/s, {}", load::per_second(30_000, begun), crowd.latencies());

    let report = crowd.verify(&cluster.gateways[0], campaign).await;
    report.assert_holds();
    // On a busy machine a request may get a 503 although its record was appended, so the ledger's counts are compared.
    assert_eq!((report.audit.granted, report.audit.users), (10_000, 10_000));
    cluster.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_one_gateway_reaches_the_other_within_2_seconds() {
    machine::exclusive();
    let cluster = Cluster::start(2, 1).await;
    let [here, there] = &cluster.gateways[..] else { panic!("two gateways") };
    let coupon = here.create(Campaign::of(1, 1)).await;
    cluster.wait_for_campaign(coupon).await;
    let crowd = Crowd::at(there, coupon);

    // At first each gateway compiles the policies, in a time that depends on the machine. After that, it has them.
    for (from, to, picker, within) in [
        (here, there, "hash-user", PATIENCE),
        (there, here, "weighted", PATIENCE),
        (here, there, "hash-user", ACTIVE_WITHIN),
        (there, here, "weighted", ACTIVE_WITHIN),
    ] {
        let number = from.set_shard_picker(picker).await;
        let is_active = async || (to.pipeline().await["generation"] == number).then_some(());
        eventually("the pipeline is active on both gateways", within, is_active).await;
    }

    // The only coupon is issued before anything is measured: then every refusal of an open campaign says SOLD_OUT.
    assert!(crowd.request(1).await.is_accepted());
    let is_settled = async || (there.audit(coupon).await.granted == 1).then_some(());
    eventually("the coupon is issued", PATIENCE, is_settled).await;
    let mut users = 2..;
    let mut refusal_becomes = async |expected: &str| {
        let asked = async || {
            let reply = crowd.request(users.next().expect("users")).await;
            (!reply.is_accepted() && reply.refusal().1 == expected).then_some(())
        };
        eventually(expected, ACTIVE_WITHIN, asked).await;
    };
    here.change(coupon, "pause", json!({})).await;
    refusal_becomes("PAUSED").await;
    here.change(coupon, "resume", json!({})).await;
    refusal_becomes("SOLD_OUT").await;

    here.change(coupon, "top-up", json!({ "amount": 1 })).await;
    let late = async || crowd.request(users.next().expect("users")).await.is_accepted().then_some(());
    eventually("the top-up is active on the other gateway", ACTIVE_WITHIN, late).await;
    crowd.history.collect_outcomes(&there.client, PATIENCE).await;
    let audit = here.audit(coupon).await;
    assert_eq!((audit.total, audit.granted, audit.balanced), (2, 2, true), "{audit:?}");
    cluster.tear_down().await;
}
