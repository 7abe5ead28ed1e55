//! Counters in a Redis Cluster: what is on which node, and what a divided measure gives.

use std::collections::HashSet;

use futures_util::stream::StreamExt;

use super::test_cluster::{PRIMARIES, TestCluster, cli, subject_across, subject_on};
use super::test_server::{TestServer, at, free_port, open_when_started};
use super::*;
use crate::counters::redis::keys::PARTS;

async fn reserve_many(counters: &Redis, measure: Measure, requests: usize) -> Vec<Measured> {
    let calls = (0..requests).map(|_| async move { reserve(counters, measure, new_subject()).await });
    // More calls at once would delay the probe of the connections, which then count as lost.
    futures_util::stream::iter(calls).buffer_unordered(500).collect().await
}

fn conforming(measured: &[Measured]) -> usize {
    measured.iter().filter(|measured| **measured == Measured::Conforming).count()
}

#[tokio::test]
async fn users_coupons_keys_and_divided_measures_use_all_nodes() {
    let (cluster, counters) = TestCluster::with_counters(0).await;
    let kinds = [&[CAMPAIGN][..], &[count(Scope::Coupon, 0)], &[Measure::Sequence { scope: Scope::Gateway }], &[]];
    for measures in kinds {
        for _ in 0..300 {
            let fingerprint = measures.is_empty().then(|| Fingerprint(rand::random()));
            let subject = Subject { fingerprint, ..new_subject() };
            try_reserve(&counters, measures, subject).await.expect("counters available");
        }
        for port in &cluster.ports {
            let keys: usize = cli(*port, &["dbsize"]).trim().parse().expect("a number");
            assert!(keys > usize::from(PARTS) / PRIMARIES / 2, "{keys} keys for {measures:?}");
            cli(*port, &["flushall"]);
        }
    }
}

#[tokio::test]
async fn a_divided_bucket_gives_no_more_than_its_burst_and_most_of_it() {
    const BURST: u32 = 9_000;
    let counters = shared_cluster().await;
    let divided = bucket(1, rand::random_range(1_000_000_000..2_000_000_000), BURST);
    let tokens = conforming(&reserve_many(&counters, divided, 2 * BURST as usize).await);
    assert_eq!(tokens, BURST as usize, "every part is empty");

    let divided = bucket(1, rand::random_range(1_000_000_000..2_000_000_000), BURST);
    let tokens = conforming(&reserve_many(&counters, divided, BURST as usize).await);
    assert!(tokens >= BURST as usize * 9 / 10, "{tokens}: a random distribution uses most of every part");
}

#[tokio::test]
async fn a_token_released_to_a_divided_bucket_can_be_taken_again() {
    let counters = shared_cluster().await;
    let divided = bucket(1, rand::random_range(1_000_000_000..2_000_000_000), 9_000);
    let first = new_subject();
    while reserve(&counters, divided, first).await == Measured::Conforming {}
    release(&counters, &[divided], first, 1).await.expect("counters available");
    assert_eq!(reserve(&counters, divided, first).await, Measured::Conforming);
    assert_ne!(reserve(&counters, divided, first).await, Measured::Conforming);
}

#[tokio::test]
async fn a_divided_sequence_gives_every_number_once_and_visits_all_remainders_equally() {
    const REQUESTS: usize = 3_100;
    let (_cluster, counters) = TestCluster::with_counters(0).await;
    let measured = reserve_many(&counters, Measure::Sequence { scope: Scope::Gateway }, REQUESTS).await;
    let numbers: HashSet<_> = measured.into_iter().map(number).collect();
    assert_eq!(numbers.len(), REQUESTS);
    for shards in [2, 4, 12] {
        let mut requests = vec![0; shards];
        numbers.iter().for_each(|number| requests[*number as usize % shards] += 1);
        let (least, most) = (requests.iter().min().expect("a shard"), requests.iter().max().expect("a shard"));
        assert!(most - least <= usize::from(PARTS), "{requests:?}");
    }
}

