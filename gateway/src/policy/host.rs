//! What the policies of a gateway share: the compiler, and the memory of their instances.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::compile::compiler::Compiler;
use super::compile::{self, Compiled};
use super::component::ComponentBytes;
use super::engine::Metering;
use super::error::{ChangeError, LoadError};
use super::memory_budget::MemoryBudget;
use super::options::Options;
use super::signature::TrustedKeys;
use crate::counters::{Hook, PerHook};
use crate::telemetry::Telemetry;

pub(super) struct Host {
    compiler: Compiler,
    memory: Arc<MemoryBudget>,
    trusted: TrustedKeys,
}

impl Host {
    /// After `stop`, nothing is compiled any more.
    pub(super) fn new(options: &Options, telemetry: &Telemetry, stop: CancellationToken) -> Self {
        Self {
            compiler: Compiler::new(options, telemetry.clone(), stop),
            memory: Arc::new(MemoryBudget::new(options.memory_mib_max)),
            trusted: options.trusted_keys.clone(),
        }
    }

    /// For calls that serve requests. Dropping the future stops the compiler.
    pub(super) async fn compile(&self, component: &ComponentBytes) -> Result<Compiled, LoadError> {
        self.compile_for(Metering::Time, component).await
    }

    /// As [`compile`](Self::compile), for calls of the engine with this metering.
    pub(super) async fn compile_for(
        &self,
        metering: Metering,
        component: &ComponentBytes,
    ) -> Result<Compiled, LoadError> {
        compile::check(component)?;
        // Whatever runs was compiled here, wherever it came from.
        component.check_signature(&self.trusted)?;
        let compiled = self.compiler.compile(metering, component).await?;
        Compiled::link(&compiled, component.digest, metering, Arc::clone(&self.memory))
    }

    pub(super) async fn compile_each(
        &self,
        components: &PerHook<ComponentBytes>,
    ) -> Result<PerHook<Compiled>, ChangeError> {
        let compile = async |hook| self.compile(&components[hook]).await.map_err(ChangeError::load(hook));
        Ok(PerHook {
            rate_shaper: compile(Hook::RateShaper).await?,
            user_limit: compile(Hook::UserLimit).await?,
            shard_picker: compile(Hook::ShardPicker).await?,
        })
    }
}
