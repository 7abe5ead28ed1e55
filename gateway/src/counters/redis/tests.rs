mod cluster;
mod cluster_faults;
mod cost;
mod layout;
mod outage;
mod secure;
mod shared;
mod test_cluster;
mod test_server;

use std::num::NonZeroU32;

use crate::counters::contract::contract_tests;
use crate::counters::{
    Added, Counters, Hook, Measure, Measured, Options, PerHook, Reserved, Scope, Subject, Unavailable,
};
use crate::coupon::{CampaignCounts, Fingerprint, RequestId};

use super::*;

contract_tests!(redis => shared_redis().await);
contract_tests!(redis_cluster => shared_cluster().await);

const HOOK: Hook = Hook::UserLimit;
const CAMPAIGN: Measure = count(Scope::UserOfCoupon, 0);
/// For a machine that runs other tests.
const PATIENT: Duration = Duration::from_secs(20);

/// The Redis that all tests share. It may answer late.
async fn shared_redis() -> Redis {
    let url = std::env::var("SLUICE_TEST_REDIS").unwrap_or_else(|_| "redis://127.0.0.1:16379".to_owned());
    let opened = open(server(&url)).await;
    let redis = opened.unwrap_or_else(|error| panic!("{error}\nstart it with `infra/native/services up redis`"));
    Redis { call_max: PATIENT, ..redis }
}

/// The Redis Cluster that all tests share. It may answer late.
async fn shared_cluster() -> Redis {
    let nodes = "redis+cluster://127.0.0.1:16391,127.0.0.1:16392,127.0.0.1:16393";
    let url = std::env::var("SLUICE_TEST_REDIS_CLUSTER").unwrap_or_else(|_| nodes.to_owned());
    let opened = open(server(&url)).await;
    let redis =
        opened.unwrap_or_else(|error| panic!("{error}\nstart it with `infra/native/services up redis-cluster`"));
    Redis { call_max: PATIENT, ..redis }
}

async fn open(server: Server) -> Result<Redis, OpenError> {
    let (redis, keeper) = Redis::open(server, &Telemetry::new()).await?;
    tokio::spawn(keeper.run);
    Ok(redis)
}

async fn open_or_retry(server: Server) -> Result<Redis, OpenError> {
    let (redis, keeper) = Redis::open_or_retry(server, &Telemetry::new()).await?;
    tokio::spawn(keeper.run);
    Ok(redis)
}

fn server(url: &str) -> Server {
    let options = Options { url: url.to_owned(), ..Options::default() };
    options.server().expect("valid options").expect("a Redis URL")
}

/// A request of a new user for a new coupon.
fn new_subject() -> Subject {
    let random = || rand::random_range(1..=i64::MAX);
    Subject {
        request_id: RequestId::new(),
        attempt: 0,
        coupon_id: random().try_into().expect("in range"),
        user_id: random().try_into().expect("in range"),
        arrived_at_ms: crate::coupon::now_ms(),
        fingerprint: None,
        campaign_counts: CampaignCounts::among(PerHook { user_limit: &[CAMPAIGN][..], ..PerHook::default() }),
    }
}

fn another_request(subject: Subject) -> Subject {
    Subject { request_id: RequestId::new(), ..subject }
}

fn another_attempt(subject: Subject) -> Subject {
    Subject { attempt: subject.attempt + 1, ..subject }
}

const fn count(scope: Scope, window_ms: u64) -> Measure {
    Measure::Count { scope, window_ms }
}

fn bucket(requests: u32, per_ms: u32, burst: u32) -> Measure {
    let at_least_one = |number| NonZeroU32::new(number).expect("at least 1");
    let (requests, per_ms, burst) = (at_least_one(requests), at_least_one(per_ms), at_least_one(burst));
    Measure::Bucket { scope: Scope::Gateway, requests, per_ms, burst }
}

async fn try_reserve(counters: &Redis, measures: &[Measure], subject: Subject) -> Result<Reserved, Unavailable> {
    counters.reserve(HOOK, measures, &subject).await
}

/// `bits` are those that a call to reserve the measures answered.
async fn release(counters: &Redis, measures: &[Measure], subject: Subject, bits: u32) -> Result<(), Unavailable> {
    counters.release(&subject, &[Added { hook: HOOK, measures, bits }]).await
}

async fn reserve(counters: &Redis, measure: Measure, subject: Subject) -> Measured {
    try_reserve(counters, &[measure], subject).await.expect("counters available").measured[0]
}
