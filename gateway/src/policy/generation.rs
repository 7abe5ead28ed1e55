//! A generation: all that decides, immutable.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::breaker::Breaker;
use super::guest::{Guest, LoadError, digest, load};
use super::native;
use super::spec::{HookSpec, Isolation, OnFailure, Pipeline};
use super::wire::{LimitVerdict, Load, Request, Shaping, Shard, Usage, WireMeasured};
use crate::counters::{Hook, Measure, Measured, Unavailable};
use crate::coupon::{GenerationNo, ShardNo, now_ms};
use crate::telemetry::{FailureReason, PolicyMeter, Telemetry};

pub(super) type ShapeFacts = (Request, Vec<WireMeasured>, Load);
pub(super) type AdmitFacts = (Request, Vec<WireMeasured>, Usage);
pub(super) type PickFacts = (Request, Vec<WireMeasured>, Vec<Shard>);

/// A policy that decides none of so many requests before it is in force will decide none afterwards.
const TRIALS: u32 = 3;
/// The campaign of a trial: coupon 0, which user 0 asks for.
const TRIAL_SHARDS: u32 = 4;
const TRIAL_STOCK: u64 = 100;

/// A policy gave no decision, and its hook refuses in that case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyUnavailable {
    /// Which hook.
    pub hook: Hook,
}

/// So many requests in so many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// How many.
    pub requests: u32,
    /// In how many, at least 1.
    pub window_seconds: u64,
}

/// Three policies that decide together.
pub struct Generation {
    number: GenerationNo,
    pipeline: Pipeline,
    shaper: Decider<ShapeFacts, Shaping>,
    limiter: Decider<AdmitFacts, LimitVerdict>,
    picker: Decider<PickFacts, u32>,
}

/// What one hook does, and on whose behalf.
struct Decider<P: 'static, R: 'static> {
    hook: Hook,
    guest: Arc<Guest<P, R>>,
    is_native: bool,
    on_failure: OnFailure,
    version: String,
    meter: Arc<PolicyMeter>,
    breaker: Breaker,
    /// A bit for each reason that was logged.
    failures_seen: AtomicU32,
}

impl<P, R> Decider<P, R>
where
    P: wasmtime::component::ComponentNamedList + wasmtime::component::Lower + Send + Sync + 'static,
    R: wasmtime::component::Lift + wasmtime::component::ComponentType + Send + Sync + 'static,
{
    fn load(hook: Hook, spec: &HookSpec, bytes: &[u8], telemetry: &Telemetry) -> Result<Self, LoadError> {
        let digest = digest(bytes);
        let config = serde_json::to_string(&spec.config).expect("a map is JSON");
        let is_fresh = spec.isolation == Isolation::Fresh;
        let guest = Guest::new(load(bytes, &digest)?, hook, config, spec.deadline_ms, is_fresh)?;
        let version = digest[..12].to_owned();
        let meter = telemetry.policy_meter(hook.as_str(), &spec.policy, &version);
        let is_native = spec.isolation == Isolation::Native;
        Ok(Self {
            hook,
            guest,
            is_native,
            on_failure: spec.on_failure,
            version,
            meter,
            breaker: Breaker::default(),
            failures_seen: AtomicU32::new(0),
        })
    }

    /// The guest's verdict if it is sound, and otherwise what the hook does without one: `native`
    /// where it falls back, `skip` where it goes on.
    fn decide(
        &self,
        facts: Result<P, FailureReason>,
        is_valid: impl Fn(&R) -> bool,
        native: impl Fn() -> R,
        skip: impl Fn() -> R,
    ) -> Result<R, PolicyUnavailable> {
        let called = facts.and_then(|facts| if self.is_native { Ok(native()) } else { self.ask(facts) });
        let sound =
            called.and_then(|verdict| if is_valid(&verdict) { Ok(verdict) } else { Err(FailureReason::Answer) });
        sound.or_else(|reason| {
            self.failed(reason);
            match self.on_failure {
                OnFailure::Fallback => Ok(native()),
                OnFailure::Skip => Ok(skip()),
                OnFailure::Refuse => Err(PolicyUnavailable { hook: self.hook }),
            }
        })
    }

    /// Has the guest decide about nobody's requests; one decision that is sound is enough.
    fn try_out(
        &self,
        facts: impl Fn(Request, Vec<WireMeasured>) -> P,
        is_valid: impl Fn(&R) -> bool,
    ) -> Result<(), (Hook, LoadError)> {
        let measured: Vec<_> = self.guest.measures.iter().map(WireMeasured::first).collect();
        let arrived_at_ms = now_ms().unsigned_abs();
        let mut failed = None;
        for entropy in 0..u64::from(TRIALS) {
            let request = Request { coupon_id: 0, policy_id: 0, user_id: 0, arrived_at_ms, entropy };
            match self.guest.call(facts(request, measured.clone())) {
                Ok(verdict) if is_valid(&verdict) => return Ok(()),
                Ok(_) => failed = Some(FailureReason::Answer),
                Err(reason) => failed = Some(reason),
            }
        }
        let reason = failed.map_or("", FailureReason::as_str);
        Err((self.hook, LoadError::Failed(format!("{reason} in each of {TRIALS} calls"))))
    }

    fn ask(&self, facts: P) -> Result<R, FailureReason> {
        if !self.breaker.is_closed() {
            return Err(FailureReason::CircuitOpen);
        }
        let begun = Instant::now();
        let verdict = self.guest.call(facts);
        self.meter.called(begun.elapsed());
        match &verdict {
            Err(reason) if reason.is_costly() => self.breaker.record_failure(),
            _ => self.breaker.record_success(),
        }
        verdict
    }

    /// Counts a failure; the first of its kind is logged, the rest is in the metrics.
    fn failed(&self, reason: FailureReason) {
        self.meter.failed(reason);
        let kind = 1 << reason as u32;
        if self.failures_seen.fetch_or(kind, Ordering::Relaxed) & kind == 0 {
            tracing::warn!(
                hook = self.hook.as_str(),
                version = self.version,
                reason = reason.as_str(),
                "a policy gave no decision; more of the kind are counted in sluice_policy_failures_total"
            );
        }
    }
}

