//! Loads generations, off the async workers.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::compile::Compiled;
use super::component::ResolvedPipeline;
use super::engine::Metering;
use super::error::ChangeError;
use super::fuel_budget;
use super::generation::Generation;
use super::host::Host;
use super::options::Options;
use super::tasks::run_blocking;
use crate::counters::{Hook, PerHook};
use crate::coupon::GenerationNo;
use crate::telemetry::Telemetry;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trial {
    Run,
    /// It was tried when it was new, and has decided since.
    Skip,
}

pub(super) struct Loader {
    pub(super) host: Host,
    is_native: bool,
    pub(super) telemetry: Telemetry,
}

impl Loader {
    /// After `stop`, nothing is compiled any more.
    pub(super) fn new(options: &Options, telemetry: &Telemetry, stop: CancellationToken) -> Self {
        Self { host: Host::new(options, telemetry, stop), is_native: options.native, telemetry: telemetry.clone() }
    }

    /// Shares what stays the same as in the active generation.
    pub(super) async fn load(
        &self,
        number: GenerationNo,
        resolved: &ResolvedPipeline,
        trial: Trial,
        active: Option<Arc<Generation>>,
    ) -> Result<Generation, ChangeError> {
        let compiled = self.host.compile_each(&resolved.components).await?;
        let metered = if trial == Trial::Run { self.compile_metered(resolved).await? } else { PerHook::default() };
        let (pipeline, is_native, telemetry) = (resolved.pipeline.clone(), self.is_native, self.telemetry.clone());
        run_blocking(move || {
            let generation = Generation::load(number, pipeline, &compiled, is_native, &telemetry, active.as_deref())?;
            if trial == Trial::Run {
                generation.run_trial(active.as_deref())?;
            }
            for (hook, metered) in Hook::ALL.into_iter().zip(<[_; 3]>::from(metered)) {
                let Some(metered) = metered else { continue };
                fuel_budget::check(hook, generation.pipeline().hook(hook), metered).map_err(ChangeError::load(hook))?;
            }
            Ok(generation)
        })
        .await
    }

    /// The policies whose hook has a budget of fuel, to find out what they cost.
    async fn compile_metered(&self, resolved: &ResolvedPipeline) -> Result<PerHook<Option<Compiled>>, ChangeError> {
        let mut metered = PerHook::default();
        for (hook, component) in resolved.components.iter() {
            if resolved.pipeline.hook(hook).budget_fuel > 0 {
                let compiled = self.host.compile_for(Metering::Fuel, component).await;
                metered[hook] = Some(compiled.map_err(ChangeError::load(hook))?);
            }
        }
        Ok(metered)
    }
}
