//! Two ledger groups on two database servers, one of which is killed.

use std::time::Duration;

use crate::crowd::Crowd;
use crate::harness::{Campaign, Cluster, Databases, Gateway, Launch, eventually, machine, service, soak};

const PER_SECOND: f64 = 150.0;
/// Users of each coupon in each part of the test: before, during and after the outage.
const USERS: u64 = 400;
const USERS_LONG: u64 = 10_000;
const RECOVERED_WITHIN: Duration = Duration::from_secs(120);
/// An outcome takes milliseconds. A wait for the other group's database would take the 10 s of its timeouts.
const SETTLED_WITHIN: Duration = Duration::from_secs(8);

async fn reaches(gateway: &Gateway, group: &str) -> bool {
    gateway.metrics().await.sum("sluice_ledger_group_reachable", &[("group", group)]) == 1.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_killed_under_load_stops_only_its_group_and_loses_nothing() {
    machine::exclusive();
    service("start", "mariadb-2").await;
    let mut cluster = Cluster::start_on(Databases::TwoServers, Launch::default(), 2, 2).await;
    let users = soak::short_or_long(USERS, USERS_LONG);
    let first = Campaign { coupon: 7_001, ..Campaign::of(10 * users, 12) };
    let second = Campaign { coupon: 7_002, ..first };
    for (campaign, group) in [(first, 0), (second, 1)] {
        cluster.gateways[0].create(campaign).await;
        cluster.wait_for_campaign(campaign.coupon).await;
        let shown = cluster.gateways[0].operator.get(&format!("/admin/coupons/{}", campaign.coupon)).await.json();
        assert_eq!(shown["group"], group, "by the hash of its number");
    }
    let of_first = Crowd::at(&cluster.gateways[0], first.coupon);
    let of_second = Crowd::at(&cluster.gateways[0], second.coupon);
    let send = async |part: u64| {
        let users = part * users + 1..=(part + 1) * users;
        tokio::join!(of_first.send_at_rate(PER_SECOND, users.clone()), of_second.send_at_rate(PER_SECOND, users));
    };
    send(0).await;
    tokio::join!(send(1), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        service("kill", "mariadb-2").await;
    });

    let gateway = &cluster.gateways[0];
    eventually("the outage is noticed", RECOVERED_WITHIN, async || (!reaches(gateway, "1").await).then_some(())).await;
    assert!(reaches(gateway, "0").await);
    let names_the_group = async || {
        let ready = gateway.operator.get("/readyz").await;
        assert_eq!(ready.status, 200, "{ready}");
        // Group 0 is named first if its database is busy for longer than readiness waits.
        let ledger = ready.json()["ledger"].as_str().unwrap_or_default().to_owned();
        ledger.starts_with("ledger group 1: ").then_some(())
    };
    eventually("readiness names the group", RECOVERED_WITHIN, names_the_group).await;
    let settled = async || (gateway.audit(first.coupon).await.granted == 2 * users).then_some(());
    eventually("requests of the first group are settled", SETTLED_WITHIN, settled).await;
    cluster.gateways[1].kill().await;
    cluster.gateways[1].restart().await;
    let restarted = of_first.through(&cluster.gateways[1]);
    assert!(restarted.request(5 * users).await.is_accepted(), "a restart needs only the first group");
    let refused = of_second.through(&cluster.gateways[1]).request(5 * users).await;
    assert_eq!(refused.refusal(), (503, "LEDGER_UNAVAILABLE"), "its campaigns are not known yet");
    send(2).await;
    service("start", "mariadb-2").await;
    send(3).await;

    let restarted = &cluster.gateways[1];
    eventually("the group has joined", RECOVERED_WITHIN, async || reaches(restarted, "1").await.then_some(())).await;
    for (crowd, campaign, accepted) in [(&of_first, first, 4 * users + 1), (&of_second, second, 4 * users)] {
        let report = crowd.verify(&cluster.gateways[0], campaign).await;
        println!("coupon {}: {} violations, {report}; {}", campaign.coupon, report.violations.len(), crowd.latencies());
        report.assert_holds();
        assert_eq!((report.accepted as u64, report.audit.granted), (accepted, accepted), "{report}");
    }
    cluster.tear_down().await;
}
