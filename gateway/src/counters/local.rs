//! Counters in this process: exact for one gateway, lost when it stops.
//!
//! A counter is keyed by a 64-bit hash of its identity. The hash of a gateway has a random key, so that clients cannot
//! construct collisions. In a full table, the probability that any two counters collide is below one in ten million.

mod bucket;
mod count;
mod key_claim;
mod sequence;
mod table;

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, RandomState};

use futures_util::future::ready;

use self::bucket::{Bucket, Rate};
use self::count::{Count, Window};
use self::key_claim::KeyClaim;
use self::sequence::Sequence;
use self::table::{Key, Table};
use super::{Added, Answer, Counters, Hook, KEY_ADDED, Measure, Measured, PerMeasure, Reserved, Subject};
use crate::coupon::{Fingerprint, RequestId, now_ms};

/// Never [`Unavailable`](super::Unavailable).
#[derive(Default)]
pub struct Local<S = RandomState> {
    hasher: S,
    counts: Table<Count>,
    buckets: Table<Bucket>,
    sequences: Table<Sequence>,
    keys: Table<KeyClaim>,
}

/// Counters that forget the same requests in every run, for simulations.
pub type Repeatable = Local<BuildHasherDefault<DefaultHasher>>;

impl<S: BuildHasher + Send + Sync + 'static> Counters for Local<S> {
    fn reserve<'a>(&'a self, hook: Hook, measures: &'a [Measure], subject: &'a Subject) -> Answer<'a, Reserved> {
        Answer::Left(ready(Ok(self.reserve_all(hook, measures, subject))))
    }

    fn release<'a>(&'a self, subject: &'a Subject, added: &'a [Added<'a>]) -> Answer<'a, ()> {
        let mut counts = PerMeasure::new();
        for (hook, measure) in added.iter().flat_map(Added::measures) {
            let key = self.key(hook, measure, subject);
            match *measure {
                Measure::Count { .. } => counts.push(key),
                Measure::Bucket { per_ms, .. } => self.buckets.reduce(key, |bucket| bucket.release(per_ms)),
                Measure::Sequence { .. } => {}
            }
        }
        if let Some(fingerprint) = subject.fingerprint.filter(|_| added.iter().any(Added::has_key)) {
            self.keys.reduce(self.idempotency_key(fingerprint), |claim| {
                claim.release(subject.request_id, &mut counts);
                // Under the lock of the key: a new attempt must not find the request counted, and then lose the count.
                self.release_counts(subject, &mut counts);
            });
        }
        self.release_counts(subject, &mut counts);
        Answer::Left(ready(Ok(())))
    }

    fn key_holder(&self, fingerprint: Fingerprint) -> Answer<'_, Option<RequestId>> {
        let holder = self.keys.read(self.idempotency_key(fingerprint), KeyClaim::holder);
        Answer::Left(ready(Ok(holder.flatten())))
    }

    fn forget<'a>(&'a self, rejected: &'a [Subject]) -> Answer<'a, ()> {
        for subject in rejected {
            for (hook, count) in subject.campaign_counts.measures() {
                self.release_counts(subject, &mut PerMeasure::from_iter([self.key(hook, &count, subject)]));
            }
        }
        Answer::Left(ready(Ok(())))
    }
}

impl Local {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S: BuildHasher> Local<S> {
    fn reserve_all(&self, hook: Hook, measures: &[Measure], subject: &Subject) -> Reserved {
        let mut reserved = Reserved::default();
        match self.claim_key(subject) {
            Some(true) => reserved.added |= KEY_ADDED,
            Some(false) => return Reserved { is_key_taken: true, ..reserved },
            None => {}
        }
        for (index, measure) in measures.iter().enumerate() {
            let (measured, added) = self.reserve_one(hook, measure, subject);
            reserved.measured.push(measured);
            reserved.added |= u32::from(added) << index;
        }
        reserved
    }

    /// The answer, and whether something was added that can be released.
    fn reserve_one(&self, hook: Hook, measure: &Measure, subject: &Subject) -> (Measured, bool) {
        let key = self.key(hook, measure, subject);
        match *measure {
            Measure::Count { window_ms, .. } => {
                let window = Window { length_ms: window_ms, now_ms: subject.arrived_at_ms };
                let (number, is_new) = self.counts.update(key, |count| count.reserve(window, subject.request_id));
                (Measured::Count(number), is_new)
            }
            Measure::Bucket { requests, per_ms, burst, .. } => {
                let rate = Rate { requests, per_ms, burst };
                let measured = self.buckets.update(key, |bucket| bucket.reserve(rate, subject.arrived_at_ms, now_ms));
                (measured, measured == Measured::Conforming)
            }
            Measure::Sequence { .. } => (Measured::Sequence(self.sequences.update(key, Sequence::next)), false),
        }
    }

    /// Whether the request holds its key now. `None` if it has no key.
    fn claim_key(&self, subject: &Subject) -> Option<bool> {
        let key = self.idempotency_key(subject.fingerprint?);
        Some(self.keys.update(key, |claim| claim.claim(subject.request_id)))
    }

    /// Removes the request from the counts, and them from the list.
    fn release_counts(&self, subject: &Subject, counts: &mut PerMeasure<Key>) {
        counts.drain(..).for_each(|key| self.counts.reduce(key, |count| count.release(subject.request_id)));
    }

    fn key(&self, hook: Hook, measure: &Measure, subject: &Subject) -> Key {
        self.hasher.hash_one((hook, measure, measure.scope().of(subject)))
    }

    fn idempotency_key(&self, fingerprint: Fingerprint) -> Key {
        self.hasher.hash_one(fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::contract::contract_tests;

    contract_tests!(local => Local::new());
}
