//! What a call costs Redis.

use super::shared::query;
use super::test_cluster::{TestCluster, cli};
use super::test_server::TestServer;
use super::*;

/// How many commands Redis ran since its statistics were reset, those within scripts included.
async fn commands(counters: &Redis) -> usize {
    let statistics: String = query(counters, "INFO commandstats").await;
    let calls = statistics.lines().filter(|line| !line.contains("_config|resetstat") && !line.contains("_info:"));
    let calls = calls.filter_map(|line| line.split_once("calls=")?.1.split(',').next()?.parse::<usize>().ok());
    calls.sum()
}

#[tokio::test]
async fn forgetting_rejected_requests_costs_one_command_each_and_one_call_for_many() {
    const REQUESTS: usize = 300;
    let (_server, counters) = TestServer::with_counters().await;
    let rejected: Vec<_> = (0..REQUESTS).map(|_| new_subject()).collect();
    for subject in &rejected {
        reserve(&counters, CAMPAIGN, *subject).await;
    }
    let _: ::redis::Value = query(&counters, "CONFIG RESETSTAT").await;
    counters.forget(&rejected).await.expect("counters available");
    let commands = commands(&counters).await;
    assert!(commands <= REQUESTS + 10, "{commands} commands for {REQUESTS} requests");
}

/// How many scripts the nodes of the cluster ran since their statistics were reset.
fn scripts(cluster: &TestCluster) -> usize {
    let of_node = |port: &u16| {
        let statistics = cli(*port, &["info", "commandstats"]);
        let calls =
            statistics.split_once("cmdstat_evalsha:calls=").and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
        calls.unwrap_or(0_usize)
    };
    cluster.ports.iter().map(of_node).sum()
}

fn reset_statistics(cluster: &TestCluster) {
    cluster.ports.iter().for_each(|port| {
        cli(*port, &["config", "resetstat"]);
    });
}

/// The probe of a connection may come in between.
const PROBES: usize = 3;

#[tokio::test]
async fn a_hook_costs_a_single_redis_one_script_whatever_it_measures() {
    let (_server, counters) = TestServer::with_counters().await;
    let measures =
        [CAMPAIGN, count(Scope::Coupon, 0), bucket(1, 1, 10_000), Measure::Sequence { scope: Scope::Gateway }];
    let subject = Subject { fingerprint: Some(Fingerprint(1)), ..new_subject() };
    try_reserve(&counters, &measures, subject).await.expect("counters available");
    let _: ::redis::Value = query(&counters, "CONFIG RESETSTAT").await;
    for _ in 0..100 {
        try_reserve(&counters, &measures, subject).await.expect("counters available");
    }
    let statistics: String = query(&counters, "INFO commandstats").await;
    let scripts = statistics.split_once("cmdstat_evalsha:calls=").and_then(|(_, rest)| rest.split(',').next());
    let scripts: usize = scripts.and_then(|calls| calls.parse().ok()).expect("a number");
    assert!((100..=100 + PROBES).contains(&scripts), "{scripts} scripts for 100 requests");
}

#[tokio::test]
async fn releasing_the_reservation_of_all_hooks_costs_a_single_redis_one_script() {
    const REQUESTS: usize = 100;
    let (_server, counters) = TestServer::with_counters().await;
    let measures = [CAMPAIGN, bucket(1, 1, 10_000)];
    let mut reservations = Vec::new();
    for index in 0..REQUESTS {
        let fingerprint = Some(Fingerprint(i64::try_from(index).expect("small")));
        let subject = Subject { fingerprint, ..new_subject() };
        let mut added = Vec::new();
        for hook in Hook::ALL {
            let fingerprint = fingerprint.filter(|_| added.is_empty());
            let reserved = counters.reserve(hook, &measures, &Subject { fingerprint, ..subject }).await;
            let bits = reserved.expect("counters available").added;
            added.push(Added { hook, measures: &measures, bits });
        }
        reservations.push((subject, added));
    }
    let (subject, added) = reservations.pop().expect("one to load the script with");
    counters.release(&subject, &added).await.expect("counters available");
    let _: ::redis::Value = query(&counters, "CONFIG RESETSTAT").await;
    for (subject, added) in &reservations {
        counters.release(subject, added).await.expect("counters available");
    }
    // Of each request: the script, two for its key, one for each count and two for each bucket.
    let (commands, expected) = (commands(&counters).await, (REQUESTS - 1) * (1 + 2 + Hook::ALL.len() * 3));
    // A probe is a script, the time and two for its sequence.
    assert!((expected..=expected + PROBES * 4).contains(&commands), "{commands}, not {expected}");
}

