//! What `sluice policy inspect` prints about a component.

use std::fmt;

use tokio_util::sync::CancellationToken;

use super::compile::Compiled;
use super::component::ComponentBytes;
use super::digest::Digest;
use super::engine::{
    CORE_INSTANCES_MAX, INSTANCES_MAX, MEMORIES_MAX, MEMORY_BYTES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX,
    WASM_STACK_BYTES_MAX,
};
use super::error::LoadError;
use super::host::Host;
use super::instance::Instance;
use super::options::Options;
use super::tasks::blocking;
use super::wire::{AdmitFacts, LimitVerdict, PickFacts, ShapeFacts, Shaping};
use crate::counters::{Hook, Measure};
use crate::telemetry::Telemetry;

/// The properties of a component that is a policy.
#[derive(Debug)]
pub struct Inspection {
    hook: Hook,
    digest: Digest,
    bytes: usize,
    measures: Vec<Measure>,
}

/// Finds out which hook a component is for and what it measures with this configuration, given as JSON.
///
/// # Errors
/// Why the component cannot be used.
pub async fn inspect(bytes: Vec<u8>, config: &str) -> Result<Inspection, LoadError> {
    let host = Host::new(&Options::default().without_cache(), &Telemetry::new(), CancellationToken::new());
    let (component, config) = (ComponentBytes::new(bytes), config.to_owned());
    let compiled = host.compile(&component).await?;
    blocking(move || inspect_component(&component, &compiled, &config)).await
}

pub(super) fn inspect_component(
    component: &ComponentBytes,
    compiled: &Compiled,
    config: &str,
) -> Result<Inspection, LoadError> {
    let mut last = None;
    for hook in Hook::ALL {
        match measures(compiled, hook, config) {
            Ok(measures) => {
                return Ok(Inspection { hook, digest: component.digest, bytes: component.bytes.len(), measures });
            }
            Err(error @ LoadError::World { .. }) => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or(LoadError::Module))
}

fn measures(compiled: &Compiled, hook: Hook, config: &str) -> Result<Vec<Measure>, LoadError> {
    Ok(match hook {
        Hook::RateShaper => Instance::<ShapeFacts, Shaping>::start(compiled, hook, config)?.1,
        Hook::UserLimit => Instance::<AdmitFacts, LimitVerdict>::start(compiled, hook, config)?.1,
        Hook::ShardPicker => Instance::<PickFacts, u32>::start(compiled, hook, config)?.1,
    })
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "world     {}", self.hook.as_str())?;
        writeln!(f, "size      {} bytes", self.bytes)?;
        writeln!(f, "digest    {}", self.digest)?;
        writeln!(f, "limits    {} MiB of memory, in at most {MEMORIES_MAX} memories", MEMORY_BYTES_MAX / 1024 / 1024)?;
        writeln!(f, "limits    {TABLE_ELEMENTS_MAX} table elements, in at most {TABLES_MAX} tables")?;
        writeln!(f, "limits    {CORE_INSTANCES_MAX} core instances, {} KiB of stack", WASM_STACK_BYTES_MAX / 1024)?;
        writeln!(f, "limits    {INSTANCES_MAX} instances of all policies, with policies.memory_mib_max of memory")?;
        for measure in &self.measures {
            writeln!(f, "measures  {}", serde_json::to_string(measure).unwrap_or_default())?;
        }
        Ok(())
    }
}
