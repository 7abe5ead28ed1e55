//! Counters that outlive a system, as Redis does, and fail when a test tells them to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use futures_util::future::{FutureExt, pending, ready};
use sluice::app::Ports;
use sluice::counters::local::Local;
use sluice::counters::{Added, Answer, Counters, Hook, Measure, Measured, Reserved, Subject, Unavailable};
use sluice::coupon::{Fingerprint, RequestId};

#[derive(Default)]
pub(crate) struct FaultyCounters {
    inner: Local,
    /// This many reservations time out, and are answered as the first of their kind: as with
    /// `on_unavailable = "pass"`.
    pub(crate) reservations_missed: AtomicU32,
    /// Forgetting fails, as in an outage.
    pub(crate) forget_fails: AtomicBool,
    /// Asking for the holder of a key fails, as if the answer came too late.
    pub(crate) key_holder_fails: AtomicBool,
    /// Forgetting never ends, as if the process crashed before it.
    pub(crate) forget_hangs: AtomicBool,
}

impl FaultyCounters {
    pub(crate) fn replace(self: &Arc<Self>, ports: Ports) -> Ports {
        Ports { counters: Arc::clone(self) as Arc<dyn Counters>, ..ports }
    }
}

fn as_first(measure: &Measure) -> Measured {
    match measure {
        Measure::Count { .. } => Measured::Count(1),
        Measure::Bucket { .. } => Measured::Conforming,
        Measure::Sequence { .. } => Measured::Sequence(0),
    }
}

impl Counters for FaultyCounters {
    fn reserve<'a>(&'a self, hook: Hook, measures: &'a [Measure], subject: &'a Subject) -> Answer<'a, Reserved> {
        let missed =
            self.reservations_missed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if missed.is_ok() {
            let measured = measures.iter().map(as_first).collect();
            return Answer::Left(ready(Ok(Reserved { measured, ..Reserved::default() })));
        }
        self.inner.reserve(hook, measures, subject)
    }

    fn release<'a>(&'a self, subject: &'a Subject, added: &'a [Added<'a>]) -> Answer<'a, ()> {
        self.inner.release(subject, added)
    }

    fn key_holder(&self, fingerprint: Fingerprint) -> Answer<'_, Option<RequestId>> {
        if self.key_holder_fails.load(Ordering::Relaxed) {
            return Answer::Left(ready(Err(Unavailable("the answer came too late".to_owned()))));
        }
        self.inner.key_holder(fingerprint)
    }

    fn forget<'a>(&'a self, rejected: &'a [Subject]) -> Answer<'a, ()> {
        if self.forget_hangs.load(Ordering::Relaxed) {
            return Answer::Right(pending().boxed());
        }
        if self.forget_fails.load(Ordering::Relaxed) {
            return Answer::Left(ready(Err(Unavailable("the counters are gone".to_owned()))));
        }
        self.inner.forget(rejected)
    }
}
