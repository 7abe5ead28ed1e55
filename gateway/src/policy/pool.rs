//! The warm instances of one policy with one configuration.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::compile::Compiled;
use super::engine::TICK;
use super::error::LoadError;
use super::instance::{Facts, Instance, Verdict};
use crate::counters::{Hook, Measure};
use crate::telemetry::FailureReason;

/// Decisions run on the worker threads, one instance each. Spare instances cover those that are being replaced.
const SPARE_INSTANCES: usize = 4;

pub(super) struct InstancePool<F: 'static, V: 'static> {
    compiled: Compiled,
    hook: Hook,
    config: String,
    deadline_ticks: u64,
    is_fresh: bool,
    measures: Vec<Measure>,
    idle: Mutex<Vec<Instance<F, V>>>,
}

impl<F: Facts, V: Verdict> InstancePool<F, V> {
    /// Fills the pool. With `is_fresh`, every call has an instance of its own.
    pub(super) fn start(
        compiled: Compiled,
        hook: Hook,
        config: String,
        deadline_ms: u32,
        is_fresh: bool,
    ) -> Result<Arc<Self>, LoadError> {
        let (first, measures) = Instance::start(&compiled, hook, &config)?;
        let mut idle = vec![first];
        let workers = tokio::runtime::Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
        for _ in 1..workers + SPARE_INSTANCES {
            idle.push(Instance::start(&compiled, hook, &config)?.0);
        }
        // A call begins somewhere within a tick, so one more is granted.
        let deadline_ticks = u64::from(deadline_ms) + 1;
        Ok(Arc::new(Self { compiled, hook, config, deadline_ticks, is_fresh, measures, idle: Mutex::new(idle) }))
    }

    /// What the policy declared when it was configured.
    pub(super) fn measures(&self) -> &[Measure] {
        &self.measures
    }

    pub(super) fn call(self: &Arc<Self>, facts: F) -> Result<V, FailureReason> {
        let mut instance = self.check_out()?;
        let verdict = instance.call(facts, self.deadline_ticks);
        // After a failed call, nothing is known about the instance's memory.
        if verdict.is_err() || self.is_fresh || instance.is_worn() {
            self.replace(instance);
        } else {
            self.check_in(instance);
        }
        verdict
    }

    /// An idle instance, after waiting for one no longer than a decision may take.
    fn check_out(&self) -> Result<Instance<F, V>, FailureReason> {
        let waiting_since = Instant::now();
        loop {
            if let Some(instance) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
                return Ok(instance);
            }
            if waiting_since.elapsed() >= TICK.saturating_mul(u32::try_from(self.deadline_ticks).unwrap_or(u32::MAX)) {
                return Err(FailureReason::Busy);
            }
            std::thread::yield_now();
        }
    }

    fn check_in(&self, instance: Instance<F, V>) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(instance);
    }

    /// Replaces a used instance by a new one, off the request's path.
    fn replace(self: &Arc<Self>, used: Instance<F, V>) {
        let pool = Arc::clone(self);
        let renew = move || {
            // Its memory is freed before more is allocated.
            drop(used);
            match Instance::start(&pool.compiled, pool.hook, &pool.config) {
                Ok((instance, _)) => pool.check_in(instance),
                Err(error) => tracing::error!(hook = pool.hook.as_str(), %error, "policy instance not replaced"),
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(renew)),
            Err(_) => renew(),
        }
    }
}
