//! What `sluice policy inspect` prints about a component.

use std::fmt;

use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::compile::Compiled;
use super::component::ComponentBytes;
use super::contract::Contract;
use super::decider::Decider;
use super::digest::Digest;
use super::engine::{
    CORE_INSTANCES_MAX, INSTANCES_MAX, MEMORIES_MAX, MEMORY_BYTES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX,
    WASM_STACK_BYTES_MAX,
};
use super::error::LoadError;
use super::failure_report::print;
use super::host::Host;
use super::instance::Instance;
use super::options::Options;
use super::spec::HookSpec;
use super::tasks::blocking;
use super::wire::{LimitVerdict, Load, Shaping, Shard, Usage};
use crate::counters::{Hook, Measure};
use crate::telemetry::Telemetry;

/// The properties of a component that is a policy.
#[derive(Debug)]
pub struct Inspection {
    contract: Contract,
    digest: Digest,
    bytes: usize,
    measures: Vec<Measure>,
    /// The verdict on a trial request.
    pub trial: Result<String, LoadError>,
}

/// Finds out which hook a component is for, and what it measures and decides with this configuration.
///
/// # Errors
/// Why the component cannot be used, but for a failed trial.
pub async fn inspect(bytes: Vec<u8>, config: Map<String, Value>) -> Result<Inspection, LoadError> {
    let telemetry = Telemetry::new();
    let host = Host::new(&Options::default().read_only(), &telemetry, CancellationToken::new());
    let component = ComponentBytes::unsigned(bytes);
    let compiled = host.compile(&component).await?;
    blocking(move || {
        let contract = compiled.contract;
        let hook = contract.hook;
        let measures = measures(&compiled, hook, &Value::from(config.clone()).to_string())?;
        let spec = HookSpec { config, ..HookSpec::of(hook, "inspected") };
        let trial = trial(hook, &spec, &compiled, &telemetry);
        Ok(Inspection { contract, digest: component.digest, bytes: component.bytes.len(), measures, trial })
    })
    .await
}

/// With this configuration, given as JSON.
fn measures(compiled: &Compiled, hook: Hook, config: &str) -> Result<Vec<Measure>, LoadError> {
    Ok(match hook {
        Hook::RateShaper => Instance::<Load, Shaping>::start(compiled, hook, config)?.1,
        Hook::UserLimit => Instance::<Usage, LimitVerdict>::start(compiled, hook, config)?.1,
        Hook::ShardPicker => Instance::<[Shard], u32>::start(compiled, hook, config)?.1,
    })
}

/// As an activation does it.
pub(super) fn trial(
    hook: Hook,
    spec: &HookSpec,
    compiled: &Compiled,
    telemetry: &Telemetry,
) -> Result<String, LoadError> {
    Ok(match hook {
        Hook::RateShaper => {
            print(&Decider::<Load, _>::load(hook, spec, compiled, false, telemetry)?.run_trial::<Load>()?)
        }
        Hook::UserLimit => {
            print(&Decider::<Usage, _>::load(hook, spec, compiled, false, telemetry)?.run_trial::<Usage>()?)
        }
        Hook::ShardPicker => {
            print(&Decider::<[Shard], _>::load(hook, spec, compiled, false, telemetry)?.run_trial::<Vec<Shard>>()?)
        }
    })
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "world     {}", self.contract.hook.as_str())?;
        writeln!(f, "contract  {}", self.contract.version.as_str())?;
        writeln!(f, "size      {} bytes", self.bytes)?;
        writeln!(f, "digest    {}", self.digest)?;
        writeln!(f, "limits    {} MiB of memory, in at most {MEMORIES_MAX} memories", MEMORY_BYTES_MAX / 1024 / 1024)?;
        writeln!(f, "limits    {TABLE_ELEMENTS_MAX} table elements, in at most {TABLES_MAX} tables")?;
        writeln!(f, "limits    {CORE_INSTANCES_MAX} core instances, {} KiB of stack", WASM_STACK_BYTES_MAX / 1024)?;
        writeln!(f, "limits    {INSTANCES_MAX} instances of all policies, with policies.memory_mib_max of memory")?;
        for measure in &self.measures {
            writeln!(f, "measures  {}", serde_json::to_string(measure).unwrap_or_default())?;
        }
        if let Ok(verdict) = &self.trial {
            writeln!(f, "trial     {verdict}")?;
        }
        Ok(())
    }
}
