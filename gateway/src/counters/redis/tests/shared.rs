//! What several gateways share, and what Redis keeps of it.

use ::redis::{Pipeline, Value};

use super::commands::{RESERVE, run};
use super::throwaway::{Throwaway, at, free_port, opened};
use super::*;
use crate::counters::COUNTED_BY_NAME;
use crate::coupon::now_ms;

async fn ask<T: ::redis::FromRedisValue>(counters: &Redis, command: &str) -> T {
    let mut words = command.split(' ');
    let mut command = ::redis::cmd(words.next().expect("a command"));
    words.for_each(|word| {
        command.arg(word);
    });
    let mut connection = counters.connection(&counters.link.state()).expect("in reach");
    command.query_async(&mut connection).await.expect("an answer")
}

#[tokio::test]
async fn two_gateways_count_together() {
    let gateways = [everybodys().await, everybodys().await];
    let first = somebody();
    for (gateway, place) in gateways.iter().cycle().zip(1..=3 * COUNTED_BY_NAME as u64) {
        assert_eq!(reserve(gateway, CAMPAIGN, again(first)).await, Measured::Count(place));
    }
    assert_eq!(reserve(&gateways[0], CAMPAIGN, first).await, Measured::Count(3 * COUNTED_BY_NAME as u64 + 1));
    assert_eq!(
        reserve(&gateways[1], CAMPAIGN, first).await,
        Measured::Count(3 * COUNTED_BY_NAME as u64 + 1),
        "a retry"
    );
    gateways[1].release(HOOK, &[CAMPAIGN], &first, 1).await.expect("in reach");
    assert_eq!(reserve(&gateways[0], CAMPAIGN, again(first)).await, Measured::Count(3 * COUNTED_BY_NAME as u64 + 1));
}

#[tokio::test]
async fn a_gateway_whose_clock_is_off_measures_as_the_others_do() {
    const AN_HOUR_MS: i64 = 3_600_000;
    let counters = everybodys().await;
    let shared = counters.connection(&counters.link.state()).expect("in reach");
    let Measure::Bucket { requests, per_ms, burst, .. } = bucket(1, 60_000, 5) else { unreachable!("it is one") };
    let bucket = Measure::Bucket { scope: Scope::User, requests, per_ms, burst };
    let measures = [bucket, count(Scope::User, 60_000)];
    let first = somebody();
    for (off_by_ms, place) in [AN_HOUR_MS, 0, -AN_HOUR_MS, 0, AN_HOUR_MS].into_iter().zip(1..) {
        let subject = Subject { arrived_at_ms: first.arrived_at_ms + off_by_ms, ..again(first) };
        let commands = &counters.link.server().commands;
        let reserve = commands.reserve(HOOK, &measures, &subject, now_ms() + off_by_ms);
        let answer: Vec<u64> = run(shared.clone(), &RESERVE, reserve).await.expect("an answer");
        assert_eq!(answer, [0b11, 0, place]);
    }
}

#[tokio::test]
async fn what_redis_loses_makes_counts_lower_and_nothing_fail() {
    let (_server, counters) = Throwaway::with_counters().await;
    let measures =
        [CAMPAIGN, count(Scope::User, 60_000), bucket(1, 60_000, 1), Measure::Sequence { scope: Scope::User }];
    let first = somebody();
    for _ in 0..2 * COUNTED_BY_NAME {
        try_reserve(&counters, &measures, again(first)).await.expect("in reach");
    }
    let before = try_reserve(&counters, &measures, first).await.expect("in reach");
    assert_eq!(before.measured[0], Measured::Count(2 * COUNTED_BY_NAME as u64 + 1));

    for lost in ["FLUSHALL", "SCRIPT FLUSH"] {
        let _: Value = ask(&counters, lost).await;
    }
    counters.release(HOOK, &measures, &first, before.added).await.expect("there is nothing to give back");
    counters.forget(&[first]).await.expect("there is nothing to forget");
    let reserved = try_reserve(&counters, &measures, first).await.expect("in reach");
    let from_nought = [Measured::Count(1), Measured::Count(1), Measured::Conforming, Measured::Sequence(0)];
    assert_eq!(reserved.measured, from_nought);
}

#[tokio::test]
async fn scripts_that_redis_lost_are_handed_over_again() {
    let (_server, counters) = Throwaway::with_counters().await;
    let first = somebody();
    reserve(&counters, CAMPAIGN, first).await;
    let _: Value = ask(&counters, "SCRIPT FLUSH").await;
    counters.forget(&[first, somebody()]).await.expect("in reach");
    let _: Value = ask(&counters, "SCRIPT FLUSH").await;
    assert_eq!(reserve(&counters, CAMPAIGN, again(first)).await, Measured::Count(1));
}

