//! Counters in this process: exact for one gateway, gone when it stops.
//!
//! A counter is found by a 64-bit fingerprint of its name, keyed anew in every process so that
//! nobody can aim for a collision. With as many counters as the tables hold, the odds that any two
//! of them are reserved for one are below one in ten million.

mod bucket;
mod count;
mod sequence;
mod table;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;

use self::bucket::{Bucket, Rate};
use self::count::{Count, Window};
use self::sequence::Sequence;
use self::table::{Key, Table};
use super::{Counters, Hook, Measure, Measured, Reserved, Scope, Subject, Unavailable};
use crate::coupon::now_ms;

/// The counters of one process. Never [`Unavailable`].
#[derive(Default)]
pub struct Local {
    fingerprint: RandomState,
    counts: Table<Count>,
    buckets: Table<Bucket>,
    sequences: Table<Sequence>,
    /// Where whole campaigns were ever counted, so that forgetting looks nowhere else.
    campaigns: [[AtomicBool; Scope::ALL.len()]; Hook::ALL.len()],
}

impl Counters for Local {
    fn reserve<'a>(
        &'a self,
        hook: Hook,
        measures: &'a [Measure],
        subject: &'a Subject,
    ) -> BoxFuture<'a, Result<Reserved, Unavailable>> {
        Box::pin(async move {
            let mut reserved = Reserved { measured: Vec::with_capacity(measures.len()), added: 0 };
            for (index, measure) in measures.iter().enumerate() {
                let (measured, added) = self.reserve_one(hook, measure, subject);
                reserved.measured.push(measured);
                reserved.added |= u32::from(added) << index;
            }
            Ok(reserved)
        })
    }

    fn release<'a>(
        &'a self,
        hook: Hook,
        measures: &'a [Measure],
        subject: &'a Subject,
        added: u32,
    ) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(async move {
            for (index, measure) in measures.iter().enumerate() {
                if added & (1 << index) != 0 {
                    self.release_one(hook, measure, subject);
                }
            }
            Ok(())
        })
    }

    fn forget<'a>(&'a self, rejected: &'a [Subject]) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(async move {
            for subject in rejected {
                self.forget_one(subject);
            }
            Ok(())
        })
    }
}

impl Local {
    /// The answer, and whether something was added that can be given back.
    fn reserve_one(&self, hook: Hook, measure: &Measure, subject: &Subject) -> (Measured, bool) {
        let key = self.key(hook, measure, subject);
        match *measure {
            Measure::Count { window_ms, .. } => {
                if window_ms == 0 {
                    self.remember_campaigns(hook, measure.scope());
                }
                let window = Window { length_ms: window_ms, now_ms: subject.arrived_at_ms };
                let (place, is_new) = self.counts.update(key, |count| count.reserve(window, subject.request_id));
                (Measured::Count(place), is_new)
            }
            Measure::Bucket { requests, per_ms, burst, .. } => {
                let rate = Rate { requests, per_ms, burst };
                let measured = self.buckets.update(key, |bucket| bucket.reserve(rate, subject.arrived_at_ms, now_ms()));
                (measured, measured == Measured::Conforming)
            }
            Measure::Sequence { .. } => (Measured::Sequence(self.sequences.update(key, Sequence::reserve)), false),
        }
    }

    fn release_one(&self, hook: Hook, measure: &Measure, subject: &Subject) {
        let key = self.key(hook, measure, subject);
        match *measure {
            Measure::Count { .. } => self.counts.reduce(key, |count| count.take_out(subject.request_id)),
            Measure::Bucket { per_ms, .. } => self.buckets.reduce(key, |bucket| bucket.put_back(per_ms)),
            Measure::Sequence { .. } => {}
        }
    }

    fn forget_one(&self, subject: &Subject) {
        for hook in Hook::ALL {
            for scope in Scope::ALL {
                if self.campaigns(hook, scope).load(Ordering::Relaxed) {
                    self.release_one(hook, &Measure::Count { scope, window_ms: 0 }, subject);
                }
            }
        }
    }

    /// Written once, because every thread reads it.
    fn remember_campaigns(&self, hook: Hook, scope: Scope) {
        let campaigns = self.campaigns(hook, scope);
        if !campaigns.load(Ordering::Relaxed) {
            campaigns.store(true, Ordering::Relaxed);
        }
    }

    /// Relaxed is enough: a request reaches settlement through the log, which orders the two.
    const fn campaigns(&self, hook: Hook, scope: Scope) -> &AtomicBool {
        &self.campaigns[hook as usize][scope as usize]
    }

    fn key(&self, hook: Hook, measure: &Measure, subject: &Subject) -> Key {
        self.fingerprint.hash_one((hook, measure, measure.scope().of(subject)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::contract::contract_tests;

    contract_tests!(local => Local::default());
}
