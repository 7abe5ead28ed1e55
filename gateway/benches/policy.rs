//! The cost of a decision: with warm instances, with a fresh instance for each call, and by the native defaults.
//!
//! Prints medians over batches, which other work on the machine affects little. Build the policies first.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice::counters::{Measured, PerHook};
use sluice::ledger;
use sluice::policy::{
    CompilerProgram, Generation, HookSpec, Isolation, Load, Options, Pipeline, Pipelines, Request, Shard, Usage,
};
use sluice::telemetry::Telemetry;
use tokio_util::sync::CancellationToken;

const SHARDS: u32 = 12;
const BATCHES: usize = 101;
const CALLS: u32 = 2_000;
/// Each call has a new instance made off the caller's path; more calls at once would only fill the queue.
const CALLS_FRESH: u32 = 4;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    let load = |isolation, native| runtime.block_on(load(isolation, native));
    let warm = <[f64; 3]>::from(report("warm", CALLS, &load(Isolation::Warm, false)));
    println!("three hooks, warm: {:.2} us (target 3)", warm.iter().sum::<f64>() / 1000.0);
    report("native", CALLS, &load(Isolation::Warm, true));
    report("fresh", CALLS_FRESH, &load(Isolation::Fresh, false));
}

/// The default pipeline, run in one of the three ways.
async fn load(isolation: Isolation, native: bool) -> Arc<Generation> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
    let ledger = ledger::open(&ledger::Options { url, ..ledger::Options::default() }).await.expect("a ledger");
    let hooks = Pipeline::default().hooks().map(|spec| HookSpec { isolation, ..spec.clone() });
    let PerHook { rate_shaper, user_limit, shard_picker } = hooks;
    let pipeline = Pipeline { rate_shaper, user_limit, shard_picker };
    let compiler = CompilerProgram::Other(env!("CARGO_BIN_EXE_sluice").into());
    let options = Options { dir, native, compiler, ..Options::default().read_only() };
    let stop = CancellationToken::new();
    let pipelines = Pipelines::start(&options, pipeline, Arc::clone(&ledger), &Telemetry::new(), &stop)
        .await
        .expect("run policies/build first");
    ledger.close().await;
    pipelines.current()
}

/// Nanoseconds a decision of each hook.
fn report(name: &str, calls: u32, generation: &Generation) -> PerHook<f64> {
    let request = |entropy| Request { coupon_id: 104, policy_id: 21, user_id: 7, arrived_at_ms: 1, entropy };
    let load = Load::default();
    let usage = Usage { per_user_limit: 1, total: 10_000, remaining: 10_000 };
    let shards: Vec<Shard> =
        (0..SHARDS).map(|shard_no| Shard { shard_no, remaining: 100, unsettled: 1, lag_records: 2 }).collect();
    let shape = median(calls, |n| drop(black_box(generation.shape(&request(n), Ok(&[Measured::Conforming]), &load))));
    let admit = median(calls, |n| drop(black_box(generation.admit(&request(n), Ok(&[Measured::Count(1)]), &usage))));
    let pick = median(calls, |n| {
        black_box(generation.pick(&request(n), Ok(&[]), &shards)).expect("picks");
    });
    println!("{name:7} token-bucket {shape:8.0} ns   quota {admit:8.0} ns   random, {SHARDS} shards {pick:8.0} ns");
    PerHook { rate_shaper: shape, user_limit: admit, shard_picker: pick }
}

fn median(calls: u32, mut decide: impl FnMut(u64)) -> f64 {
    let mut batches: Vec<Duration> = (0..BATCHES)
        .map(|_| {
            let begun = Instant::now();
            (0..u64::from(calls)).for_each(&mut decide);
            begun.elapsed() / calls
        })
        .collect();
    batches.sort();
    batches[BATCHES / 2].as_secs_f64() * 1e9
}