#[tokio::test]
async fn every_key_goes_by_itself_in_its_time() {
    let (_server, counters) = Throwaway::with_counters().await;
    let measures = [CAMPAIGN, count(Scope::User, 60_000), count(Scope::Coupon, u64::MAX), bucket(1_000, 1_000, 2_000)];
    let measures = [&measures[..], &[Measure::Sequence { scope: Scope::User }]].concat();
    let first = somebody();
    for _ in 0..2 * COUNTED_BY_NAME {
        try_reserve(&counters, &measures, again(first)).await.expect("in reach");
    }
    let reserved = try_reserve(&counters, &measures, first).await.expect("in reach");
    counters.release(HOOK, &measures, &first, reserved.added).await.expect("in reach");

    let keys: Vec<String> = ask(&counters, "KEYS *").await;
    assert_eq!(keys.len(), 3 * 2 + 2 + 1, "{keys:?}");
    for key in keys {
        let ttl_ms: i64 = ask(&counters, &format!("PTTL {key}")).await;
        assert!(ttl_ms > 0, "{key} stays for ever");
        if key.contains(":bucket:") || key.contains(":60000:") {
            assert!(ttl_ms <= 2 * 60_000, "{key} stays for {ttl_ms} ms");
        }
    }
}

#[tokio::test]
async fn a_million_requests_of_one_count_take_little_memory() {
    const REQUESTS: u64 = 1_000_000;
    const WINDOW_MS: i64 = 60_000;
    let (_server, counters) = Throwaway::with_counters().await;
    let everybody = count(Scope::Gateway, WINDOW_MS.unsigned_abs());
    let first = somebody();
    let commands = &counters.link.server().commands;
    let mut connection = counters.connection(&counters.link.state()).expect("in reach");
    // In four windows, so that three quarters have left again.
    for batch in 0..REQUESTS / 1_000 {
        let arrived_at_ms = first.arrived_at_ms + batch.cast_signed() * 4 * WINDOW_MS / 1_000;
        let mut pipeline = Pipeline::with_capacity(1_000);
        for _ in 0..1_000 {
            pipeline.add_command(commands.reserve(
                HOOK,
                &[everybody],
                &Subject { arrived_at_ms, ..again(first) },
                now_ms(),
            ));
        }
        pipeline.exec_async(&mut connection).await.expect("in reach");
    }
    let last = Subject { arrived_at_ms: first.arrived_at_ms + 4 * WINDOW_MS, ..first };
    let Measured::Count(place) = reserve(&counters, everybody, last).await else { panic!("expected a count") };
    let a_window = REQUESTS / 4;
    assert!(place <= a_window && place + 2 * a_window / 64 >= a_window, "{place} of {a_window}");

    let mut bytes = 0;
    let keys: Vec<String> = ask(&counters, "KEYS *:count:*").await;
    for key in &keys {
        bytes += ask::<u64>(&counters, &format!("MEMORY USAGE {key} SAMPLES 0")).await;
    }
    assert!(keys.len() == 2 && bytes < 64 * 1024, "{bytes} bytes in {keys:?}");
}

#[tokio::test]
async fn a_password_that_is_wrong_or_missing_is_never_passed_over() {
    let port = free_port();
    let _server = Throwaway::start(port, &["--requirepass", "s3cret"]);
    let with = |password: Option<&str>| {
        Server::new(&format!("redis://127.0.0.1:{port}"), password.map(str::to_owned), None).expect("a server")
    };
    opened(|| with(Some("s3cret"))).await;
    for password in [None, Some("wr0ng")] {
        let refused = [open(with(password)).await.err(), open_if_there(with(password)).await.err()];
        for error in refused.map(|error| error.expect("refused")) {
            assert!(matches!(error, OpenError::LoginRefused { .. }), "{error}");
            assert!(error.to_string().contains("counters.password_file"), "{error}");
            assert!(!format!("{error} {error:?} {:?}", with(password)).contains("wr0ng"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_database_of_its_own_counts_apart() {
    let port = free_port();
    let _server = Throwaway::start(port, &[]);
    let zero = opened(|| at(port)).await;
    let one = opened(|| server(&format!("redis://127.0.0.1:{port}/1"))).await;
    let first = somebody();
    for counters in [&zero, &one] {
        assert_eq!(reserve(counters, CAMPAIGN, again(first)).await, Measured::Count(1));
    }
}
