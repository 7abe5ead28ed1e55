//! Redis is away, slow, or full.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::throwaway::{Throwaway, at, free_port, opened, soon};
use super::*;
use crate::counters::fail_open::FailOpen;

/// What a call may take beyond its own bound on a machine that is busy with other tests.
const BUSY: Duration = Duration::from_millis(200);

async fn is_up(counters: &Redis) -> bool {
    counters.ready().is_ok()
}

async fn is_down(counters: &Redis) -> bool {
    counters.ready().is_err()
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_once_and_found_when_it_comes() {
    let port = free_port();
    let refused = open(at(port)).await.err().expect("out of reach").to_string();
    assert!(refused.contains("on_unavailable = \"pass\""), "{refused}");

    let counters = open_if_there(at(port)).await.expect("goes on without");
    let begun = Instant::now();
    for _ in 0..1_000 {
        try_reserve(&counters, &[CAMPAIGN], somebody()).await.expect_err("out of reach");
    }
    assert!(begun.elapsed() < BUSY, "{:?}", begun.elapsed());
    assert!(counters.ready().expect_err("out of reach").contains("refused"), "{:?}", counters.ready());

    let server = Throwaway::start(port, &[]);
    soon("it is found", || is_up(&counters)).await;
    assert_eq!(reserve(&counters, CAMPAIGN, somebody()).await, Measured::Count(1));

    drop(server);
    soon("its end is noticed while nobody asks", || is_down(&counters)).await;
    let _server = Throwaway::start(port, &[]);
    soon("it is found again", || is_up(&counters)).await;
    assert_eq!(reserve(&counters, CAMPAIGN, somebody()).await, Measured::Count(1));
}

#[tokio::test]
async fn a_server_that_hangs_costs_a_few_their_time_and_the_others_nothing() {
    let (server, counters) = Throwaway::with_counters().await;
    server.signal(Signal::STOP);
    let begun = Instant::now();
    for _ in 0..100 {
        try_reserve(&counters, &[CAMPAIGN], somebody()).await.expect_err("it hangs");
    }
    let waited = begun.elapsed();
    assert!(waited >= CALL_MAX && waited < 3 * CALL_MAX + BUSY, "{waited:?}");
    assert!(is_down(&counters).await);

    server.signal(Signal::CONT);
    soon("it is found again", || is_up(&counters)).await;
}

#[tokio::test]
async fn what_was_counted_too_late_or_for_nobody_is_given_back() {
    let (server, counters) = Throwaway::with_counters().await;
    let first = somebody();
    server.signal(Signal::STOP);
    try_reserve(&counters, &[CAMPAIGN], again(first)).await.expect_err("it hangs");
    let hung_up = again(first);
    let taking = try_reserve(&counters, &[CAMPAIGN], hung_up);
    tokio::time::timeout(Duration::from_millis(5), taking).await.expect_err("it hangs");
    server.signal(Signal::CONT);

    soon("nobody is counted", || async {
        let Ok(reserved) = try_reserve(&counters, &[CAMPAIGN], first).await else { return false };
        reserved.measured[0] == Measured::Count(1)
    })
    .await;
}

#[tokio::test]
async fn what_could_not_be_given_back_is_when_redis_returns() {
    let port = free_port();
    let server = Throwaway::start(port, &[]);
    let counters = opened(|| at(port)).await;
    let (given_back, rejected) = (somebody(), somebody());
    for subject in [given_back, rejected] {
        reserve(&counters, CAMPAIGN, subject).await;
    }
    server.signal(Signal::STOP);
    soon("its silence is noticed", || async {
        try_reserve(&counters, &[CAMPAIGN], somebody()).await.is_err() && is_down(&counters).await
    })
    .await;
    counters.release(HOOK, &[CAMPAIGN], &given_back, 1).await.expect("is remembered");
    counters.forget(&[rejected]).await.expect("is remembered");
    server.signal(Signal::CONT);
    for newcomer in [again(given_back), again(rejected)] {
        soon("it is given back", || async {
            let reserved = try_reserve(&counters, &[CAMPAIGN], newcomer).await;
            reserved.is_ok_and(|reserved| reserved.measured[0] == Measured::Count(1))
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_as_good_as_none() {
    let port = free_port();
    let _server = Throwaway::start(port, &["--maxmemory", "100kb", "--maxmemory-policy", "noeviction"]);
    soon("it says that it is full", || async {
        let error = open(at(port)).await.err().map(|error| error.to_string()).unwrap_or_default();
        error.contains("OOM")
    })
    .await;
}

#[tokio::test]
async fn who_can_do_without_measures_everybody_as_the_first() {
    let counters = FailOpen::new(open_if_there(at(free_port())).await.expect("goes on without"));
    let measures = [CAMPAIGN, bucket(1, 1_000, 1), Measure::Sequence { scope: Scope::Coupon }];
    for number in 0..3 {
        let reserved = counters.reserve(HOOK, &measures, &somebody()).await.expect("it goes on");
        let first = vec![Measured::Count(1), Measured::Conforming, Measured::Sequence(number)];
        assert_eq!((reserved.measured, reserved.added), (first, 0));
    }
    assert!(counters.ready().is_err() && counters.is_optional());
}
