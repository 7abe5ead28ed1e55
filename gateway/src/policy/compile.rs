//! From a component's bytes to compiled code that can be instantiated.

mod artifact;
mod cache;
mod child;
pub(super) mod compiler;
pub(super) mod limits;
mod private_folder;
#[cfg(test)]
mod tests;
pub(super) mod worker;

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Component, InstancePre, Linker};

use super::component::ComponentBytes;
use super::contract::Contract;
use super::digest::Digest;
use super::engine::{Bounds, Metering};
use super::error::LoadError;
use super::memory_budget::MemoryBudget;

/// A guest that carries a language runtime takes 12 to 18 MB.
pub(super) const COMPONENT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A component that imports nothing, ready to be instantiated.
#[derive(Clone)]
pub(super) struct Compiled {
    pub(super) pre: InstancePre<Bounds>,
    pub(super) digest: Digest,
    metering: Metering,
    pub(super) contract: Contract,
    memory: Arc<MemoryBudget>,
}

impl Compiled {
    /// # Errors
    /// When the component imports something, or is no policy of a version that the gateway runs.
    pub(super) fn link(
        component: &Component,
        digest: Digest,
        metering: Metering,
        memory: Arc<MemoryBudget>,
    ) -> Result<Self, LoadError> {
        // The linker stays empty: a component with an import does not link, which is the proof of the sandbox.
        let pre = Linker::new(component.engine())
            .instantiate_pre(component)
            .map_err(|error| LoadError::Imports(format!("{error:#}")))?;
        let exports = component.component_type();
        let exports: Vec<_> = exports.exports(component.engine()).map(|(name, _)| name).collect();
        Ok(Self { pre, digest, contract: Contract::of_exports(&exports)?, metering, memory })
    }

    /// For one instance, within its bounds.
    pub(super) fn store(&self) -> Store<Bounds> {
        Bounds::store(self.pre.engine(), self.metering, Arc::clone(&self.memory))
    }
}

/// Whether it is worth compiling.
pub(super) fn check(component: &ComponentBytes) -> Result<(), LoadError> {
    let bytes = &component.bytes;
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Err(LoadError::TooLarge { bytes_max: COMPONENT_BYTES_MAX, found: bytes.len() });
    }
    component.check_header()
}
