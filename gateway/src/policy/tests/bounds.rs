//! What a hostile policy may use, and that its hook recovers.

use std::time::{Duration, Instant};

use super::guest::{picker, spin, with_memories};
use super::{generation_with_picker, request};
use crate::counters::Hook;
use crate::policy::compile::Compiled;
use crate::policy::component::ComponentBytes;
use crate::policy::instance::Instance;
use crate::policy::wire::{PickFacts, Shard};
use crate::policy::{Generation, LoadError, OnFailure};
use crate::telemetry::Telemetry;

const SHARDS: [Shard; 1] = [Shard { shard_no: 0, remaining: 1, unsettled: 0, lag_records: 0 }];
const PATIENCE: Duration = Duration::from_secs(30);
const TRAP_FOR_ONE_USER_IN_TEN: &str = "(if (i64.eqz (i64.rem_u (local.get 2) (i64.const 10))) (then unreachable))";

fn pick(generation: &Generation, user: u64) -> bool {
    generation.pick(&request(user), Ok(&[]), &SHARDS).is_ok()
}

fn start(component: &ComponentBytes) -> Result<(), LoadError> {
    Instance::<PickFacts, u32>::start(&Compiled::new(component)?, Hook::ShardPicker, "{}").map(|_| ())
}

/// How many rounds of `spin` take this long here.
fn rounds(duration: Duration) -> u64 {
    const SAMPLE: u64 = 20_000_000;
    let begun = Instant::now();
    start(&picker(&spin(SAMPLE), "")).expect("starts");
    (SAMPLE as f64 * duration.as_secs_f64() / begun.elapsed().as_secs_f64()) as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_configures_slowly_and_traps_for_one_user_in_ten_keeps_its_instances() {
    let telemetry = Telemetry::new();
    let slow = spin(rounds(Duration::from_millis(250)));
    let guest = picker(&slow, TRAP_FOR_ONE_USER_IN_TEN);
    let generation = generation_with_picker(guest, OnFailure::Refuse, &telemetry);
    for user in 1..100 {
        pick(&generation, user * 10);
    }
    let begun = Instant::now();
    let live = || {
        let metrics = String::from_utf8(telemetry.render()).expect("text");
        let line = metrics.lines().find(|line| line.starts_with("sluice_policy_instances{hook=\"shard-picker\""));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).expect("a number of instances")
    };
    let all = 2 + 4;
    assert!(live() < all, "some are lost");
    while live() < all || !pick(&generation, 1) {
        assert!(begun.elapsed() < PATIENCE, "all instances are lost");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_is_slow_within_its_deadline_uses_its_share_of_the_workers_and_no_more() {
    let slow = spin(rounds(Duration::from_millis(2)));
    let generation = generation_with_picker(picker("", &slow), OnFailure::Refuse, &Telemetry::new());
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

#[test]
fn a_component_with_more_memories_instances_or_memory_than_allowed_is_refused() {
    let refused =
        |component: &ComponentBytes| start(component).map_err(|error| error.to_string()).expect_err("refused");
    let exported = "(memory (export \"memory\") 1)";
    let many = format!("{exported}{}", "(memory 1)".repeat(4));
    assert!(refused(&with_memories(&many, "", "")).contains("memory count too high at 5"));
    // Each is within the limit, and both together are not.
    let large = format!("{exported}{}", "(memory 130)".repeat(2));
    assert!(refused(&with_memories(&large, "", "")).contains("at most 16 MiB of memory"));
    let wide = format!("{exported}(memory i64 1)");
    assert!(refused(&with_memories(&wide, "", "")).contains("memory64"));
    let tables = format!("{exported}{}", "(table 1 funcref)".repeat(9));
    assert!(refused(&with_memories(&tables, "", "")).contains("table count too high at 9"));
}
