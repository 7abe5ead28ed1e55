//! One hook of a generation: calls the policy, checks its verdict, and decides without it if it fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::breaker::Breaker;
use super::compile::Compiled;
use super::configured::ConfiguredPolicy;
use super::error::LoadError;
use super::failure::Failure;
use super::failure_report::{FailureReport, FailureReports, print};
use super::instance::{Context, Verdict};
use super::policy_ref::PolicyRef;
use super::pool::InstancePool;
use super::spec::{HookSpec, Isolation, OnFailure};
use super::wire::Facts;
use crate::counters::{Hook, Measure};
use crate::processor_time;
use crate::telemetry::{FailureReason, PolicyMeter, Telemetry};

/// With a longer deadline, a call leaves its worker thread to the tasks of other requests. That costs a switch of
/// threads, so a short call does not.
const WORKER_HELD_MS_MAX: u32 = 10;

/// A policy gave no decision, and its hook is configured to refuse the request in that case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyUnavailable {
    pub hook: Hook,
}

/// What a hook decided, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided<V> {
    pub verdict: Result<V, PolicyUnavailable>,
    /// Why the policy gave no decision, if `on_failure` of its hook decided.
    pub failure: Option<FailureReason>,
    /// Of the policy's call, with the wait for an instance; 0 if it was not called.
    pub took: Duration,
    /// Of the call; measured only if a rollout compares it.
    pub processor_time: Option<Duration>,
}

impl<V> Decided<V> {
    /// With the processor time of a call on this thread.
    #[must_use]
    pub fn timed(call: impl FnOnce() -> Self) -> Self {
        let begun = processor_time::of_this_thread();
        let decided = call();
        Self { processor_time: Some(processor_time::of_this_thread() - begun), ..decided }
    }
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

pub(super) struct Decider<C: ?Sized + 'static, V: Verdict> {
    hook: Hook,
    spec: HookSpec,
    pool: Arc<InstancePool<C, V>>,
    is_native: bool,
    /// Whether a call may take longer than others on its worker can wait.
    is_long: bool,
    policy: Arc<ConfiguredPolicy>,
    version: String,
    meter: Arc<PolicyMeter>,
    breaker: Breaker,
    failures: FailureReports,
}

impl<C: Context + ?Sized, V: Verdict> Decider<C, V> {
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
        let meter = telemetry.policy_meter(hook.as_str(), PolicyRef::of(&spec.policy).name, &version);
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
        let (policy, measures) = (PolicyRef::of(&spec.policy).name.to_owned(), pool.measures().to_vec());
        let policy = Arc::new(ConfiguredPolicy { policy, digest: compiled.digest, measures });
        Ok(Self {
            hook,
            spec: spec.clone(),
            pool,
            is_native,
            is_long: spec.deadline_ms > WORKER_HELD_MS_MAX,
            policy,
            version,
            meter,
            breaker: Breaker::new(workers),
            failures: FailureReports::default(),
        })
    }

    pub(super) fn spec(&self) -> &HookSpec {
        &self.spec
    }

    pub(super) fn measures(&self) -> &[Measure] {
        &self.policy.measures
    }

    pub(super) fn policy(&self) -> &Arc<ConfiguredPolicy> {
        &self.policy
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
    ) -> Decided<V> {
        let (called, took) = match facts {
            Ok(_) if self.is_native => (Ok(native()), Duration::ZERO),
            Ok(facts) => self.call(facts),
            Err(reason) => (Err(Failure::from(reason)), Duration::ZERO),
        };
        let valid = called
            .and_then(|verdict| if is_valid(&verdict) { Ok(verdict) } else { Err(Failure::of_verdict(&verdict)) });
        match valid {
            Ok(verdict) => Decided { verdict: Ok(verdict), failure: None, took, processor_time: None },
            Err(failure) => {
                let reason = failure.reason;
                self.record_failure(failure, || facts.ok().as_ref().map(print));
                let verdict = self.spec.on_failure.decide(self.hook, native, skip);
                Decided { verdict, failure: Some(reason), took, processor_time: None }
            }
        }
    }

    /// Without the breaker, for a trial.
    pub(super) fn call_once(&self, facts: Facts<'_, C>) -> Result<V, Failure> {
        self.pool.call(Instant::now(), facts)
    }

    fn call(&self, facts: Facts<'_, C>) -> (Result<V, Failure>, Duration) {
        let started = Instant::now();
        if let Err(reason) = self.breaker.check(started) {
            return (Err(reason.into()), Duration::ZERO);
        }
        let call = || self.pool.call(started, facts);
        let verdict = if self.is_long { tokio::task::block_in_place(call) } else { call() };
        let ended = Instant::now();
        let took = ended - started;
        self.meter.called(took);
        self.breaker.record(ended, took, verdict.as_ref().err().map(|failure| failure.reason));
        (verdict, took)
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
