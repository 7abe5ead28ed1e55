//! The cost of decisions by policies in WebAssembly, and by the native defaults on the same facts.
//!
//! 1. One hook at a time, on one thread: with warm instances, with a fresh instance for each call, and native. Medians
//!    over batches, which other work on the machine affects little.
//! 2. The three hooks of a request in a loop, on one, two and four threads. They scale if no thread waits for another.
//! 3. The same in place: requests through admission, on one, two and four workers. The counters are in memory, and the
//!    log acknowledges at once. Between two hooks the rest of admission runs, so a call finds less of what it needs in
//!    the processor's caches than in a loop.
//!
//! In 2 and 3, rounds in WebAssembly and native rounds alternate, and the figures are medians. `ns` is the processor time
//! of a request, whatever else runs on the machine. Build the policies first.

mod in_place;
mod instant_log;
mod loops;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use sluice::ledger::{self, Ledger};
use sluice::policy::{CompilerProgram, Isolation, Options, Pipeline, Pipelines};
use sluice::telemetry::Telemetry;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

const SHARDS: u32 = 12;
const THREADS: [usize; 3] = [1, 2, 4];
const ROUND: Duration = Duration::from_millis(200);
const ROUNDS: usize = 9;
/// A policy may use a fifth of the workers' time. A fifth of 16 workers is more than a hook uses in a loop.
const WORKERS_OF_LOOPS: usize = 16;

fn main() {
    let runtime = runtime(WORKERS_OF_LOOPS);
    let _inside = runtime.enter();
    let load = |isolation, native| runtime.block_on(loops::load(isolation, native));
    let (warm, native) = (load(Isolation::Warm, false), load(Isolation::Warm, true));
    loops::report_each("warm", loops::CALLS, &warm);
    loops::report_each("native", loops::CALLS, &native);
    loops::report_each("fresh", loops::CALLS_FRESH, &load(Isolation::Fresh, false));
    println!("three hooks in a loop");
    for threads in THREADS {
        report_rounds(threads, || loops::run(&warm, threads), || loops::run(&native, threads));
    }
    println!("requests through admission");
    for workers in THREADS {
        in_place::report(workers);
    }
}

fn runtime(workers: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(workers).enable_all().build().expect("a runtime")
}

/// A new ledger in this folder.
async fn open_ledger(folder: &TempDir) -> Arc<dyn Ledger> {
    let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
    ledger::open(&ledger::Options { url, ..ledger::Options::default() }, instant_log::PARTITIONS)
        .await
        .expect("opens a ledger")
}

/// The default policies. The rate shaper sheds nothing, and no failure goes unnoticed.
async fn start(ledger: Arc<dyn Ledger>, isolation: Isolation, native: bool, telemetry: &Telemetry) -> Arc<Pipelines> {
    let pipeline: Pipeline = serde_json::from_value(json!({
        "rate-shaper": {
            "isolation": isolation, "on_failure": "refuse", "config": { "per_second": u32::MAX, "burst": u32::MAX },
        },
        "user-limit": { "isolation": isolation, "on_failure": "refuse" },
        "shard-picker": { "isolation": isolation, "on_failure": "refuse" },
    }))
    .expect("a pipeline");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let compiler = CompilerProgram::Other(env!("CARGO_BIN_EXE_sluice").into());
    let options = Options { dir, native, compiler, ..Options::default().read_only() };
    let stop = CancellationToken::new();
    Pipelines::start(&options, pipeline, ledger, Arc::new(|_| false), telemetry, &stop)
        .await
        .expect("run policies/build first")
}

/// What requests cost.
#[derive(Clone, Copy)]
struct Cost {
    per_second: f64,
    /// Processor time of this process, for each request.
    ns: f64,
}

impl Cost {
    fn of(round: impl Fn() -> u64) -> Self {
        let (begun, used_before) = (Instant::now(), processor_seconds());
        let requests = round() as f64;
        let used = processor_seconds() - used_before;
        Self { per_second: requests / begun.elapsed().as_secs_f64(), ns: used * 1e9 / requests }
    }

    fn median(rounds: &[Self]) -> Self {
        let median_of = |figure: fn(&Self) -> f64| median(rounds.iter().map(figure).collect());
        Self { per_second: median_of(|cost| cost.per_second), ns: median_of(|cost| cost.ns) }
    }
}

fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Runs rounds that take turns, each of which returns its number of requests.
fn report_rounds(threads: usize, wasm: impl Fn() -> u64, native: impl Fn() -> u64) {
    let (wasm, native): (Vec<_>, Vec<_>) = (0..ROUNDS).map(|_| (Cost::of(&wasm), Cost::of(&native))).unzip();
    let (wasm, native) = (Cost::median(&wasm), Cost::median(&native));
    println!(
        "{threads} threads   wasm {:9.0}/s {:6.0} ns   native {:9.0}/s {:6.0} ns   difference {:5.0} ns (target 1500)",
        wasm.per_second,
        wasm.ns,
        native.per_second,
        native.ns,
        wasm.ns - native.ns
    );
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
