//! What a decision costs: warm instances, a fresh one a call, and the native default beside them.
//!
//! Prints medians over batches, so that a busy machine does not decide. The policies must be built.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice::counters::Measured;
use sluice::ledger;
use sluice::policy::{Generation, Load, Options, Pipeline, PipelinePatch, Pipelines, Request, Shard, Source, Usage};
use sluice::telemetry::Telemetry;

const SHARDS: u32 = 12;
const BATCHES: usize = 101;
const CALLS: u32 = 2_000;
/// A fresh instance is made a call, off the caller's path; more at once would only fill the queue.
const CALLS_FRESH: u32 = 4;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pipelines = runtime.block_on(start(folder.path()));

    let warm = pipelines.current();
    let hooks = report("warm", CALLS, &warm);
    println!("three hooks, warm: {:.2} us (target 3)", hooks.iter().sum::<f64>() / 1000.0);
    for isolation in ["native", "fresh"] {
        let generation = runtime.block_on(isolated(&pipelines, isolation));
        report(isolation, if isolation == "fresh" { CALLS_FRESH } else { CALLS }, &generation);
    }
}

async fn start(folder: &Path) -> Arc<Pipelines> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let url = format!("sqlite:{}", folder.join("ledger.db").display());
    let ledger = ledger::open(&ledger::Options { url, ..ledger::Options::default() }).await.expect("a ledger");
    Pipelines::start(&Options { dir }, Pipeline::default(), ledger, &Telemetry::new())
        .await
        .expect("run policies/build first")
}

async fn isolated(pipelines: &Arc<Pipelines>, isolation: &str) -> Arc<Generation> {
    let default = serde_json::to_value(Pipeline::default()).expect("JSON");
    let mut patch = default;
    for hook in ["rate-shaper", "user-limit", "shard-picker"] {
        patch[hook]["isolation"] = isolation.into();
    }
    let patch: PipelinePatch = serde_json::from_value(patch).expect("a patch");
    pipelines.change(patch, Source::Admin).await.expect("changes");
    pipelines.current()
}

/// Nanoseconds a decision of each hook.
fn report(name: &str, calls: u32, generation: &Generation) -> [f64; 3] {
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
    [shape, admit, pick]
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
