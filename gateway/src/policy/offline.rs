//! Policies outside of a gateway, called on the caller's thread.
//!
//! A pipeline has one instance of each policy, for simulations. A metered policy is one of them on the engine that
//! meters fuel, for replays and benchmarks.
//!
//! No decision depends on a clock or on another thread. There is no breaker and no share of the workers' time, and only
//! a policy that loops reaches the deadline. So the same facts give the same decisions.

mod hook;
mod metered;

use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use self::hook::OfflineHook;
use super::component::{ComponentBytes, ResolvedPipeline};
use super::decider::PolicyUnavailable;
use super::engine::Metering;
use super::error::{ChangeError, LoadError, StartError};
use super::folder::Folder;
use super::host::Host;
use super::native;
use super::options::Options;
use super::owned_context::OwnedContext;
use super::signature::TrustedKeys;
use super::spec::Pipeline;
use super::tasks::run_blocking;
use super::wire::{LimitVerdict, Load, Request, Shaping, Shard, Usage, WireMeasured, shard_exists};
use crate::counters::{Hook, Measure, Measured, PerHook, PerMeasure};
use crate::coupon::ShardNo;
use crate::telemetry::Telemetry;

pub use hook::CallCost;
pub use metered::{MeteredCall, MeteredInstance, MeteredPolicy};

/// Loads pipelines from the policies folder. A component is compiled once, and nothing is written.
pub struct OfflineHost {
    folder: Folder,
    host: Host,
}

impl OfflineHost {
    #[must_use]
    pub fn new(options: &Options) -> Self {
        // A policy is measured and simulated before anybody signs it.
        let options = Options { trusted_keys: TrustedKeys::default(), ..options.read_only() };
        Self { folder: Folder::new(&options), host: Host::new(&options, &Telemetry::new(), CancellationToken::new()) }
    }

    /// The policies of the folder that are for this hook, by name.
    #[must_use]
    pub fn policies(&self, hook: Hook) -> Vec<String> {
        let names = self.folder.stamps().unwrap_or_default().into_keys();
        names.filter(|name| self.folder.read_policy(name).is_ok_and(|(_, contract)| contract.hook == hook)).collect()
    }

    /// Compiles and configures the three policies of a pipeline.
    ///
    /// # Errors
    /// Which policy cannot be loaded, and why.
    pub async fn load(&self, pipeline: &Pipeline) -> Result<OfflinePipeline, StartError> {
        pipeline.check().map_err(ChangeError::Pipeline)?;
        let (folder, pipeline) = (self.folder.clone(), pipeline.clone());
        let ResolvedPipeline { pipeline, components } = run_blocking(move || folder.resolve(pipeline)).await?;
        let compiled = self.host.compile_each(&components).await?;
        let PerHook { rate_shaper, user_limit, shard_picker } = compiled;
        let shaper = OfflineHook::start(Hook::RateShaper, &pipeline.rate_shaper, rate_shaper)?;
        let limiter = OfflineHook::start(Hook::UserLimit, &pipeline.user_limit, user_limit)?;
        let picker = OfflineHook::start(Hook::ShardPicker, &pipeline.shard_picker, shard_picker)?;
        Ok(OfflinePipeline { shaper, limiter, picker })
    }

    /// Compiles and configures a policy, given as a component.
    ///
    /// # Errors
    /// Why the component cannot be used.
    pub async fn load_metered<C: OwnedContext>(
        &self,
        component: Vec<u8>,
        config: &Map<String, Value>,
    ) -> Result<MeteredPolicy<C>, LoadError> {
        let compiled = self.host.compile_for(Metering::Fuel, &ComponentBytes::unsigned(component)).await?;
        MeteredPolicy::start(compiled, config)
    }
}

/// Three policies that decide as a [`Generation`](super::Generation) does.
pub struct OfflinePipeline {
    shaper: OfflineHook<Load, Shaping>,
    limiter: OfflineHook<Usage, LimitVerdict>,
    picker: OfflineHook<[Shard], u32>,
}

impl OfflinePipeline {
    /// What a hook's policy declared when it was configured.
    #[must_use]
    pub fn measures(&self, hook: Hook) -> &[Measure] {
        match hook {
            Hook::RateShaper => self.shaper.measures(),
            Hook::UserLimit => self.limiter.measures(),
            Hook::ShardPicker => self.picker.measures(),
        }
    }

    /// The calls so far.
    #[must_use]
    pub fn cost(&self) -> PerHook<CallCost> {
        PerHook { rate_shaper: self.shaper.cost(), user_limit: self.limiter.cost(), shard_picker: self.picker.cost() }
    }

    /// Whether a request goes on now, later or not at all.
    ///
    /// # Errors
    /// [`PolicyUnavailable`] when the policy gives no decision and its hook refuses then.
    pub fn shape(
        &mut self,
        request: &Request,
        measured: &[Measured],
        load: &Load,
    ) -> Result<Shaping, PolicyUnavailable> {
        let wire = wire(measured);
        let facts = (request, &*wire, load);
        self.shaper.decide(facts, Shaping::is_valid, |_| native::shape(measured), || Shaping::Pass)
    }

    /// Whether this user may have another coupon.
    ///
    /// # Errors
    /// [`PolicyUnavailable`] when the policy gives no decision and its hook refuses then.
    pub fn admit(
        &mut self,
        request: &Request,
        measured: &[Measured],
        usage: &Usage,
    ) -> Result<LimitVerdict, PolicyUnavailable> {
        let wire = wire(measured);
        let facts = (request, &*wire, usage);
        let native = |measures: &[Measure]| native::admit(measures, measured, usage);
        self.limiter.decide(facts, LimitVerdict::is_valid, native, || LimitVerdict::Admit)
    }

    /// From which shard the stock is taken.
    ///
    /// # Errors
    /// [`PolicyUnavailable`] when the policy gives no decision and its hook refuses then.
    pub fn pick(
        &mut self,
        request: &Request,
        measured: &[Measured],
        shards: &[Shard],
    ) -> Result<ShardNo, PolicyUnavailable> {
        let wire = wire(measured);
        let facts = (request, &*wire, shards);
        let native = || native::pick(request, shards).0;
        self.picker.decide(facts, |picked| shard_exists(shards, *picked), |_| native(), native).map(ShardNo)
    }
}

fn wire(measured: &[Measured]) -> PerMeasure<WireMeasured> {
    measured.iter().map(WireMeasured::from).collect()
}
