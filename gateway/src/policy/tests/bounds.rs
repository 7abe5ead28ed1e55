//! What a hostile policy may use, and that its hook recovers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::guest::{picker, spin, with_memories};
use super::{HOST, generation_with_picker, load, options, request, with_picker};
use crate::counters::Hook;
use crate::policy::component::ComponentBytes;
use crate::policy::host::Host;
use crate::policy::instance::Instance;
use crate::policy::wire::Shard;
use crate::policy::{Generation, LoadError, OnFailure, Options};
use crate::telemetry::Telemetry;

const SHARDS: [Shard; 1] = [Shard { shard_no: 0, remaining: 1, unsettled: 0, lag_records: 0 }];
const PATIENCE: Duration = Duration::from_secs(30);
const TRAP_FOR_ONE_USER_IN_TEN: &str = "(if (i64.eqz (i64.rem_u (local.get 2) (i64.const 10))) (then unreachable))";

/// The live instances of the shard picker.
fn live(telemetry: &Telemetry) -> usize {
    let metrics = String::from_utf8(telemetry.render()).expect("text");
    let line = metrics.lines().find(|line| line.starts_with("sluice_policy_instances{hook=\"shard-picker\""));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect("a number of instances")
}

fn pick(generation: &Generation, user: u64) -> bool {
    generation.pick(&request(user), Ok(&[]), &SHARDS).verdict.is_ok()
}

async fn start(component: &ComponentBytes) -> Result<(), LoadError> {
    Instance::<[Shard], u32>::start(&HOST.compile(component).await?, Hook::ShardPicker, "{}").map(|_| ())
}

/// How many rounds of `spin` take this long here.
async fn rounds(duration: Duration) -> u64 {
    const SAMPLE: u64 = 20_000_000;
    let compiled = HOST.compile(&picker(&spin(SAMPLE), "")).await.expect("compiles");
    let begun = Instant::now();
    Instance::<[Shard], u32>::start(&compiled, Hook::ShardPicker, "{}").expect("starts");
    (SAMPLE as f64 * duration.as_secs_f64() / begun.elapsed().as_secs_f64()) as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_configures_slowly_and_traps_for_one_user_in_ten_keeps_its_instances() {
    let telemetry = Telemetry::new();
    let slow = spin(rounds(Duration::from_millis(250)).await);
    let guest = picker(&slow, TRAP_FOR_ONE_USER_IN_TEN);
    let generation = generation_with_picker(guest, OnFailure::Refuse, &telemetry).await;
    for user in 1..100 {
        pick(&generation, user * 10);
    }
    let begun = Instant::now();
    let all = 2 + 4;
    assert!(live(&telemetry) < all, "some are lost");
    while live(&telemetry) < all || !pick(&generation, 1) {
        assert!(begun.elapsed() < PATIENCE, "all instances are lost");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_is_slow_within_its_deadline_uses_its_share_of_the_workers_and_no_more() {
    let slow = spin(rounds(Duration::from_millis(2)).await);
    let generation = generation_with_picker(picker("", &slow), OnFailure::Refuse, &Telemetry::new()).await;
    let begun = Instant::now();
    let mut in_policy = Duration::ZERO;
    while begun.elapsed() < Duration::from_secs(5) {
        let called = Instant::now();
        if pick(&generation, 1) {
            in_policy += called.elapsed();
        } else {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    // A fifth of two workers for five seconds, and what was saved in the first window.
    assert!(in_policy < Duration::from_millis(3_000), "{in_policy:?}");
    assert!(in_policy > Duration::from_millis(500), "{in_policy:?}");
}

#[tokio::test]
async fn a_component_with_more_memories_tables_or_memory_than_allowed_is_refused() {
    const EXPORTED: &str = "(memory (export \"memory\") 1)";
    let at_once = "the component needs more than an instance may have: ";
    for (more, expected) in [
        ("(memory 1)".repeat(4), format!("{at_once}defined memories count of 5 exceeds the per-instance limit of 4")),
        ("(memory 257)".to_owned(), format!("{at_once}memory has a minimum byte size of 16842752")),
        (
            "(table 1 funcref)".repeat(9),
            format!("{at_once}defined tables count of 9 exceeds the per-instance limit of 8"),
        ),
        ("(memory i64 1)".to_owned(), "not a valid component: ".to_owned()),
        // Each is within the limit, and both together are not.
        (
            "(memory 130)".repeat(2),
            "the policy failed its trial: instantiate: expected at most 16 MiB of memory".to_owned(),
        ),
    ] {
        let component = with_memories(&format!("{EXPORTED}{more}"), "", "");
        let error = start(&component).await.expect_err("refused").to_string();
        assert!(error.starts_with(&expected), "{error}");
    }
}

/// 2 MiB an instance.
const OF_2_MIB: &str = "(memory (export \"memory\") 32)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_that_need_more_memory_together_than_allowed_are_refused() {
    // Two policies of 6 instances with 128 KiB each, and 6 with 2 MiB each.
    let telemetry = Telemetry::new();
    let small = Options { memory_mib_max: 16, ..options() };
    let host = Arc::new(Host::new(&small, &telemetry, CancellationToken::new()));
    let resolved = with_picker(with_memories(OF_2_MIB, "", ""), OnFailure::Refuse);
    let first = load(&host, &resolved, &telemetry).await.expect("there is room for one");
    let error = load(&host, &resolved, &telemetry).await.err().expect("there is no room for two").to_string();
    let expected = "no room for another instance: all policy instances together need more than 16 MiB of memory";
    assert!(error.contains(expected), "{error}");
    drop(first);
    load(&host, &resolved, &telemetry).await.expect("there is room again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_that_find_no_room_are_renewed_once_there_is_room() {
    let telemetry = Telemetry::new();
    let small = Options { memory_mib_max: 24, ..options() };
    let host = Arc::new(Host::new(&small, &telemetry, CancellationToken::new()));
    let slow = spin(rounds(Duration::from_millis(100)).await);
    let trapping = with_memories(OF_2_MIB, &slow, TRAP_FOR_ONE_USER_IN_TEN);
    let generation = load(&host, &with_picker(trapping, OnFailure::Refuse), &telemetry).await.expect("loads");
    let all = live(&telemetry);
    for _ in 0..all {
        pick(&generation, 10);
    }
    // Another policy takes the memory that they leave.
    let compiled = host.compile(&with_memories(OF_2_MIB, "", "")).await.expect("compiles");
    let mut others = Vec::new();
    for _ in 0..200 {
        others.extend(Instance::<[Shard], u32>::start(&compiled, Hook::ShardPicker, "{}").ok());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let stuck = live(&telemetry);
    assert!(stuck < all, "{stuck} of {all} instances");
    drop(others);
    let begun = Instant::now();
    while live(&telemetry) < all || !pick(&generation, 1) {
        assert!(begun.elapsed() < PATIENCE, "its instances are not renewed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_call_with_a_long_deadline_does_not_hold_up_the_other_tasks_of_its_worker() {
    let forever = "(if (i64.ne (local.get 2) (i64.const 0)) (then (loop $again (br $again))))";
    let generation = generation_with_picker(picker("", forever), OnFailure::Refuse, &Telemetry::new()).await;
    let call = tokio::spawn(async move { pick(&generation, 7) });
    let begun = Instant::now();
    tokio::spawn(tokio::time::sleep(Duration::from_millis(50))).await.expect("sleeps");
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    assert!(!call.await.expect("does not panic"), "the call reaches its deadline");
}
