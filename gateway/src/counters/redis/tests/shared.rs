//! Counters shared by several gateways, and what Redis stores for them.

use ::redis::aio::MultiplexedConnection;
use ::redis::{Pipeline, Value};

use super::commands::Call;
use super::test_server::{TestServer, at, free_port, open_when_started};
use super::*;
use crate::counters::{KEY_ADDED, TRACKED_IDS_MAX};
use crate::coupon::{UnixMs, now_ms};

pub(super) async fn query<T: ::redis::FromRedisValue>(counters: &Redis, command: &str) -> T {
    let mut words = command.split(' ');
    let mut command = ::redis::cmd(words.next().expect("a command"));
    words.for_each(|word| {
        command.arg(word);
    });
    command.query_async(&mut connection(counters)).await.expect("an answer")
}

/// To a single Redis.
fn connection(counters: &Redis) -> MultiplexedConnection {
    counters.nodes.owner(0).and_then(|link| link.state().connection()).expect("connected")
}

/// What a gateway sends whose clock shows `clock_ms`.
fn call_at(counters: &Redis, measures: &[Measure], subject: &Subject, clock_ms: UnixMs) -> Call {
    let keys = &counters.nodes.server.keys;
    keys.reserve(&keys.groups(HOOK, measures, subject)[0], subject, clock_ms)
}

#[tokio::test]
async fn two_gateways_count_together() {
    let gateways = [shared_redis().await, shared_redis().await];
    let first = new_subject();
    for (gateway, number) in gateways.iter().cycle().zip(1..=3 * TRACKED_IDS_MAX as u64) {
        assert_eq!(reserve(gateway, CAMPAIGN, another_request(first)).await, Measured::Count(number));
    }
    assert_eq!(reserve(&gateways[0], CAMPAIGN, first).await, Measured::Count(3 * TRACKED_IDS_MAX as u64 + 1));
    assert_eq!(
        reserve(&gateways[1], CAMPAIGN, first).await,
        Measured::Count(3 * TRACKED_IDS_MAX as u64 + 1),
        "a retry"
    );
    release(&gateways[1], &[CAMPAIGN], first, 1).await.expect("counters available");
    assert_eq!(
        reserve(&gateways[0], CAMPAIGN, another_request(first)).await,
        Measured::Count(3 * TRACKED_IDS_MAX as u64 + 1)
    );
}

#[tokio::test]
async fn a_gateway_with_a_wrong_clock_measures_like_the_others() {
    const AN_HOUR_MS: i64 = 3_600_000;
    let counters = shared_redis().await;
    let Measure::Bucket { requests, per_ms, burst, .. } = bucket(1, 60_000, 5) else {
        unreachable!("`bucket` returns a bucket")
    };
    let bucket = Measure::Bucket { scope: Scope::User, requests, per_ms, burst };
    let measures = [bucket, count(Scope::User, 60_000)];
    let first = new_subject();
    for (off_by_ms, number) in [AN_HOUR_MS, 0, -AN_HOUR_MS, 0, AN_HOUR_MS].into_iter().zip(1..) {
        let subject = Subject { arrived_at_ms: first.arrived_at_ms + off_by_ms, ..another_request(first) };
        let call = call_at(&counters, &measures, &subject, now_ms() + off_by_ms);
        let answer: Vec<u64> = counters.nodes.send(&call).await.expect("an answer");
        assert_eq!(answer, [0, 0b11, 0, number]);
    }
}

#[tokio::test]
async fn losing_all_redis_data_lowers_counts_and_fails_no_call() {
    let (_server, counters) = TestServer::with_counters().await;
    let measures =
        [CAMPAIGN, count(Scope::User, 60_000), bucket(1, 60_000, 1), Measure::Sequence { scope: Scope::User }];
    let first = new_subject();
    for _ in 0..2 * TRACKED_IDS_MAX {
        try_reserve(&counters, &measures, another_request(first)).await.expect("counters available");
    }
    let before = try_reserve(&counters, &measures, first).await.expect("counters available");
    assert_eq!(before.measured[0], Measured::Count(2 * TRACKED_IDS_MAX as u64 + 1));

    for lost in ["FLUSHALL", "SCRIPT FLUSH"] {
        let _: Value = query(&counters, lost).await;
    }
    release(&counters, &measures, first, before.added).await.expect("nothing to release is not an error");
    counters.forget(&[first]).await.expect("nothing to forget is not an error");
    let reserved = try_reserve(&counters, &measures, first).await.expect("counters available");
    let initial = [Measured::Count(1), Measured::Count(1), Measured::Conforming, Measured::Sequence(0)];
    assert_eq!(reserved.measured[..], initial);
}

#[tokio::test]
async fn scripts_that_redis_lost_are_loaded_again() {
    let (_server, counters) = TestServer::with_counters().await;
    let first = new_subject();
    reserve(&counters, CAMPAIGN, first).await;
    let _: Value = query(&counters, "SCRIPT FLUSH").await;
    counters.forget(&[first, new_subject()]).await.expect("counters available");
    let _: Value = query(&counters, "SCRIPT FLUSH").await;
    assert_eq!(reserve(&counters, CAMPAIGN, another_request(first)).await, Measured::Count(1));
}

