//! Calls in a loop, without the rest of a gateway.

use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use sluice::counters::Measured;
use sluice::policy::{Generation, Isolation, Load, Request, Shard, Usage};
use sluice::telemetry::Telemetry;
use tokio::runtime::Handle;

use super::{ROUND, SHARDS, median, open_ledger, start};

const BATCHES: usize = 101;
pub(crate) const CALLS: u32 = 2_000;
/// Each call has a new instance made off the caller's path; more calls at once would only fill the queue.
pub(crate) const CALLS_FRESH: u32 = 4;
/// Reading the clock for each request would count.
const REQUESTS_PER_LOOK_AT_THE_CLOCK: u64 = 100;

/// The three hooks, with the facts that admission would pass.
struct Hooks<'a> {
    generation: &'a Generation,
    load: Load,
    usage: Usage,
    shards: Vec<Shard>,
}

pub(crate) async fn load(isolation: Isolation, native: bool) -> Arc<Generation> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ledger = open_ledger(&folder).await;
    let pipelines = start(Arc::clone(&ledger), isolation, native, &Telemetry::new()).await;
    ledger.close().await;
    pipelines.current()
}

/// Prints how long one call of each hook takes.
pub(crate) fn report_each(name: &str, calls: u32, generation: &Generation) {
    let hooks = Hooks::of(generation);
    let shape = call_ns(calls, |n| hooks.shape(n));
    let admit = call_ns(calls, |n| hooks.admit(n));
    let pick = call_ns(calls, |n| hooks.pick(n));
    println!("{name:7} token-bucket {shape:8.0} ns   quota {admit:8.0} ns   random, {SHARDS} shards {pick:8.0} ns");
}

fn call_ns(calls: u32, decide: impl Fn(u64) -> bool) -> f64 {
    let batch = |_| {
        let begun = Instant::now();
        (0..u64::from(calls)).for_each(|n| _ = decide(n));
        begun.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
    };
    median((0..BATCHES).map(batch).collect())
}

/// One round, in which each thread calls the three hooks in turn.
pub(crate) fn run(generation: &Generation, threads: usize) -> u64 {
    let (runtime, begun) = (Handle::current(), Instant::now());
    let decide_for_one_round = || {
        // Which renews worn instances.
        let _inside = runtime.enter();
        let hooks = Hooks::of(generation);
        let mut requests = 0;
        while begun.elapsed() < ROUND {
            for n in requests..requests + REQUESTS_PER_LOOK_AT_THE_CLOCK {
                assert!(hooks.shape(n) && hooks.admit(n) && hooks.pick(n), "a policy gave no decision");
            }
            requests += REQUESTS_PER_LOOK_AT_THE_CLOCK;
        }
        requests
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(decide_for_one_round)).collect();
        threads.into_iter().map(|thread| thread.join().expect("does not panic")).sum()
    })
}

impl<'a> Hooks<'a> {
    fn of(generation: &'a Generation) -> Self {
        let shard = |shard_no| Shard { shard_no, remaining: 100, unsettled: 1, lag_records: 2 };
        Self {
            generation,
            load: Load::default(),
            usage: Usage { per_user_limit: 1, total: 10_000, remaining: 10_000 },
            shards: (0..SHARDS).map(shard).collect(),
        }
    }

    fn shape(&self, entropy: u64) -> bool {
        black_box(self.generation.shape(&request(entropy), Ok(&[Measured::Conforming]), &self.load)).verdict.is_ok()
    }

    fn admit(&self, entropy: u64) -> bool {
        black_box(self.generation.admit(&request(entropy), Ok(&[Measured::Count(1)]), &self.usage)).verdict.is_ok()
    }

    fn pick(&self, entropy: u64) -> bool {
        black_box(self.generation.pick(&request(entropy), Ok(&[]), &self.shards)).verdict.is_ok()
    }
}

fn request(entropy: u64) -> Request {
    Request { coupon_id: 104, policy_id: 21, user_id: 7, arrived_at_ms: 1, entropy }
}
