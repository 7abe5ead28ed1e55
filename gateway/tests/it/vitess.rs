//! Two ledger groups on Vitess, for `make vitess`, which starts it.

use std::time::Instant;

use crate::crowd::Crowd;
use crate::harness::{Campaign, Cluster, Databases, Launch, machine};
use crate::load;

/// Of each of two coupons.
const STOCK: u64 = 2_000;
/// Each asks for one of each.
const USERS: u64 = 3_000;

async fn issue_two_coupons_of_two_groups(databases: Databases) {
    machine::exclusive();
    let cluster = Cluster::start_on(databases, Launch::default(), 2, 2).await;
    let [gateway, other] = &cluster.gateways[..] else { panic!("two gateways") };
    let campaigns = [7_001, 7_002].map(|coupon| Campaign { coupon, ..Campaign::of(STOCK, 12) });
    for (group, campaign) in campaigns.iter().enumerate() {
        gateway.create(*campaign).await;
        cluster.wait_for_campaign(campaign.coupon).await;
        let shown = gateway.operator.get(&format!("/admin/coupons/{}", campaign.coupon)).await.json();
        assert_eq!(shown["group"], group, "by the hash of its number");
    }
    let [of_first, of_second] = campaigns.map(|campaign| Crowd::at(gateway, campaign.coupon));
    let through_other = of_second.through(other);
    let begun = Instant::now();
    tokio::join!(of_first.send_burst(32, 1..=USERS), through_other.send_burst(32, 1..=USERS));
    let requests = of_first.history.exchanges().len() + of_second.history.exchanges().len();
    println!("{databases:?}: {:.0} requests/s", load::per_second(requests, begun));

    for (group, (crowd, campaign)) in [&of_first, &of_second].into_iter().zip(campaigns).enumerate() {
        let report = crowd.verify(gateway, campaign).await;
        report.assert_holds();
        assert_eq!((report.audit.granted, report.audit.users, report.audit.remaining), (STOCK, STOCK, 0));
        let outcomes = format!("SELECT count(*) FROM issue_outcome WHERE coupon_id = {}", campaign.coupon);
        let issued = format!("{outcomes} AND status = 'ISSUED'");
        assert_eq!(cluster.number_in(group, &issued).await, STOCK);
        assert_eq!(cluster.number_in(group, &outcomes).await, STOCK + report.audit.sold_out);
        assert_eq!(cluster.number_in(1 - group, &outcomes).await, 0, "in the other group's database");
    }
    for consumer in &cluster.consumers {
        assert_eq!(consumer.metrics().await.sum("sluice_settlement_retries_total", &[]), 0.0);
    }
    cluster.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Vitess: make vitess"]
async fn two_unsharded_keyspaces_issue_exactly_their_stock() {
    issue_two_coupons_of_two_groups(Databases::TwoKeyspaces).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Vitess: make vitess"]
async fn two_shards_of_one_keyspace_issue_exactly_their_stock() {
    issue_two_coupons_of_two_groups(Databases::TwoShards).await;
}
