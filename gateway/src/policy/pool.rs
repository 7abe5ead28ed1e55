//! The warm instances of one policy with one configuration. A lost instance is renewed off the request's path, and a
//! renewal that fails is tried again.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::compile::Compiled;
use super::engine::TICK;
use super::error::LoadError;
use super::failure::Failure;
use super::instance::{Facts, Instance, Verdict};
use crate::counters::{Hook, Measure};
use crate::telemetry::{FailureReason, LiveInstance, PolicyMeter};

/// Decisions run on the worker threads, one instance each. On a large machine they share: a decision takes a microsecond,
/// and a policy may use a fifth of the workers' time.
const WARM_INSTANCES_MAX: usize = 64;
/// They cover those that are being renewed.
const SPARE_INSTANCES: usize = 4;
/// A call that waits for an instance holds up its worker. Unless the policy loses its instances, it never waits.
const WAIT_MAX: Duration = Duration::from_millis(5);
/// Pause after a renewal that failed; it doubles with each further failure.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

pub(super) struct InstancePool<F: 'static, V: 'static> {
    compiled: Compiled,
    hook: Hook,
    config: String,
    deadline_ticks: u64,
    is_fresh: bool,
    measures: Vec<Measure>,
    meter: Arc<PolicyMeter>,
    stock: Mutex<Stock<F, V>>,
    returned: Condvar,
}

/// The instances that no call uses.
struct Stock<F: 'static, V: 'static> {
    idle: Vec<Counted<F, V>>,
    /// Used up, and not unmapped yet.
    lost: Vec<Counted<F, V>>,
    /// How many instances are to be renewed.
    missing: usize,
    /// One renewal runs at a time: a policy that configures slowly uses one processor at most, however often it fails.
    is_renewing: bool,
    waiting: usize,
}

/// An instance, and its share of the metric.
struct Counted<F: 'static, V: 'static> {
    instance: Instance<F, V>,
    _live: LiveInstance,
}

impl<F: Facts, V: Verdict> InstancePool<F, V> {
    /// Fills the pool, for decisions on this many workers. With `is_fresh`, every call has an instance of its own.
    pub(super) fn start(
        compiled: Compiled,
        hook: Hook,
        config: String,
        deadline_ms: u32,
        is_fresh: bool,
        workers: usize,
        meter: Arc<PolicyMeter>,
    ) -> Result<Arc<Self>, LoadError> {
        let (first, measures) = Instance::start(&compiled, hook, &config)?;
        let mut idle = vec![Counted { instance: first, _live: meter.live_instance() }];
        for _ in 1..workers.min(WARM_INSTANCES_MAX) + SPARE_INSTANCES {
            let instance = Instance::start(&compiled, hook, &config)?.0;
            idle.push(Counted { instance, _live: meter.live_instance() });
        }
        let stock = Stock { idle, lost: Vec::new(), missing: 0, is_renewing: false, waiting: 0 };
        Ok(Arc::new(Self {
            compiled,
            hook,
            config,
            // A call begins somewhere within a tick, so one more is granted.
            deadline_ticks: u64::from(deadline_ms) + 1,
            is_fresh,
            measures,
            meter,
            stock: Mutex::new(stock),
            returned: Condvar::new(),
        }))
    }

    /// What the policy declared when it was configured.
    pub(super) fn measures(&self) -> &[Measure] {
        &self.measures
    }

    pub(super) fn call(self: &Arc<Self>, facts: F) -> Result<V, Failure> {
        let mut used = self.check_out()?;
        let verdict = used.instance.call(facts, self.deadline_ticks);
        // After a failed call, nothing is known about the instance's memory.
        if verdict.is_err() || self.is_fresh || used.instance.is_worn() {
            self.lose(used);
        } else {
            self.check_in(used);
        }
        verdict
    }

    fn check_out(&self) -> Result<Counted<F, V>, FailureReason> {
        let mut stock = self.stock();
        if let Some(instance) = stock.idle.pop() {
            return Ok(instance);
        }
        let deadline = TICK.saturating_mul(u32::try_from(self.deadline_ticks).unwrap_or(u32::MAX));
        stock.waiting += 1;
        let waited = self.returned.wait_timeout_while(stock, WAIT_MAX.min(deadline), |stock| stock.idle.is_empty());
        let (mut stock, _) = waited.unwrap_or_else(PoisonError::into_inner);
        stock.waiting -= 1;
        stock.idle.pop().ok_or(FailureReason::Busy)
    }

    fn check_in(&self, instance: Counted<F, V>) {
        let mut stock = self.stock();
        stock.idle.push(instance);
        let is_awaited = stock.waiting > 0;
        drop(stock);
        // Waking is a system call, so it is made only for a thread that waits.
        if is_awaited {
            self.returned.notify_one();
        }
    }

    fn lose(self: &Arc<Self>, used: Counted<F, V>) {
        let mut stock = self.stock();
        stock.lost.push(used);
        stock.missing += 1;
        if !stock.is_renewing {
            stock.is_renewing = true;
            tokio::spawn(Self::renew_until_complete(Arc::downgrade(self)));
        }
    }

    /// Ends when nothing is missing or the generation was replaced.
    async fn renew_until_complete(pool: Weak<Self>) {
        let mut pause = RETRY_AFTER_MIN;
        while let Some(this) = pool.upgrade() {
            let hook = this.hook.as_str();
            let error = match tokio::task::spawn_blocking(move || this.renew_one()).await {
                Ok(Ok(Renewal::Complete)) => return,
                Ok(Ok(Renewal::Renewed)) => {
                    pause = RETRY_AFTER_MIN;
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            tracing::warn!(hook, error, retry_after = ?pause, "policy instance not renewed");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_AFTER_MAX);
        }
    }

    fn renew_one(&self) -> Result<Renewal, LoadError> {
        let mut stock = self.stock();
        let lost = std::mem::take(&mut stock.lost);
        if stock.missing == 0 {
            stock.is_renewing = false;
            return Ok(Renewal::Complete);
        }
        drop(stock);
        // Their memory is freed before more is allocated.
        drop(lost);
        let instance = Instance::start(&self.compiled, self.hook, &self.config)?.0;
        self.stock().missing -= 1;
        self.check_in(Counted { instance, _live: self.meter.live_instance() });
        Ok(Renewal::Renewed)
    }

    fn stock(&self) -> MutexGuard<'_, Stock<F, V>> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Renewal {
    Renewed,
    /// No instance is missing.
    Complete,
}
