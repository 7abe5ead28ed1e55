//! A generation: three loaded policies that decide together. It never changes; a change of the pipeline makes
//! another one, which shares the policies that stay the same. So do the generations of coupons.

use std::sync::Arc;

use super::configured::ConfiguredPolicy;
use super::decider::{Decided, Decider};
use super::failure_report::FailureReport;
use super::native;
use super::pinned::{OwnHooks, PinnedHook};
use super::spec::{HookSpec, Pipeline};
use super::wire::{Facts, LimitVerdict, Load, Request, Shaping, Shard, Usage, WireMeasured, shard_exists};
use crate::counters::{Hook, Measure, Measured, PerHook, PerMeasure, Unavailable};
use crate::coupon::{CampaignCounts, GenerationNo};
use crate::telemetry::FailureReason;

/// A rate that a hook enforces: a full bucket, and how long it takes to fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub requests: u32,
    /// At least 1.
    pub window_seconds: u64,
}

pub struct Generation {
    number: GenerationNo,
    /// Of the record that it was made of. The number of a coupon's generation also rises with the default pipeline.
    recorded: GenerationNo,
    /// The hooks that a coupon sets; none in the default pipeline.
    own: PerHook<bool>,
    shaper: Arc<Decider<Load, Shaping>>,
    limiter: Arc<Decider<Usage, LimitVerdict>>,
    picker: Arc<Decider<[Shard], u32>>,
}

/// The loaded policies of the hooks that a coupon sets.
#[derive(Default)]
pub(super) struct LoadedHooks {
    pub(super) shaper: Option<Arc<Decider<Load, Shaping>>>,
    pub(super) limiter: Option<Arc<Decider<Usage, LimitVerdict>>>,
    pub(super) picker: Option<Arc<Decider<[Shard], u32>>>,
}

impl Generation {
    /// Of the default pipeline.
    pub(super) fn new(
        number: GenerationNo,
        shaper: Arc<Decider<Load, Shaping>>,
        limiter: Arc<Decider<Usage, LimitVerdict>>,
        picker: Arc<Decider<[Shard], u32>>,
    ) -> Self {
        Self { number, recorded: number, own: PerHook::default(), shaper, limiter, picker }
    }

    /// Of a coupon: its own hooks, and the others of the default pipeline.
    pub(super) fn of_coupon(recorded: GenerationNo, hooks: LoadedHooks, default: &Self) -> Self {
        let LoadedHooks { shaper, limiter, picker } = hooks;
        Self {
            number: recorded.max(default.number),
            recorded,
            own: PerHook::from([shaper.is_some(), limiter.is_some(), picker.is_some()]),
            shaper: shaper.unwrap_or_else(|| Arc::clone(&default.shaper)),
            limiter: limiter.unwrap_or_else(|| Arc::clone(&default.limiter)),
            picker: picker.unwrap_or_else(|| Arc::clone(&default.picker)),
        }
    }

    /// This pipeline of a coupon, on another default pipeline.
    pub(super) fn over(&self, default: &Self) -> Self {
        let hooks = LoadedHooks {
            shaper: self.own.rate_shaper.then(|| Arc::clone(&self.shaper)),
            limiter: self.own.user_limit.then(|| Arc::clone(&self.limiter)),
            picker: self.own.shard_picker.then(|| Arc::clone(&self.picker)),
        };
        Self::of_coupon(self.recorded, hooks, default)
    }

    /// The hooks that the coupon sets.
    pub(super) fn own_hooks(&self) -> OwnHooks {
        PerHook::from_fn(|hook| self.own[hook].then(|| self.pinned(hook)))
    }

    /// The same, and these in place of some.
    pub(super) fn own_hooks_with(&self, hooks: &OwnHooks) -> OwnHooks {
        let own = self.own_hooks();
        PerHook::from_fn(|hook| hooks[hook].clone().or_else(|| own[hook].clone()))
    }

    /// A hook as it is.
    pub(super) fn pinned(&self, hook: Hook) -> PinnedHook {
        PinnedHook { digest: self.policy(hook).digest, spec: self.spec(hook).clone() }
    }

    /// The same pipeline with some hooks replaced, under the same number.
    pub(super) fn with(&self, hooks: LoadedHooks) -> Self {
        let LoadedHooks { shaper, limiter, picker } = hooks;
        Self {
            shaper: shaper.unwrap_or_else(|| Arc::clone(&self.shaper)),
            limiter: limiter.unwrap_or_else(|| Arc::clone(&self.limiter)),
            picker: picker.unwrap_or_else(|| Arc::clone(&self.picker)),
            ..*self
        }
    }

    /// Whether a coupon sets any hook itself.
    #[must_use]
    pub fn has_own_hooks(&self) -> bool {
        Hook::ALL.into_iter().any(|hook| self.own[hook])
    }

    /// Whether the coupon sets this hook itself.
    #[must_use]
    pub fn is_own(&self, hook: Hook) -> bool {
        self.own[hook]
    }

    #[must_use]
    pub fn number(&self) -> GenerationNo {
        self.number
    }

    #[must_use]
    pub fn pipeline(&self) -> Pipeline {
        let PerHook { rate_shaper, user_limit, shard_picker } = PerHook::from_fn(|hook| self.spec(hook).clone());
        Pipeline { rate_shaper, user_limit, shard_picker }
    }

    fn spec(&self, hook: Hook) -> &HookSpec {
        match hook {
            Hook::RateShaper => self.shaper.spec(),
            Hook::UserLimit => self.limiter.spec(),
            Hook::ShardPicker => self.picker.spec(),
        }
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
