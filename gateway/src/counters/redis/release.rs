//! What to undo for a request, and the calls that undo it for many.

use std::collections::HashMap;

use ::redis::Cmd;

use super::commands::{Call, RELEASE, add_time, token_parts};
use super::keys::{Claim, Counter, Home, Keys};
use super::left_counts;
use crate::counters::{Added, Measure, Subject};

/// Requests that one call undoes. Redis runs nothing else meanwhile, for about a millisecond.
pub(super) const REQUESTS_PER_CALL: usize = 256;

/// What to undo for a request at one home.
pub(super) struct Release {
    home: Home,
    subject: Subject,
    /// Its answer tells whether the counts are undone too.
    pub(super) claim: Option<Claim>,
    counters: Vec<Counter>,
    /// What the attempt added at other homes, in a cluster: undone once the key has answered.
    elsewhere: Vec<Counter>,
}

impl Release {
    /// All that was added for an attempt.
    pub(super) fn of_added(keys: &Keys, subject: &Subject, added: &[Added<'_>]) -> Vec<Self> {
        let counters = added.iter().flat_map(Added::measures);
        let counters = counters.map(|(hook, measure)| keys.counter(hook, *measure, subject));
        let key = subject.fingerprint.filter(|_| added.iter().any(Added::has_key));
        let claim = key.map(|key| Claim { key, hook: None });
        Self::of_attempt(keys, subject, claim, counters)
    }

    /// These counters, and the key of the request if it was claimed.
    pub(super) fn of_attempt(
        keys: &Keys,
        subject: &Subject,
        claim: Option<Claim>,
        counters: impl Iterator<Item = Counter>,
    ) -> Vec<Self> {
        let Some(claimed) = claim else { return Self::of_counters(subject, counters) };
        let home = keys.home_of_key(claimed.key);
        let (counters, elsewhere) = counters.partition(|counter| counter.home == home);
        vec![Self { home, subject: *subject, claim, counters, elsewhere }]
    }

    /// The whole-campaign counts of a rejected request.
    pub(super) fn of_rejected(keys: &Keys, subject: &Subject) -> Vec<Self> {
        let counts = subject.campaign_counts.measures();
        Self::of_counters(subject, counts.map(|(hook, measure)| keys.counter(hook, measure, subject)))
    }

    fn of_counters(subject: &Subject, counters: impl Iterator<Item = Counter>) -> Vec<Self> {
        let mut releases: Vec<Self> = Vec::new();
        for counter in counters {
            match releases.iter_mut().find(|release| release.home == counter.home) {
                Some(release) => release.counters.push(counter),
                None => releases.push(Self {
                    home: counter.home,
                    subject: *subject,
                    claim: None,
                    counters: vec![counter],
                    elsewhere: Vec::new(),
                }),
            }
        }
        releases
    }

    /// What to undo after the key has answered with the counts that earlier attempts left, or with `None` if other
    /// attempts still hold it.
    pub(super) fn after_key(&self, keys: &Keys, left: Option<&str>) -> Vec<Self> {
        let (subject, elsewhere) = (&self.subject, self.elsewhere.iter().copied());
        match left {
            Some(left) => {
                let left = left_counts::parse(left).map(|(hook, measure)| keys.counter(hook, measure, subject));
                // What this attempt counted too is undone once.
                let left = left.filter(|counter| !self.counters.contains(counter) && !self.elsewhere.contains(counter));
                Self::of_counters(subject, elsewhere.chain(left))
            }
            None => Self::of_counters(subject, elsewhere.filter(|counter| !counter.is_count())),
        }
    }

    /// Separates what is undone although the key did not answer: when in doubt, the count is too low.
    pub(super) fn take_elsewhere(&mut self) -> Vec<Self> {
        Self::of_counters(&self.subject, self.elsewhere.drain(..))
    }
}

/// In groups that one call can undo.
pub(super) fn per_call(releases: Vec<Release>) -> Vec<Vec<Release>> {
    let mut by_home: HashMap<Home, Vec<Release>> = HashMap::new();
    for release in releases {
        by_home.entry(release.home).or_default().push(release);
    }
    by_home.into_values().collect()
}

impl Keys {
    /// Undoes all of them, which have one home, in one call. It answers for each that has a key.
    pub(super) fn release(&self, releases: &[Release]) -> Call {
        let mut keys = Vec::new();
        for Release { subject, claim, counters, .. } in releases {
            keys.extend(claim.map(|claim| self.idempotency_key(claim.key)));
            counters.iter().for_each(|counter| self.push_keys(&mut keys, counter, subject));
        }
        let slot = releases.first().map_or(0, |release| self.slot(release.home));
        let mut call = Call::of_script(&RELEASE, slot, &keys);
        let command = &mut call.command;
        for Release { subject, claim, counters, elsewhere, .. } in releases {
            command.arg("request").arg(subject.request_id.as_bytes().as_slice());
            if let Some(claim) = claim {
                let left = left_counts::format(counters.iter().chain(elsewhere));
                command.arg("key").arg(claim.claimant(subject)).arg(left);
            }
            counters.iter().for_each(|counter| add_numbers(command, counter));
        }
        call
    }
}

fn add_numbers(command: &mut Cmd, counter: &Counter) {
    match counter.measure {
        Measure::Count { .. } => {
            command.arg("count");
        }
        Measure::Bucket { requests, per_ms, .. } => {
            command.arg("bucket").arg(requests.get());
            add_time(command, token_parts(per_ms, counter.home), requests);
        }
        // A sequence keeps its gap, and never sets a bit in `added`.
        Measure::Sequence { .. } => {}
    }
}
