//! A generation: three loaded policies that decide together. It never changes; a change of the pipeline makes
//! another one, which shares the policies that stay the same.

use std::sync::Arc;

use super::compile::Compiled;
use super::configured::ConfiguredPolicy;
use super::decider::{Decided, Decider};
use super::error::ChangeError;
use super::failure_report::FailureReport;
use super::native;
use super::spec::Pipeline;
use super::wire::{Facts, LimitVerdict, Load, Request, Shaping, Shard, Usage, WireMeasured, shard_exists};
use crate::counters::{Hook, Measure, Measured, PerHook, PerMeasure, Unavailable};
use crate::coupon::{CampaignCounts, GenerationNo};
use crate::telemetry::{FailureReason, Telemetry};

/// A rate that a hook enforces: a full bucket, and how long it takes to fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub requests: u32,
    /// At least 1.
    pub window_seconds: u64,
}

pub struct Generation {
    number: GenerationNo,
    pipeline: Pipeline,
    shaper: Arc<Decider<Load, Shaping>>,
    limiter: Arc<Decider<Usage, LimitVerdict>>,
    picker: Arc<Decider<[Shard], u32>>,
}

impl Generation {
    /// Instantiates and configures the policies that differ from the active ones, which takes milliseconds.
    pub(super) fn load(
        number: GenerationNo,
        pipeline: Pipeline,
        compiled: &PerHook<Compiled>,
        is_native: bool,
        telemetry: &Telemetry,
        active: Option<&Self>,
    ) -> Result<Self, ChangeError> {
        let (hook, spec, compiled_hook) = (Hook::RateShaper, &pipeline.rate_shaper, &compiled.rate_shaper);
        let active_hook = active.map(|active| &active.shaper);
        let shaper = Decider::share_or_load(active_hook, hook, spec, compiled_hook, is_native, telemetry)
            .map_err(ChangeError::load(hook))?;
        let (hook, spec, compiled_hook) = (Hook::UserLimit, &pipeline.user_limit, &compiled.user_limit);
        let active_hook = active.map(|active| &active.limiter);
        let limiter = Decider::share_or_load(active_hook, hook, spec, compiled_hook, is_native, telemetry)
            .map_err(ChangeError::load(hook))?;
        let (hook, spec, compiled_hook) = (Hook::ShardPicker, &pipeline.shard_picker, &compiled.shard_picker);
        let active_hook = active.map(|active| &active.picker);
        let picker = Decider::share_or_load(active_hook, hook, spec, compiled_hook, is_native, telemetry)
            .map_err(ChangeError::load(hook))?;
        Ok(Self { number, pipeline, shaper, limiter, picker })
    }

    /// Gives each policy that is not shared trial requests before it decides about real ones.
    pub(super) fn run_trial(&self, active: Option<&Self>) -> Result<(), ChangeError> {
        if !is_shared(&self.shaper, active.map(|active| &active.shaper)) {
            self.shaper.run_trial::<Load>().map_err(ChangeError::load(Hook::RateShaper))?;
        }
        if !is_shared(&self.limiter, active.map(|active| &active.limiter)) {
            self.limiter.run_trial::<Usage>().map_err(ChangeError::load(Hook::UserLimit))?;
        }
        if !is_shared(&self.picker, active.map(|active| &active.picker)) {
            self.picker.run_trial::<Vec<Shard>>().map_err(ChangeError::load(Hook::ShardPicker))?;
        }
        Ok(())
    }

    #[must_use]
    pub fn number(&self) -> GenerationNo {
        self.number
    }

    #[must_use]
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// What a hook's policy declared when it was configured.
    #[must_use]
    pub fn measures(&self, hook: Hook) -> &[Measure] {
        match hook {
            Hook::RateShaper => self.shaper.measures(),
            Hook::UserLimit => self.limiter.measures(),
            Hook::ShardPicker => self.picker.measures(),
        }
    }

