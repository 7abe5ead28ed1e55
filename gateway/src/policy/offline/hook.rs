//! One hook of an offline pipeline.

use std::time::{Duration, Instant};

use super::super::compile::Compiled;
use super::super::decider::PolicyUnavailable;
use super::super::error::ChangeError;
use super::super::instance::{Context, Instance, Verdict};
use super::super::spec::{HookSpec, Isolation, OnFailure};
use super::super::wire::Facts;
use crate::counters::{Hook, Measure};

/// Ends a loop. A call takes microseconds, so a busy machine does not reach it.
const CALL_MAX: Duration = Duration::from_secs(1);

/// The calls of one policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallCost {
    pub calls: u64,
    /// Calls without a valid decision.
    pub failures: u64,
    /// Of all calls together, in real time.
    pub took: Duration,
}

pub(super) struct OfflineHook<C: ?Sized + 'static, V: Verdict> {
    hook: Hook,
    on_failure: OnFailure,
    is_fresh: bool,
    compiled: Compiled,
    config: String,
    instance: Instance<C, V>,
    measures: Vec<Measure>,
    cost: CallCost,
}

impl<C: Context + ?Sized, V: Verdict> OfflineHook<C, V> {
    pub(super) fn start(hook: Hook, spec: &HookSpec, compiled: Compiled) -> Result<Self, ChangeError> {
        let config = serde_json::to_string(&spec.config).expect("a map is JSON");
        let (instance, measures) = Instance::start(&compiled, hook, &config).map_err(ChangeError::load(hook))?;
        let (on_failure, is_fresh) = (spec.on_failure, spec.isolation == Isolation::Fresh);
        Ok(Self { hook, on_failure, is_fresh, compiled, config, instance, measures, cost: CallCost::default() })
    }

    pub(super) fn measures(&self) -> &[Measure] {
        &self.measures
    }

    pub(super) fn cost(&self) -> CallCost {
        self.cost
    }

    /// The policy's verdict if it is valid; otherwise what `on_failure` of the hook says. `native` gets the measures that
    /// the policy declared.
    pub(super) fn decide(
        &mut self,
        facts: Facts<'_, C>,
        is_valid: impl Fn(&V) -> bool,
        native: impl Fn(&[Measure]) -> V,
        skip: impl Fn() -> V,
    ) -> Result<V, PolicyUnavailable> {
        match self.call(facts).filter(is_valid) {
            Some(verdict) => Ok(verdict),
            None => {
                self.cost.failures += 1;
                self.on_failure.decide(self.hook, || native(&self.measures), skip)
            }
        }
    }

    fn call(&mut self, facts: Facts<'_, C>) -> Option<V> {
        let started = Instant::now();
        let verdict = self.instance.call(facts, started + CALL_MAX).ok();
        self.cost.took += started.elapsed();
        self.cost.calls += 1;
        if verdict.is_none() || self.is_fresh || self.instance.is_worn() {
            self.renew();
        }
        verdict
    }

    /// An instance that cannot be replaced fails its next call, which tries again.
    fn renew(&mut self) {
        if let Ok((instance, _)) = Instance::start(&self.compiled, self.hook, &self.config) {
            self.instance = instance;
        }
    }
}