fn wire(measured: Result<&[Measured], &Unavailable>) -> Result<Vec<WireMeasured>, FailureReason> {
    measured.map(|measured| measured.iter().map(WireMeasured::from).collect()).map_err(|_| FailureReason::Counters)
}

impl Generation {
    /// Loads the three components of a pipeline.
    pub(super) fn load(
        number: GenerationNo,
        pipeline: Pipeline,
        bytes: [&[u8]; 3],
        telemetry: &Telemetry,
    ) -> Result<Self, (Hook, LoadError)> {
        let [shaper, limiter, picker] = bytes;
        let of = |hook| move |error| (hook, error);
        Ok(Self {
            number,
            shaper: Decider::load(Hook::RateShaper, &pipeline.rate_shaper, shaper, telemetry)
                .map_err(of(Hook::RateShaper))?,
            limiter: Decider::load(Hook::UserLimit, &pipeline.user_limit, limiter, telemetry)
                .map_err(of(Hook::UserLimit))?,
            picker: Decider::load(Hook::ShardPicker, &pipeline.shard_picker, picker, telemetry)
                .map_err(of(Hook::ShardPicker))?,
            pipeline,
        })
    }

    /// Tries each policy before it decides for anybody.
    pub(super) fn try_out(&self) -> Result<(), (Hook, LoadError)> {
        let shards: Vec<Shard> = (0..TRIAL_SHARDS)
            .map(|shard_no| Shard { shard_no, remaining: TRIAL_STOCK, unsettled: 0, lag_records: 0 })
            .collect();
        let total = u64::from(TRIAL_SHARDS) * TRIAL_STOCK;
        let usage = Usage { per_user_limit: 1, total, remaining: total };
        self.shaper.try_out(|request, measured| (request, measured, Load::default()), Shaping::is_valid)?;
        self.limiter.try_out(|request, measured| (request, measured, usage), LimitVerdict::is_valid)?;
        self.picker.try_out(|request, measured| (request, measured, shards.clone()), |picked| exists(&shards, *picked))
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> GenerationNo {
        self.number
    }

    /// What it is made of.
    #[must_use]
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// What a hook's policy wants measured.
    #[must_use]
    pub fn measures(&self, hook: Hook) -> &[Measure] {
        match hook {
            Hook::RateShaper => &self.shaper.guest.measures,
            Hook::UserLimit => &self.limiter.guest.measures,
            Hook::ShardPicker => &self.picker.guest.measures,
        }
    }

    /// The rate that a hook keeps: a full bucket, and how long one takes to fill.
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

    /// The version of a hook's policy: the beginning of its component's digest.
    #[must_use]
    pub fn version(&self, hook: Hook) -> &str {
        match hook {
            Hook::RateShaper => &self.shaper.version,
            Hook::UserLimit => &self.limiter.version,
            Hook::ShardPicker => &self.picker.version,
        }
    }

    /// Whether a request goes on now, later or not at all.
    ///
    /// # Errors
    /// [`PolicyUnavailable`] when the policy gave no decision and its hook refuses then.
    pub fn shape(
        &self,
        request: &Request,
        measured: Result<&[Measured], &Unavailable>,
        load: &Load,
    ) -> Result<Shaping, PolicyUnavailable> {
        let facts = wire(measured).map(|wire| (*request, wire, *load));
        self.shaper.decide(facts, Shaping::is_valid, || native::shape(measured.unwrap_or_default()), || Shaping::Pass)
    }

    /// Whether this user may have another.
    ///
    /// # Errors
    /// [`PolicyUnavailable`] when the policy gave no decision and its hook refuses then.
    pub fn admit(
        &self,
        request: &Request,
        measured: Result<&[Measured], &Unavailable>,
        usage: &Usage,
    ) -> Result<LimitVerdict, PolicyUnavailable> {
        let facts = wire(measured).map(|wire| (*request, wire, *usage));
        let native = || native::admit(self.measures(Hook::UserLimit), measured.unwrap_or_default(), usage);
        self.limiter.decide(facts, LimitVerdict::is_valid, native, || LimitVerdict::Admit)
    }

    /// From which shard the stock is to be taken.
    ///
    /// # Errors
    /// [`PolicyUnavailable`] when the policy gave no decision and its hook refuses then.
    pub fn pick(
        &self,
        request: &Request,
        measured: Result<&[Measured], &Unavailable>,
        shards: &[Shard],
    ) -> Result<ShardNo, PolicyUnavailable> {
        let facts = wire(measured).map(|wire| (*request, wire, shards.to_vec()));
        let native = || native::pick(request, shards).0;
        self.picker.decide(facts, |picked| exists(shards, *picked), native, native).map(ShardNo)
    }
}

fn exists(shards: &[Shard], picked: u32) -> bool {
    shards.iter().any(|shard| shard.shard_no == picked)
}
