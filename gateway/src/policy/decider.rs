//! One hook of a generation: calls the policy, checks its verdict, and decides without it if it fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::breaker::Breaker;
use super::compile::Compiled;
use super::error::LoadError;
use super::instance::{Facts, Verdict};
use super::pool::InstancePool;
use super::spec::{HookSpec, Isolation, OnFailure};
use super::wire::{Request, WireMeasured};
use crate::counters::{Hook, Measure};
use crate::coupon::now_ms;
use crate::telemetry::{FailureReason, PolicyMeter, Telemetry};

/// A policy that gives no valid verdict in this many calls is broken, not unlucky.
const TRIAL_CALLS: u32 = 3;

/// A policy gave no decision, and its hook is configured to refuse the request in that case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyUnavailable {
    pub hook: Hook,
}

pub(super) struct Decider<F: 'static, V: 'static> {
    hook: Hook,
    pool: Arc<InstancePool<F, V>>,
    is_native: bool,
    on_failure: OnFailure,
    version: String,
    meter: Arc<PolicyMeter>,
    breaker: Breaker,
    /// A bit for each reason that was logged.
    logged_reasons: AtomicU32,
}

impl<F: Facts, V: Verdict> Decider<F, V> {
    /// With `is_native`, the native default decides on what the policy has measured.
    pub(super) fn load(
        hook: Hook,
        spec: &HookSpec,
        compiled: &Compiled,
        is_native: bool,
        telemetry: &Telemetry,
    ) -> Result<Self, LoadError> {
        let config = serde_json::to_string(&spec.config).expect("a map is JSON");
        let is_fresh = spec.isolation == Isolation::Fresh;
        let version = compiled.digest.version();
        let meter = telemetry.policy_meter(hook.as_str(), &spec.policy, &version);
        let workers = tokio::runtime::Handle::current().metrics().num_workers();
        let pool = InstancePool::start(
            compiled.clone(),
            hook,
            config,
            spec.deadline_ms,
            is_fresh,
            workers,
            Arc::clone(&meter),
        )?;
        Ok(Self {
            hook,
            pool,
            is_native,
            on_failure: spec.on_failure,
            version,
            meter,
            breaker: Breaker::new(workers),
            logged_reasons: AtomicU32::new(0),
        })
    }

    pub(super) fn measures(&self) -> &[Measure] {
        self.pool.measures()
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// The policy's verdict if it is valid. Otherwise `native` decides if the hook falls back, and `skip` if it goes
    /// on without a decision.
    pub(super) fn decide(
        &self,
        facts: Result<F, FailureReason>,
        is_valid: impl Fn(&V) -> bool,
        native: impl Fn() -> V,
        skip: impl Fn() -> V,
    ) -> Result<V, PolicyUnavailable> {
        let called = facts.and_then(|facts| if self.is_native { Ok(native()) } else { self.call(facts) });
        let valid =
            called.and_then(|verdict| if is_valid(&verdict) { Ok(verdict) } else { Err(FailureReason::Answer) });
        valid.or_else(|reason| {
            self.record_failure(reason);
            match self.on_failure {
                OnFailure::Fallback => Ok(native()),
                OnFailure::Skip => Ok(skip()),
                OnFailure::Refuse => Err(PolicyUnavailable { hook: self.hook }),
            }
        })
    }

    /// Gives the policy trial requests. One valid verdict is enough: a policy may fail now and then.
    pub(super) fn run_trial(
        &self,
        facts: impl Fn(Request, Vec<WireMeasured>) -> F,
        is_valid: impl Fn(&V) -> bool,
    ) -> Result<(), LoadError> {
        let measured: Vec<_> = self.measures().iter().map(WireMeasured::first).collect();
        let arrived_at_ms = now_ms().unsigned_abs();
        let mut reason = FailureReason::Answer;
        for entropy in 0..u64::from(TRIAL_CALLS) {
            let request = Request { coupon_id: 0, policy_id: 0, user_id: 0, arrived_at_ms, entropy };
            match self.pool.call(facts(request, measured.clone())) {
                Ok(verdict) if is_valid(&verdict) => return Ok(()),
                Ok(_) => reason = FailureReason::Answer,
                Err(failure) => reason = failure,
            }
        }
        Err(LoadError::Trial(format!("{} in each of {TRIAL_CALLS} calls", reason.as_str())))
    }

    fn call(&self, facts: F) -> Result<V, FailureReason> {
        self.breaker.check()?;
        let started = Instant::now();
        let verdict = self.pool.call(facts);
        let took = started.elapsed();
        self.meter.called(took);
        self.breaker.record(took, verdict.as_ref().err().copied());
        verdict
    }

    /// Logs only the first failure of each kind: a broken policy fails at the rate of the requests.
    fn record_failure(&self, reason: FailureReason) {
        self.meter.failed(reason);
        let kind = 1 << reason as u32;
        if self.logged_reasons.fetch_or(kind, Ordering::Relaxed) & kind == 0 {
            tracing::warn!(
                hook = self.hook.as_str(),
                version = self.version,
                reason = reason.as_str(),
                "policy gave no decision; repeats are only counted in sluice_policy_failures_total"
            );
        }
    }
}
