//! Loads the policies of pipelines, off the async workers.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::compile::Compiled;
use super::component::{ComponentBytes, ResolvedPipeline};
use super::decider::Decider;
use super::decider_table::DeciderTable;
use super::engine::Metering;
use super::error::{ChangeError, LoadError};
use super::fuel_budget;
use super::generation::Generation;
use super::host::Host;
use super::options::Options;
use super::owned_context::OwnedContext;
use super::pinned::PinnedHook;
use super::spec::HookSpec;
use super::tasks::run_blocking;
use super::wire::{Load, Shard, Usage};
use crate::coupon::GenerationNo;
use crate::telemetry::Telemetry;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trial {
    Run,
    /// It was tried when it was new, and has decided since.
    Skip,
}

pub(super) struct Loader {
    pub(super) host: Arc<Host>,
    is_native: bool,
    pub(super) telemetry: Telemetry,
    deciders: DeciderTable,
}

/// The decider of a hook that a context determines.
type DeciderOf<C> = Decider<<C as OwnedContext>::Lent, <C as OwnedContext>::Verdict>;

impl Loader {
    /// After `stop`, nothing is compiled any more.
    pub(super) fn new(options: &Options, telemetry: &Telemetry, stop: CancellationToken) -> Self {
        Self::with_host(Arc::new(Host::new(options, telemetry, stop)), options.native, telemetry)
    }

    pub(super) fn with_host(host: Arc<Host>, is_native: bool, telemetry: &Telemetry) -> Self {
        Self { host, is_native, telemetry: telemetry.clone(), deciders: DeciderTable::default() }
    }

    /// Loads a generation of the default pipeline.
    pub(super) async fn load(
        &self,
        number: GenerationNo,
        resolved: &ResolvedPipeline,
        trial: Trial,
    ) -> Result<Generation, ChangeError> {
        let shaper = self.load_hook::<Load>(resolved, trial).await?;
        let limiter = self.load_hook::<Usage>(resolved, trial).await?;
        let picker = self.load_hook::<Vec<Shard>>(resolved, trial).await?;
        Ok(Generation::new(number, shaper, limiter, picker))
    }

    async fn load_hook<C: OwnedContext>(
        &self,
        resolved: &ResolvedPipeline,
        trial: Trial,
    ) -> Result<Arc<DeciderOf<C>>, ChangeError> {
        let component = resolved.components[C::HOOK].clone();
        let pinned = PinnedHook { digest: component.digest, spec: resolved.pipeline.hook(C::HOOK).clone() };
        self.decider::<C>(pinned, async { Ok(component) }, trial).await
    }

    /// The decider that other pipelines use, with its instances, its breaker and its account of time. Otherwise a new
    /// one, for which the component is needed.
    pub(super) async fn decider<C: OwnedContext>(
        &self,
        pinned: PinnedHook,
        component: impl Future<Output = Result<ComponentBytes, ChangeError>>,
        trial: Trial,
    ) -> Result<Arc<DeciderOf<C>>, ChangeError> {
        if let Some(in_use) = self.deciders.find(C::HOOK, &pinned) {
            return Ok(in_use);
        }
        let component = component.await?;
        let started = self.start::<C>(&pinned.spec, &component, trial).await?;
        self.deciders.add(C::HOOK, pinned, &started);
        Ok(started)
    }

    async fn start<C: OwnedContext>(
        &self,
        spec: &HookSpec,
        component: &ComponentBytes,
        trial: Trial,
    ) -> Result<Arc<DeciderOf<C>>, ChangeError> {
        let compiled = self.host.compile(component).await.map_err(ChangeError::load(C::HOOK))?;
        let metered = match trial {
            Trial::Run if spec.budget_fuel > 0 => {
                let metered = self.host.compile_for(Metering::Fuel, component).await;
                Some(metered.map_err(ChangeError::load(C::HOOK))?)
            }
            _ => None,
        };
        let (spec, is_native, telemetry) = (spec.clone(), self.is_native, self.telemetry.clone());
        run_blocking(move || {
            let decider = DeciderOf::<C>::load(C::HOOK, &spec, &compiled, is_native, &telemetry);
            let decider = decider.map_err(ChangeError::load(C::HOOK))?;
            if trial == Trial::Run {
                try_out::<C>(&decider, metered).map_err(ChangeError::load(C::HOOK))?;
            }
            Ok(Arc::new(decider))
        })
        .await
    }
}

/// Gives a policy trial requests before it decides about real ones. `metered` is there if its hook has a budget of fuel.
fn try_out<C: OwnedContext>(decider: &DeciderOf<C>, metered: Option<Compiled>) -> Result<(), LoadError> {
    decider.run_trial::<C>()?;
    match metered {
        Some(metered) => fuel_budget::check(C::HOOK, decider.spec(), metered),
        None => Ok(()),
    }
}
