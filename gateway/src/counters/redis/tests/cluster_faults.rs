//! Nodes of a Redis Cluster are killed or hang, and slots move.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustix::process::Signal;

use super::test_cluster::{PRIMARIES, TestCluster, subject_across, subject_on, until};
use super::*;
use crate::counters::fail_open::FailOpen;

/// Far more than a call to a healthy node takes, and less than a call waits for a hung one, on a machine that runs other
/// tests.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Less than the gateway waits for a hung node when it probes it or connects to it.
const BEFORE_A_PROBE_FAILS: Duration = Duration::from_millis(700);

/// Counts more requests of the user until one is counted.
async fn counted_again(counters: &Redis, subject: Subject) -> u64 {
    let last = tokio::sync::Mutex::new(None);
    until("the user's slot is served", || async {
        let Ok(reserved) = try_reserve(counters, &[CAMPAIGN], another_request(subject)).await else { return false };
        *last.lock().await = Some(reserved.measured[0]);
        true
    })
    .await;
    let Some(Measured::Count(number)) = *last.lock().await else { panic!("expected a count") };
    number
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_stops_only_its_slots_until_its_replica_takes_over() {
    let (mut cluster, counters) = TestCluster::with_counters(1).await;
    let ports = cluster.ports.clone();
    let subjects: Vec<_> = ports[..PRIMARIES].iter().map(|port| subject_on(&counters, *port)).collect();
    for subject in &subjects {
        assert_eq!(reserve(&counters, CAMPAIGN, *subject).await, Measured::Count(1));
    }
    cluster.kill_node(0);
    until("the loss is noticed", || async {
        try_reserve(&counters, &[CAMPAIGN], another_request(subjects[0])).await.is_err()
    })
    .await;
    assert!(counters.ready().is_ok(), "two of three nodes serve requests");

    let is_over = AtomicBool::new(false);
    let others = async {
        let mut requests = 1;
        while !is_over.load(Ordering::Relaxed) {
            requests += 1;
            for subject in &subjects[1..] {
                let begun = Instant::now();
                assert_eq!(reserve(&counters, CAMPAIGN, another_request(*subject)).await, Measured::Count(requests));
                assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
            }
        }
    };
    let failover = async {
        let begun = Instant::now();
        let number = counted_again(&counters, subjects[0]).await;
        assert!(number <= 2, "{number}: a replica may lack the last request, but has no other");
        is_over.store(true, Ordering::Relaxed);
        begun.elapsed()
    };
    let ((), waited) = tokio::join!(others, failover);
    assert!(waited > Duration::from_millis(100), "the failover took {waited:?}");

    cluster.start_node(0);
    for subject in &subjects {
        assert!(counted_again(&counters, *subject).await >= 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_replica_serves_again_once_it_is_back() {
    let (mut cluster, counters) = TestCluster::with_counters(0).await;
    let subject = subject_on(&counters, cluster.ports[2]);
    assert_eq!(reserve(&counters, CAMPAIGN, subject).await, Measured::Count(1));
    cluster.kill_node(2);
    until("the loss is noticed", || async { try_reserve(&counters, &[CAMPAIGN], subject).await.is_err() }).await;
    let begun = Instant::now();
    for _ in 0..1_000 {
        try_reserve(&counters, &[CAMPAIGN], subject).await.expect_err("no node serves the slot");
    }
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    cluster.start_node(2);
    assert_eq!(counted_again(&counters, subject).await, 1, "the node kept its data in memory only");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_node_delays_no_call_to_the_others() {
    let (cluster, patient) = TestCluster::with_counters(0).await;
    let counters = open(server(&cluster.url())).await.expect("opens");
    let subjects: Vec<_> = cluster.ports.iter().map(|port| subject_on(&counters, *port)).collect();
    cluster.node(0).signal(Signal::STOP);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        let hung = try_reserve(&counters, &[CAMPAIGN], another_request(subjects[0]));
        let others = join_all(subjects[1..].iter().map(async |subject| {
            let called = Instant::now();
            reserve(&patient, CAMPAIGN, another_request(*subject)).await;
            called.elapsed()
        }));
        let (hung, waited) = tokio::join!(hung, others);
        hung.expect_err("no answer");
        assert!(waited.iter().all(|waited| *waited < BEFORE_A_PROBE_FAILS), "{waited:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cluster.node(0).signal(Signal::CONT);
    counted_again(&counters, subjects[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_counted_is_released_when_another_fails() {
    let (cluster, patient) = TestCluster::with_counters(0).await;
    let counters = open(server(&cluster.url())).await.expect("opens");
    let broken = subject_across(&counters, cluster.ports[0], cluster.ports[1]);
    let measures = [count(Scope::User, 0), count(Scope::Coupon, 0)];
    cluster.node(1).signal(Signal::STOP);
    for _ in 0..5 {
        try_reserve(&counters, &measures, another_request(broken)).await.expect_err("the coupon's node hangs");
    }
    let whole =
        Subject { coupon_id: subject_across(&counters, cluster.ports[0], cluster.ports[2]).coupon_id, ..broken };
    until("the failed requests are no longer counted", || async {
        let request = another_request(whole);
        let reserved = try_reserve(&patient, &measures, request).await.expect("both nodes are up");
        release(&patient, &measures, request, reserved.added).await.expect("both nodes are up");
        reserved.measured[..] == [Measured::Count(1); 2]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_are_released_although_the_node_of_their_key_hangs() {
    let (cluster, patient) = TestCluster::with_counters(0).await;
    let counters = open(server(&cluster.url())).await.expect("opens");
    let fingerprints = (0..).map(Fingerprint);
    let port = |fingerprint| {
        let keys = &patient.nodes.server.keys;
        patient.nodes.owner(keys.slot(keys.home_of_key(fingerprint))).expect("every slot has a node").node.port
    };
    let fingerprint = fingerprints.into_iter().find(|key| port(*key) == cluster.ports[0]).expect("the node has slots");
    let user = subject_on(&patient, cluster.ports[1]);
    let keyed = Subject { fingerprint: Some(fingerprint), ..user };
    let reserved = try_reserve(&patient, &[CAMPAIGN], keyed).await.expect("all nodes are up");
    cluster.node(0).signal(Signal::STOP);
    release(&counters, &[CAMPAIGN], keyed, reserved.added).await.expect("the release of the key is queued");
    assert_eq!(reserve(&patient, CAMPAIGN, another_request(user)).await, Measured::Count(1));
    cluster.node(0).signal(Signal::CONT);
    until("the key is free", || async {
        let claimed = try_reserve(&counters, &[], another_request(keyed)).await;
        claimed.is_ok_and(|claimed| !claimed.is_key_taken)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_pass_mode_only_requests_for_a_lost_node_count_as_first() {
    let (mut cluster, counters) = TestCluster::with_counters(0).await;
    let [lost, kept] = [0, 1].map(|node| subject_on(&counters, cluster.ports[node]));
    let counters = FailOpen::new(counters);
    let number = async |subject| {
        let reserved = counters.reserve(HOOK, &[CAMPAIGN], &another_request(subject)).await.expect("fails open");
        reserved.measured[0]
    };
    for _ in 0..3 {
        number(lost).await;
        number(kept).await;
    }
    cluster.kill_node(0);
    until("the loss is noticed", || async { number(lost).await == Measured::Count(1) }).await;
    assert_eq!(number(lost).await, Measured::Count(1));
    assert_eq!(number(kept).await, Measured::Count(4));
}

/// A request that fails while its slot moves is sent again, as a client would.
async fn reserve_with_retries(counters: &Redis, measures: &[Measure], subject: Subject) -> Reserved {
    loop {
        match try_reserve(counters, measures, subject).await {
            Ok(reserved) => return reserved,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn slots_that_move_under_traffic_count_every_request_once() {
    const SLOTS_MOVED: u16 = 400;
    let (cluster, counters) = TestCluster::with_counters(0).await;
    let counters = Arc::new(counters);
    let slot = |subject: &Subject| counters.nodes.server.keys.slot(keys::Home::User(subject.user_id));
    let users: Vec<_> = std::iter::repeat_with(new_subject).filter(|user| slot(user) < SLOTS_MOVED).take(40).collect();
    let measures = [CAMPAIGN, count(Scope::User, 3_600_000), count(Scope::Coupon, 0)];
    let is_over = Arc::new(AtomicBool::new(false));
    let traffic: Vec<_> = users
        .into_iter()
        .map(|user| {
            let (counters, is_over) = (Arc::clone(&counters), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut numbers = HashSet::new();
                let mut requests = 0;
                while !is_over.load(Ordering::Relaxed) {
                    requests += 1;
                    let request = another_request(user);
                    let reserved = reserve_with_retries(&counters, &measures, request).await;
                    assert_eq!(reserved.measured[..], [Measured::Count(requests); 3]);
                    let retried = reserve_with_retries(&counters, &measures, request).await;
                    assert_eq!((retried.measured, retried.added), (reserved.measured.clone(), 0));
                    numbers.insert(requests);
                }
                numbers.len()
            })
        })
        .collect();
    let cluster = tokio::task::spawn_blocking(move || {
        cluster.reshard(0, 1, SLOTS_MOVED);
        cluster
    })
    .await
    .expect("the slots move");
    is_over.store(true, Ordering::Relaxed);
    for task in traffic {
        assert!(task.await.expect("every request is counted once") > 1);
    }
    let moved = std::iter::repeat_with(new_subject).find(|user| slot(user) < SLOTS_MOVED).expect("a user");
    until("the gateway has read the slots again", || async {
        reserve(&counters, CAMPAIGN, another_request(moved)).await;
        counters.nodes.owner(slot(&moved)).is_ok_and(|owner| owner.node.port == cluster.ports[1])
    })
    .await;
}
