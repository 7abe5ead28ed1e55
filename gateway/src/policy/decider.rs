//! One hook of a generation: calls the policy, checks its verdict, and decides without it if it fails.

use std::sync::Arc;
use std::time::Instant;

use super::breaker::Breaker;
use super::compile::Compiled;
use super::digest::Digest;
use super::error::LoadError;
use super::failure::Failure;
use super::failure_report::{FailureReport, FailureReports, print};
use super::instance::{Context, Verdict};
use super::pool::InstancePool;
use super::spec::{HookSpec, Isolation, OnFailure};
use super::wire::Facts;
use crate::counters::{Hook, Measure};
use crate::telemetry::{FailureReason, PolicyMeter, Telemetry};

/// With a longer deadline, a call leaves its worker thread to the tasks of other requests. That costs a switch of
/// threads, so a short call does not.
const WORKER_HELD_MS_MAX: u32 = 10;

/// A policy gave no decision, and its hook is configured to refuse the request in that case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyUnavailable {
    pub hook: Hook,
}

impl OnFailure {
    /// Decides in place of a policy that gave no decision.
    pub(super) fn decide<V>(
        self,
        hook: Hook,
        native: impl FnOnce() -> V,
        skip: impl FnOnce() -> V,
    ) -> Result<V, PolicyUnavailable> {
        match self {
            Self::Fallback => Ok(native()),
            Self::Skip => Ok(skip()),
            Self::Refuse => Err(PolicyUnavailable { hook }),
        }
    }
}

pub(super) struct Decider<C: ?Sized + 'static, V: 'static> {
    hook: Hook,
    spec: HookSpec,
    digest: Digest,
    pool: Arc<InstancePool<C, V>>,
    is_native: bool,
    /// Whether a call may take longer than others on its worker can wait.
    is_long: bool,
    version: String,
    meter: Arc<PolicyMeter>,
    breaker: Breaker,
    failures: FailureReports,
}

impl<C: Context + ?Sized, V: Verdict> Decider<C, V> {
    /// The active decider if nothing of it changes: it keeps its instances, its breaker and its account of time.
    pub(super) fn share_or_load(
        active: Option<&Arc<Self>>,
        hook: Hook,
        spec: &HookSpec,
        compiled: &Compiled,
        is_native: bool,
        telemetry: &Telemetry,
    ) -> Result<Arc<Self>, LoadError> {
        match active.filter(|active| active.digest == compiled.digest && active.spec == *spec) {
            Some(active) => Ok(Arc::clone(active)),
            None => Self::load(hook, spec, compiled, is_native, telemetry).map(Arc::new),
        }
    }

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
            spec: spec.clone(),
            digest: compiled.digest,
            pool,
            is_native,
            is_long: spec.deadline_ms > WORKER_HELD_MS_MAX,
            version,
            meter,
            breaker: Breaker::new(workers),
            failures: FailureReports::default(),
        })
    }

    pub(super) fn measures(&self) -> &[Measure] {
        self.pool.measures()
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// The first failure of each kind.
    pub(super) fn failures(&self) -> impl Iterator<Item = &FailureReport> {
        self.failures.iter()
    }

    /// The policy's verdict if it is valid. Otherwise `native` decides if the hook falls back, and `skip` if it goes
    /// on without a decision.
    pub(super) fn decide(
        &self,
        facts: Result<Facts<'_, C>, FailureReason>,
        is_valid: impl Fn(&V) -> bool,
        native: impl Fn() -> V,
        skip: impl Fn() -> V,
    ) -> Result<V, PolicyUnavailable> {
        let called = facts.map_err(Failure::from);
        let called = called.and_then(|facts| if self.is_native { Ok(native()) } else { self.call(facts) });
        let valid = called
            .and_then(|verdict| if is_valid(&verdict) { Ok(verdict) } else { Err(Failure::of_verdict(&verdict)) });
        valid.or_else(|failure| {
            self.record_failure(failure, || facts.ok().as_ref().map(print));
            self.spec.on_failure.decide(self.hook, native, skip)
        })
    }

    /// Without the breaker, for a trial.
    pub(super) fn call_once(&self, facts: Facts<'_, C>) -> Result<V, Failure> {
        self.pool.call(Instant::now(), facts)
    }

    fn call(&self, facts: Facts<'_, C>) -> Result<V, Failure> {
        let started = Instant::now();
        self.breaker.check(started)?;
        let call = || self.pool.call(started, facts);
        let verdict = if self.is_long { tokio::task::block_in_place(call) } else { call() };
        let ended = Instant::now();
        let took = ended - started;
        self.meter.called(took);
        self.breaker.record(ended, took, verdict.as_ref().err().map(|failure| failure.reason));
        verdict
    }

    fn record_failure(&self, failure: Failure, facts: impl FnOnce() -> Option<String>) {
        self.meter.failed(failure.reason);
        if let Some(FailureReport { reason, detail, facts, .. }) = self.failures.add(failure, facts) {
            tracing::warn!(
                hook = self.hook.as_str(),
                version = self.version,
                reason,
                detail,
                facts,
                "policy gave no decision; repeats are only counted in sluice_policy_failures_total"
            );
        }
    }
}
