//! Counters that fail open: while they are unavailable, every request is measured as if it were the first. The
//! policies keep deciding, and the ledger still enforces the campaign's limit.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::FutureExt;

use super::{Added, Answer, Counters, Hook, Measure, Measured, Reserved, Subject};
use crate::coupon::{Fingerprint, RequestId};

pub(super) struct FailOpen<C> {
    counters: C,
    /// Sequences continue locally during an outage, so that a round-robin shard picker still spreads its requests.
    next_number: AtomicU64,
}

impl<C> FailOpen<C> {
    pub(super) fn new(counters: C) -> Self {
        Self { counters, next_number: AtomicU64::new(0) }
    }

    fn as_first(&self, measure: &Measure) -> Measured {
        match measure {
            Measure::Count { .. } => Measured::Count(1),
            Measure::Bucket { .. } => Measured::Conforming,
            Measure::Sequence { .. } => Measured::Sequence(self.next_number.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

impl<C: Counters> Counters for FailOpen<C> {
    /// During an outage nothing is added, so the key is not claimed.
    fn reserve<'a>(&'a self, hook: Hook, measures: &'a [Measure], subject: &'a Subject) -> Answer<'a, Reserved> {
        let reserve = async move {
            let reserved = self.counters.reserve(hook, measures, subject).await;
            let all_first = || measures.iter().map(|measure| self.as_first(measure)).collect();
            Ok(reserved.unwrap_or_else(|_| Reserved { measured: all_first(), ..Reserved::default() }))
        };
        Answer::Right(reserve.boxed())
    }

    fn release<'a>(&'a self, subject: &'a Subject, added: &'a [Added<'a>]) -> Answer<'a, ()> {
        self.counters.release(subject, added)
    }

    /// An error during an outage: then the holder is unknown.
    fn key_holder(&self, fingerprint: Fingerprint) -> Answer<'_, Option<RequestId>> {
        self.counters.key_holder(fingerprint)
    }

    fn forget<'a>(&'a self, rejected: &'a [Subject]) -> Answer<'a, ()> {
        self.counters.forget(rejected)
    }

    fn ready(&self) -> Result<(), String> {
        self.counters.ready()
    }

    fn is_optional(&self) -> bool {
        true
    }
}