    /// The whole-campaign counts that hold the requests which this generation accepts.
    #[must_use]
    pub fn campaign_counts(&self) -> CampaignCounts {
        CampaignCounts::among(PerHook::from_fn(|hook| self.measures(hook)))
    }

    /// The policy of a hook.
    #[must_use]
    pub fn policy(&self, hook: Hook) -> &Arc<ConfiguredPolicy> {
        match hook {
            Hook::RateShaper => self.shaper.policy(),
            Hook::UserLimit => self.limiter.policy(),
            Hook::ShardPicker => self.picker.policy(),
        }
    }

    /// The version of a hook's policy: the beginning of its component's digest.
    #[must_use]
    pub fn version(&self, hook: Hook) -> &str {
        match hook {
            Hook::RateShaper => self.shaper.version(),
            Hook::UserLimit => self.limiter.version(),
            Hook::ShardPicker => self.picker.version(),
        }
    }

    /// The first failure of each kind of a hook's policy, since it was loaded.
    #[must_use]
    pub fn failures(&self, hook: Hook) -> Vec<&FailureReport> {
        match hook {
            Hook::RateShaper => self.shaper.failures().collect(),
            Hook::UserLimit => self.limiter.failures().collect(),
            Hook::ShardPicker => self.picker.failures().collect(),
        }
    }

    /// The rate that a hook enforces; `None` if it measures no bucket.
    #[must_use]
    pub fn quota(&self, hook: Hook) -> Option<Quota> {
        self.measures(hook).iter().find_map(|measure| match *measure {
            Measure::Bucket { requests, per_ms, burst, .. } => {
                let fill_ms = u64::from(burst.get()) * u64::from(per_ms.get()) / u64::from(requests.get());
                Some(Quota { requests: burst.get(), window_seconds: fill_ms.div_ceil(1000).max(1) })
            }
            _ => None,
        })
    }

    /// Whether a request goes on now, later or not at all.
    pub fn shape(
        &self,
        request: &Request,
        measured: Result<&[Measured], &Unavailable>,
        load: &Load,
    ) -> Decided<Shaping> {
        let wire = wire(measured);
        let native = || native::shape(measured.unwrap_or_default());
        self.shaper.decide(facts(request, &wire, load), Shaping::is_valid, native, || Shaping::Pass)
    }

    /// Whether this user may have another coupon.
    pub fn admit(
        &self,
        request: &Request,
        measured: Result<&[Measured], &Unavailable>,
        usage: &Usage,
    ) -> Decided<LimitVerdict> {
        let wire = wire(measured);
        let native = || native::admit(self.limiter.measures(), measured.unwrap_or_default(), usage);
        self.limiter.decide(facts(request, &wire, usage), LimitVerdict::is_valid, native, || LimitVerdict::Admit)
    }

    /// From which shard the stock is taken. Without a shard there is nothing to go on with, so this hook cannot be
    /// skipped.
    pub fn pick(
        &self,
        request: &Request,
        measured: Result<&[Measured], &Unavailable>,
        shards: &[Shard],
    ) -> Decided<u32> {
        let wire = wire(measured);
        let is_valid = |picked: &u32| shard_exists(shards, *picked);
        let native = || native::pick(request, shards).0;
        self.picker.decide(facts(request, &wire, shards), is_valid, native, native)
    }
}

/// What was measured, as it crosses into a guest.
type Wire = Result<PerMeasure<WireMeasured>, FailureReason>;

fn wire(measured: Result<&[Measured], &Unavailable>) -> Wire {
    measured.map(|measured| measured.iter().map(WireMeasured::from).collect()).map_err(|_| FailureReason::Counters)
}

fn facts<'a, C: ?Sized>(request: &'a Request, wire: &'a Wire, context: &'a C) -> Result<Facts<'a, C>, FailureReason> {
    wire.as_ref().map(|measured| (request, measured.as_slice(), context)).map_err(|reason| *reason)
}

fn is_shared<T>(decider: &Arc<T>, active: Option<&Arc<T>>) -> bool {
    active.is_some_and(|active| Arc::ptr_eq(active, decider))
}
