//! Counters that the gateway can do without: while they are out of reach, every request is measured
//! as if it were the first. The policies go on deciding, and the ledger holds what they let through.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;

use super::{Counters, Hook, Measure, Measured, Subject, Taken, Unavailable};

/// Goes on without `counters` when it must.
pub(super) struct Forgiving<C> {
    counters: C,
    /// Numbers for sequences meanwhile, so that a policy that deals shards out in turn goes on doing so.
    numbers: AtomicU64,
}

impl<C> Forgiving<C> {
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

impl<C: Counters> Counters for Forgiving<C> {
    fn take<'a>(
        &'a self,
        hook: Hook,
        measures: &'a [Measure],
        subject: &'a Subject,
    ) -> BoxFuture<'a, Result<Taken, Unavailable>> {
        Box::pin(async move {
            let taken = self.counters.take(hook, measures, subject).await;
            let firsts = || measures.iter().map(|measure| self.first(measure)).collect();
            Ok(taken.unwrap_or_else(|_| Taken { measured: firsts(), added: 0 }))
        })
    }

    fn give_back<'a>(
        &'a self,
        hook: Hook,
        measures: &'a [Measure],
        subject: &'a Subject,
        added: u32,
    ) -> BoxFuture<'a, Result<(), Unavailable>> {
        self.counters.give_back(hook, measures, subject, added)
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