#[tokio::test]
async fn a_retry_costs_its_key_two_commands_more_than_the_first_attempt() {
    let (_server, counters) = TestServer::with_counters().await;
    let keyed = |fingerprint| Subject { fingerprint: Some(Fingerprint(fingerprint)), ..new_subject() };
    try_reserve(&counters, &[], keyed(-1)).await.expect("loads the script");
    let of_claims = async |subjects: Vec<Subject>| {
        let _: ::redis::Value = query(&counters, "CONFIG RESETSTAT").await;
        for subject in subjects {
            try_reserve(&counters, &[], subject).await.expect("counters available");
        }
        commands(&counters).await
    };
    let subjects: Vec<_> = (0..100).map(keyed).collect();
    let retries = subjects.iter().copied().map(another_attempt).collect();
    let (first, retries) = (of_claims(subjects).await, of_claims(retries).await);
    // The script asks for the time, and claims the key. A retry also reads the key and adds its claim.
    assert!((300..=300 + PROBES * 4).contains(&first), "{first} commands");
    assert!((500..=500 + PROBES * 4).contains(&retries), "{retries} commands");
}

#[tokio::test]
async fn in_a_cluster_a_user_limit_costs_one_script_and_a_key_one_more() {
    const REQUESTS: usize = 300;
    let (cluster, counters) = TestCluster::with_counters(0).await;
    let measures = [CAMPAIGN, count(Scope::User, 60_000)];
    for fingerprint in [None, Some(Fingerprint(1))] {
        let keyed = |index| fingerprint.map(|_| Fingerprint(index));
        for index in 0..50 {
            let warm_up = Subject { fingerprint: keyed(-1 - index), ..new_subject() };
            let reserved = try_reserve(&counters, &measures, warm_up).await.expect("counters available");
            release(&counters, &measures, warm_up, reserved.added).await.expect("counters available");
        }
        reset_statistics(&cluster);
        let mut reservations = Vec::new();
        for index in 0..REQUESTS {
            let fingerprint = keyed(i64::try_from(index).expect("small"));
            let subject = Subject { fingerprint, ..new_subject() };
            let reserved = try_reserve(&counters, &measures, subject).await.expect("counters available");
            reservations.push((subject, reserved.added));
        }
        let expected = REQUESTS * if fingerprint.is_some() { 2 } else { 1 };
        assert_scripts(&cluster, expected);
        reset_statistics(&cluster);
        for (subject, added) in reservations {
            release(&counters, &measures, subject, added).await.expect("counters available");
        }
        // First that of the key, whose answer tells whether the counts are released too.
        assert_scripts(&cluster, expected);
    }
}

fn assert_scripts(cluster: &TestCluster, expected: usize) {
    let scripts = scripts(cluster);
    assert!((expected..=expected + PROBES * cluster.ports.len()).contains(&scripts), "{scripts}, not {expected}");
}

#[tokio::test]
async fn in_a_cluster_forgetting_requests_of_one_coupon_costs_one_script_for_many() {
    const REQUESTS: usize = 200;
    let (cluster, counters) = TestCluster::with_counters(0).await;
    let of_coupon = count(Scope::Coupon, 0);
    let campaign_counts = CampaignCounts::among(PerHook { user_limit: &[of_coupon][..], ..PerHook::default() });
    let first = Subject { campaign_counts, ..new_subject() };
    let rejected: Vec<_> = (0..REQUESTS).map(|_| another_request(first)).collect();
    for subject in &rejected {
        reserve(&counters, of_coupon, *subject).await;
    }
    counters.forget(&[another_request(first)]).await.expect("loads the script");
    reset_statistics(&cluster);
    counters.forget(&rejected).await.expect("counters available");
    let scripts = scripts(&cluster);
    assert!(scripts <= 1 + PROBES * cluster.ports.len(), "{scripts} scripts");
    assert_eq!(reserve(&counters, of_coupon, another_request(first)).await, Measured::Count(1));
}
