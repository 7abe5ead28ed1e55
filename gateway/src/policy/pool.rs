//! The warm instances of one policy with one configuration. A lost instance is renewed off the request's path, and a
//! renewal that fails is tried again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::compile::Compiled;
use super::error::LoadError;
use super::failure::Failure;
use super::instance::{Context, Instance, Verdict};
use super::slots::{Slots, Taken};
use super::wire::Facts;
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

pub(super) struct InstancePool<C: ?Sized + 'static, V: Verdict> {
    compiled: Compiled,
    hook: Hook,
    config: String,
    /// Of a call, from when it has an instance.
    deadline: Duration,
    is_fresh: bool,
    measures: Vec<Measure>,
    meter: Arc<PolicyMeter>,
    instances: Slots<Counted<C, V>>,
    losses: Mutex<Losses<C, V>>,
}

/// What is to be renewed.
struct Losses<C: ?Sized + 'static, V: Verdict> {
    /// Used up, and not unmapped yet.
    lost: Vec<Counted<C, V>>,
    /// The slots without an instance.
    empty: VecDeque<usize>,
    /// One renewal runs at a time: a policy that configures slowly uses one processor at most, however often it fails.
    is_renewing: bool,
}

/// An instance, and its share of the metric.
struct Counted<C: ?Sized + 'static, V: Verdict> {
    instance: Instance<C, V>,
    _live: LiveInstance,
}

impl<C: Context + ?Sized, V: Verdict> InstancePool<C, V> {
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
        let mut instances = vec![Counted { instance: first, _live: meter.live_instance() }];
        for _ in 1..workers.min(WARM_INSTANCES_MAX) + SPARE_INSTANCES {
            let instance = Instance::start(&compiled, hook, &config)?.0;
            instances.push(Counted { instance, _live: meter.live_instance() });
        }
        let losses = Losses { lost: Vec::new(), empty: VecDeque::new(), is_renewing: false };
        Ok(Arc::new(Self {
            compiled,
            hook,
            config,
            deadline: Duration::from_millis(deadline_ms.into()),
            is_fresh,
            measures,
            meter,
            instances: Slots::new(instances),
            losses: Mutex::new(losses),
        }))
    }

    /// What the policy declared when it was configured.
    pub(super) fn measures(&self) -> &[Measure] {
        &self.measures
    }

    pub(super) fn call(self: &Arc<Self>, now: Instant, facts: Facts<'_, C>) -> Result<V, Failure> {
        let (mut used, now) = match self.instances.take() {
            Some(instance) => (instance, now),
            None => (self.wait()?, Instant::now()),
        };
        let instance = &mut used.item.instance;
        let verdict = instance.call(facts, now + self.deadline);
        // After a failed call, nothing is known about the instance's memory.
        if verdict.is_err() || self.is_fresh || instance.is_worn() {
            self.lose(used);
        } else {
            used.put_back();
        }
        verdict
    }

    fn wait(&self) -> Result<Taken<'_, Counted<C, V>>, FailureReason> {
        self.instances.wait(WAIT_MAX.min(self.deadline)).ok_or(FailureReason::Busy)
    }

    fn lose(self: &Arc<Self>, used: Taken<'_, Counted<C, V>>) {
        let (slot_no, used) = used.remove();
        let mut losses = self.losses();
        losses.lost.push(used);
        losses.empty.push_back(slot_no);
        if !losses.is_renewing {
            losses.is_renewing = true;
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
        let mut losses = self.losses();
        let lost = std::mem::take(&mut losses.lost);
        let Some(&slot_no) = losses.empty.front() else {
            losses.is_renewing = false;
            return Ok(Renewal::Complete);
        };
        drop(losses);
        // Their memory is freed before more is allocated.
        drop(lost);
        let instance = Instance::start(&self.compiled, self.hook, &self.config)?.0;
        self.losses().empty.pop_front();
        self.instances.fill(slot_no, Counted { instance, _live: self.meter.live_instance() });
        Ok(Renewal::Renewed)
    }

    fn losses(&self) -> MutexGuard<'_, Losses<C, V>> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Renewal {
    Renewed,
    /// No instance is missing.
    Complete,
}
