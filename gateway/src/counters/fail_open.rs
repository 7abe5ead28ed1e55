//! Counters that the gateway can do without: while they are out of reach, every request is measured
//! as if it were the first. The policies go on deciding, and the ledger holds what they let through.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;

use super::{Counters, Hook, Measure, Measured, Reserved, Subject, Unavailable};

/// Goes on without `counters` when it must.
pub(super) struct FailOpen<C> {
    counters: C,
    /// Numbers for sequences meanwhile, so that a policy that deals shards out in turn goes on doing so.
    numbers: AtomicU64,
}

impl<C> FailOpen<C> {
    pub(super) fn new(counters: C) -> Self {
        Self { counters, numbers: AtomicU64::new(0) }
    }

    fn first(&self, measure: &Measure) -> Measured {
        match measure {
            Measure::Count { .. } => Measured::Count(1),
            Measure::Bucket { .. } => Measured::Conforming,
            Measure::Sequence { .. } => Measured::Sequence(self.numbers.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

impl<C: Counters> Counters for FailOpen<C> {
    fn reserve<'a>(
        &'a self,
        hook: Hook,
        measures: &'a [Measure],
        subject: &'a Subject,
    ) -> BoxFuture<'a, Result<Reserved, Unavailable>> {
        Box::pin(async move {
            let reserved = self.counters.reserve(hook, measures, subject).await;
            let firsts = || measures.iter().map(|measure| self.first(measure)).collect();
            Ok(reserved.unwrap_or_else(|_| Reserved { measured: firsts(), added: 0 }))
        })
    }

    fn release<'a>(
        &'a self,
        hook: Hook,
        measures: &'a [Measure],
        subject: &'a Subject,
        added: u32,
    ) -> BoxFuture<'a, Result<(), Unavailable>> {
        self.counters.release(hook, measures, subject, added)
    }

    fn forget<'a>(&'a self, rejected: &'a [Subject]) -> BoxFuture<'a, Result<(), Unavailable>> {
        self.counters.forget(rejected)
    }

    fn ready(&self) -> Result<(), String> {
        self.counters.ready()
    }

    fn is_optional(&self) -> bool {
        true
    }
}
