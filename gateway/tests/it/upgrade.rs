//! An upgrade with records in flight. `make upgrade FROM=COMMIT` builds the earlier release and runs these tests.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::crowd::Crowd;
use crate::harness::{Campaign, Cluster, Gateway, Launch};

/// The first third of the requests is settled before the upgrade, the others are in flight.
const SETTLED: u64 = 200;
const SENT: u64 = 600;
const STOCK: u64 = 500;
const TOP_UP: u64 = 50;
const DRAINED_WITHIN: Duration = Duration::from_mins(1);

fn earlier_release() -> PathBuf {
    std::env::var_os("SLUICE_EARLIER").expect("run `make upgrade FROM=COMMIT`").into()
}

/// Every accepted request settles once, SOLD_OUT included, and whoever was rejected may come again after a top-up.
async fn verify(gateway: &Gateway, crowd: &Crowd, campaign: Campaign) {
    let report = crowd.verify(gateway, campaign).await;
    report.assert_holds();
    assert_eq!((report.accepted as u64, report.issued() as u64), (SENT, STOCK), "{report}");
    let top_up = gateway.change(campaign.coupon, "top-up", json!({ "amount": TOP_UP })).await;
    assert_eq!(top_up.status, 200, "{top_up}");
    let again = Crowd::at(gateway, campaign.coupon);
    again.send_burst(8, 1..=SENT).await;
    gateway.wait_until_drained(DRAINED_WITHIN).await;
    let audit = gateway.audit(campaign.coupon).await;
    assert_eq!((audit.granted, audit.users, audit.remaining), (STOCK + TOP_UP, STOCK + TOP_UP, 0), "{audit:?}");
    assert!(audit.balanced && audit.recount.agrees && audit.recount.users_over_limit == 0, "{audit:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an earlier release: make upgrade"]
async fn embedded_records_in_flight_settle_after_an_upgrade() {
    let earlier = Launch::default().with_binary(earlier_release());
    let mut gateway = Gateway::launch(earlier.clone()).await;
    let campaign = Campaign::of(STOCK, 4);
    let crowd = Crowd::at(&gateway, gateway.create(campaign).await);
    crowd.send_burst(8, 1..=SETTLED).await;
    gateway.wait_until_drained(DRAINED_WITHIN).await;
    gateway.stop().await;
    gateway.restart_as(earlier.with_role("gateway")).await;
    crowd.send_burst(8, SETTLED + 1..=SENT).await;
    gateway.kill().await;
    gateway.restart_as(Launch::default()).await;
    verify(&gateway, &crowd, campaign).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an earlier release: make upgrade"]
async fn records_in_flight_on_kafka_settle_after_an_upgrade() {
    let mut cluster = Cluster::start_with(Launch::default().with_binary(earlier_release()), 2, 2).await;
    let campaign = Campaign::of(STOCK, 4);
    cluster.gateways[0].create(campaign).await;
    cluster.wait_for_campaign(campaign.coupon).await;
    let crowd = Crowd::at(&cluster.gateways[0], campaign.coupon);
    let through_other = crowd.through(&cluster.gateways[1]);
    crowd.send_burst(8, 1..=SETTLED).await;
    cluster.gateways[0].wait_until_drained(DRAINED_WITHIN).await;
    for consumer in &mut cluster.consumers {
        consumer.stop().await;
    }
    tokio::join!(crowd.send_burst(8, SETTLED + 1..=SENT / 2), through_other.send_burst(8, SENT / 2 + 1..=SENT),);
    for gateway in &mut cluster.gateways {
        gateway.kill().await;
    }
    cluster.upgrade().await;
    verify(&cluster.gateways[0], &crowd, campaign).await;
    cluster.tear_down().await;
}