fn number(measured: Measured) -> u64 {
    let Measured::Sequence(number) = measured else { panic!("expected a number, found {measured:?}") };
    number
}

#[tokio::test]
async fn a_hook_whose_keys_are_on_several_nodes_answers_in_the_order_of_its_measures() {
    let counters = shared_cluster().await;
    let measures = [count(Scope::Coupon, 0), bucket(1, 1, 9_000), CAMPAIGN, Measure::Sequence { scope: Scope::Coupon }];
    let first = Subject { fingerprint: Some(Fingerprint(rand::random())), ..new_subject() };
    let reserved = try_reserve(&counters, &measures, first).await.expect("counters available");
    let expected = [Measured::Count(1), Measured::Conforming, Measured::Count(1), Measured::Sequence(0)];
    assert_eq!((&reserved.measured[..], reserved.added), (&expected[..], 0b0111 | crate::counters::KEY_ADDED));

    release(&counters, &measures, first, reserved.added).await.expect("counters available");
    let again = try_reserve(&counters, &measures, another_request(first)).await.expect("counters available");
    let expected = [Measured::Count(1), Measured::Conforming, Measured::Count(1), Measured::Sequence(1)];
    assert_eq!((&again.measured[..], again.added), (&expected[..], 0b0111 | crate::counters::KEY_ADDED));
}

#[tokio::test]
async fn systems_with_different_prefixes_share_a_redis() {
    let (cluster, first) = TestCluster::with_counters(0).await;
    let port = free_port();
    let _server = TestServer::start(port, &[]);
    let single = open_when_started(|| at(port)).await;
    for (url, counters) in [(cluster.url(), first), (format!("redis://127.0.0.1:{port}"), single)] {
        let options = Options { url, key_prefix: "other".to_owned(), ..Options::default() };
        let other = open(options.server().expect("valid options").expect("a Redis URL")).await.expect("opens");
        let subject = Subject { fingerprint: Some(Fingerprint(7)), ..new_subject() };
        for counters in [&counters, &other] {
            let reserved =
                try_reserve(counters, &[CAMPAIGN], another_request(subject)).await.expect("counters available");
            assert_eq!((reserved.measured[0], reserved.is_key_taken), (Measured::Count(1), false));
        }
    }
}

#[tokio::test]
async fn a_single_redis_that_the_url_calls_a_cluster_fails_the_start() {
    let port = free_port();
    let _server = TestServer::start(port, &[]);
    open_when_started(|| at(port)).await;
    let url = format!("redis+cluster://127.0.0.1:{port}");
    for opened in [open(server(&url)).await, open_or_retry(server(&url)).await] {
        let error = opened.err().expect("the start fails").to_string();
        assert!(error.contains("use `redis://`"), "{error}");
    }
}

#[tokio::test]
async fn one_reachable_node_is_enough_to_find_the_cluster() {
    let (cluster, _counters) = TestCluster::with_counters(0).await;
    let url = format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", free_port(), cluster.ports[2]);
    let counters = open(server(&url)).await.expect("opens");
    for port in &cluster.ports {
        assert_eq!(reserve(&counters, CAMPAIGN, subject_on(&counters, *port)).await, Measured::Count(1));
    }
}

#[tokio::test]
async fn scripts_that_one_node_lost_are_loaded_again_there() {
    let (cluster, counters) = TestCluster::with_counters(0).await;
    let subject = subject_across(&counters, cluster.ports[0], cluster.ports[1]);
    let measures = [CAMPAIGN, count(Scope::Coupon, 0)];
    for number in 1..=3 {
        let reserved = try_reserve(&counters, &measures, another_request(subject)).await.expect("counters available");
        assert_eq!(reserved.measured[..], [Measured::Count(number); 2]);
        cli(cluster.ports[1], &["script", "flush"]);
    }
}
