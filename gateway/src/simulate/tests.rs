//! Simulations with the policies that `policies/build` builds.

mod examples;
mod properties;

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Prediction, Scenario, ScenarioFile, Speed, System, simulate};
use crate::policy::{CompilerProgram, OfflineHost, Options, Pipeline, PipelinePatch};

static HOST: LazyLock<OfflineHost> = LazyLock::new(|| {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    OfflineHost::new(&Options { dir, compiler: CompilerProgram::InProcess, ..Options::default() })
});

const EMBEDDED: System = System {
    gateways: 1,
    partitions: 12,
    batch_records_max: 1024,
    transactions_max: 1,
    stock_poll: None,
    speed: Speed::EMBEDDED,
    slow_partition: 1.0,
};
const SERVERS: System = System {
    gateways: 2,
    transactions_max: 12,
    stock_poll: Some(Duration::from_millis(250)),
    speed: Speed::SERVERS,
    ..EMBEDDED
};

/// A scenario of 400 users who ask once within two seconds for 100 coupons in 12 shards, with these fields replaced.
fn scenario(fields: Value) -> Scenario {
    let mut scenario = json!({
        "load": { "executor": "constant-arrival-rate", "rate": 200, "duration": "2s" },
        "crowd": { "users": 400 },
        "total": 100,
        "shards": 12,
    });
    let Value::Object(fields) = fields else { panic!("expected an object") };
    scenario.as_object_mut().expect("an object").extend(fields);
    let file = ScenarioFile::parse(&json!({ "test": scenario }).to_string()).expect("an object");
    file.scenario(None, false, EMBEDDED.partitions).expect("valid").1
}

/// With these changes of the default pipeline.
fn predict(scenario: &Scenario, system: &System, pipeline: Value, seed: u64) -> Prediction {
    let patch: PipelinePatch = serde_json::from_value(pipeline).expect("a patch");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let policies = runtime.block_on(HOST.load(&Pipeline::default().patched(&patch))).expect("loads");
    simulate(scenario, system, policies, seed, |_| {}).0
}

fn picker(policy: &str) -> Value {
    json!({ "shard-picker": { "policy": policy } })
}