#[tokio::test]
async fn every_key_expires() {
    let (_server, counters) = TestServer::with_counters().await;
    let measures = [CAMPAIGN, count(Scope::User, 60_000), count(Scope::Coupon, u64::MAX), bucket(1_000, 1_000, 2_000)];
    let measures = [&measures[..], &[Measure::Sequence { scope: Scope::User }]].concat();
    let first = new_subject();
    for _ in 0..2 * TRACKED_IDS_MAX {
        try_reserve(&counters, &measures, another_request(first)).await.expect("counters available");
    }
    let keyed = Subject { fingerprint: Some(Fingerprint(1)), ..another_request(first) };
    for attempt in [keyed, another_attempt(keyed)] {
        try_reserve(&counters, &measures, attempt).await.expect("counters available");
    }
    release(&counters, &measures, keyed, 0b1 | KEY_ADDED).await.expect("counters available");
    let reserved = try_reserve(&counters, &measures, first).await.expect("counters available");
    release(&counters, &measures, first, reserved.added).await.expect("counters available");

    let keys: Vec<String> = query(&counters, "KEYS *").await;
    assert_eq!(keys.len(), 3 * 2 + 2 + 1 + 1, "{keys:?}");
    for key in keys {
        let ttl_ms: i64 = query(&counters, &format!("PTTL {key}")).await;
        assert!(ttl_ms > 0, "{key} never expires");
        if key.contains(":bucket:") || key.contains(":60000:") {
            assert!(ttl_ms <= 2 * 60_000, "{key} expires after {ttl_ms} ms");
        }
    }
}

#[tokio::test]
async fn a_count_of_a_million_requests_uses_less_than_64_kib() {
    const REQUESTS: u64 = 1_000_000;
    const WINDOW_MS: i64 = 60_000;
    let (_server, counters) = TestServer::with_counters().await;
    let of_gateway = count(Scope::Gateway, WINDOW_MS.unsigned_abs());
    let first = new_subject();
    // Over four windows, so that three quarters of the requests have left.
    for batch in 0..REQUESTS / 1_000 {
        let arrived_at_ms = first.arrived_at_ms + batch.cast_signed() * 4 * WINDOW_MS / 1_000;
        let mut pipeline = Pipeline::with_capacity(1_000);
        for _ in 0..1_000 {
            let subject = Subject { arrived_at_ms, ..another_request(first) };
            pipeline.add_command(call_at(&counters, &[of_gateway], &subject, now_ms()).command);
        }
        pipeline.exec_async(&mut connection(&counters)).await.expect("counters available");
    }
    let last = Subject { arrived_at_ms: first.arrived_at_ms + 4 * WINDOW_MS, ..first };
    let Measured::Count(number) = reserve(&counters, of_gateway, last).await else { panic!("expected a count") };
    let per_window = REQUESTS / 4;
    assert!(number <= per_window && number + 2 * per_window / 64 >= per_window, "{number} of {per_window}");

    let mut bytes = 0;
    let keys: Vec<String> = query(&counters, "KEYS *:count:*").await;
    for key in &keys {
        bytes += query::<u64>(&counters, &format!("MEMORY USAGE {key} SAMPLES 0")).await;
    }
    assert!(keys.len() == 2 && bytes < 64 * 1024, "{bytes} bytes in {keys:?}");
}

#[tokio::test]
async fn a_wrong_or_missing_password_fails_the_start_in_either_mode() {
    let port = free_port();
    let _server = TestServer::start(port, &["--requirepass", "s3cret"]);
    let with = |password: Option<&str>| {
        let url = format!("redis://127.0.0.1:{port}");
        Server::new(&url, "sluice", password.map(str::to_owned), None).expect("a server")
    };
    open_when_started(|| with(Some("s3cret"))).await;
    for password in [None, Some("wr0ng")] {
        let errors = [open(with(password)).await.err(), open_or_retry(with(password)).await.err()];
        for error in errors.map(|error| error.expect("authentication fails")) {
            assert!(matches!(error, OpenError::AuthenticationFailed { .. }), "{error}");
            assert!(error.to_string().contains("counters.password_file"), "{error}");
            assert!(!format!("{error} {error:?} {:?}", with(password)).contains("wr0ng"), "{error}");
        }
    }
}

#[tokio::test]
async fn redis_databases_have_separate_counters() {
    let port = free_port();
    let _server = TestServer::start(port, &[]);
    let zero = open_when_started(|| at(port)).await;
    let one = open_when_started(|| server(&format!("redis://127.0.0.1:{port}/1"))).await;
    let first = new_subject();
    for counters in [&zero, &one] {
        assert_eq!(reserve(counters, CAMPAIGN, another_request(first)).await, Measured::Count(1));
    }
}

async fn is_taken_for_others(counters: &Redis, keyed: Subject) -> bool {
    try_reserve(counters, &[], another_request(keyed)).await.expect("counters available").is_key_taken
}

fn new_keyed_subject() -> Subject {
    Subject { fingerprint: Some(Fingerprint(rand::random())), ..new_subject() }
}

#[tokio::test]
async fn a_release_that_is_repeated_frees_no_key_that_another_attempt_holds() {
    let (_server, counters) = TestServer::with_counters().await;
    let failed = new_keyed_subject();
    for attempt in [failed, another_attempt(failed)] {
        try_reserve(&counters, &[CAMPAIGN], attempt).await.expect("counters available");
    }
    for _ in 0..3 {
        release(&counters, &[CAMPAIGN], failed, 0b1 | KEY_ADDED).await.expect("counters available");
        assert!(is_taken_for_others(&counters, failed).await);
    }
    let next = Subject { fingerprint: None, ..another_request(failed) };
    assert_eq!(reserve(&counters, CAMPAIGN, next).await, Measured::Count(2), "the other attempt is counted");
    release(&counters, &[CAMPAIGN], another_attempt(failed), KEY_ADDED).await.expect("counters available");
    assert!(!is_taken_for_others(&counters, failed).await);
}

#[tokio::test]
async fn an_attempt_whose_claim_was_lost_frees_no_key_that_a_later_attempt_holds() {
    let (_server, counters) = TestServer::with_counters().await;
    let failed = new_keyed_subject();
    let claimed = try_reserve(&counters, &[CAMPAIGN], failed).await.expect("counters available");
    let _: Value = query(&counters, "FLUSHDB").await;
    try_reserve(&counters, &[CAMPAIGN], another_attempt(failed)).await.expect("counters available");
    release(&counters, &[CAMPAIGN], failed, claimed.added).await.expect("counters available");
    assert!(is_taken_for_others(&counters, failed).await);
}

#[tokio::test]
async fn a_hook_that_is_answered_late_leaves_the_claim_of_a_later_hook() {
    let (_server, counters) = TestServer::with_counters().await;
    let attempt = new_keyed_subject();
    for hook in [Hook::RateShaper, Hook::UserLimit] {
        counters.reserve(hook, &[], &attempt).await.expect("counters available");
    }
    let keys = &counters.nodes.server.keys;
    let claim = keys.groups(Hook::RateShaper, &[], &attempt)[0].claim;
    let late = Release::of_attempt(keys, &attempt, claim, std::iter::empty());
    counters.nodes.undo(Duration::from_secs(5), late).await.map_err(|(_, error)| error).expect("counters available");
    assert!(is_taken_for_others(&counters, attempt).await);
}

#[tokio::test]
async fn an_attempt_that_is_refused_frees_its_key_although_the_answer_of_a_hook_was_lost() {
    let (_server, counters) = TestServer::with_counters().await;
    let refused = new_keyed_subject();
    let _lost = counters.reserve(Hook::RateShaper, &[], &refused).await.expect("counters available");
    let answered = try_reserve(&counters, &[CAMPAIGN], refused).await.expect("counters available");
    release(&counters, &[CAMPAIGN], refused, answered.added).await.expect("counters available");
    assert!(!is_taken_for_others(&counters, refused).await);
}

#[tokio::test]
async fn a_key_that_an_earlier_version_claimed_stays_held() {
    let (_server, counters) = TestServer::with_counters().await;
    let accepted = new_keyed_subject();
    let key = counters.nodes.server.keys.idempotency_key(accepted.fingerprint.expect("has a key"));
    let mut set = ::redis::cmd("SET");
    set.arg(key).arg(accepted.request_id.as_bytes().as_slice()).arg("PX").arg(60_000);
    let _: Value = set.query_async(&mut connection(&counters)).await.expect("an answer");
    let retry = another_attempt(accepted);
    let claimed = try_reserve(&counters, &[], retry).await.expect("counters available");
    release(&counters, &[], retry, claimed.added).await.expect("counters available");
    assert!(is_taken_for_others(&counters, accepted).await);
    assert!(!try_reserve(&counters, &[], retry).await.expect("counters available").is_key_taken);
}

#[tokio::test]
async fn a_key_with_many_attempts_stays_small_and_held() {
    let (_server, counters) = TestServer::with_counters().await;
    let first = new_keyed_subject();
    let attempts = (0..1_000).map(|attempt| Subject { attempt, ..first });
    for attempt in attempts.clone() {
        try_reserve(&counters, &[], attempt).await.expect("counters available");
    }
    let key = counters.nodes.server.keys.idempotency_key(first.fingerprint.expect("has a key"));
    let bytes: u64 = query(&counters, &format!("STRLEN {key}")).await;
    assert!((8_192..8_300).contains(&bytes), "{bytes} bytes");
    for attempt in attempts {
        release(&counters, &[], attempt, KEY_ADDED).await.expect("counters available");
    }
    assert!(is_taken_for_others(&counters, first).await, "some of the attempts may have been accepted");
}
