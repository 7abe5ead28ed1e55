//! What to undo for a request, and the calls that undo it for many.

use std::collections::HashMap;

use ::redis::Cmd;

use super::commands::{Call, RELEASE, add_time, token_parts};
use super::keys::{Counter, Group, Home, Keys};
use crate::counters::{KEY_ADDED, Measure, Subject};
use crate::coupon::Fingerprint;

/// Requests that one call undoes. Redis runs nothing else meanwhile, for about a millisecond.
pub(super) const REQUESTS_PER_CALL: usize = 256;

/// What to undo for a request at one home.
pub(super) struct Release {
    home: Home,
    subject: Subject,
    key: Option<Fingerprint>,
    counters: Vec<Counter>,
}

impl Release {
    /// What of `added` belongs to the group. `None` if nothing does.
    pub(super) fn of_added(group: &Group, subject: &Subject, added: u32) -> Option<Self> {
        let key = group.key.filter(|_| added & KEY_ADDED != 0);
        let counters = group.counters.iter().filter(|(position, _)| added & (1 << position) != 0);
        let counters: Vec<_> = counters.map(|(_, counter)| *counter).collect();
        let is_empty = key.is_none() && counters.is_empty();
        (!is_empty).then_some(Self { home: group.home, subject: *subject, key, counters })
    }

    /// The whole-campaign counts of a rejected request.
    pub(super) fn of_rejected(keys: &Keys, subject: &Subject) -> impl Iterator<Item = Self> {
        subject.campaign_counts.measures().map(|(hook, measure)| {
            let counter = keys.counter(hook, measure, subject);
            Self { home: counter.home, subject: *subject, key: None, counters: vec![counter] }
        })
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
    /// Undoes all of them, which have one home, in one call.
    pub(super) fn release(&self, releases: &[Release]) -> Call {
        let mut keys = Vec::new();
        for Release { subject, key, counters, .. } in releases {
            keys.extend(key.map(|fingerprint| self.idempotency_key(fingerprint)));
            counters.iter().for_each(|counter| self.push_keys(&mut keys, counter, subject));
        }
        let slot = releases.first().map_or(0, |release| self.slot(release.home));
        let mut call = Call::of_script(&RELEASE, slot, &keys);
        let command = &mut call.command;
        for Release { subject, key, counters, .. } in releases {
            command.arg("request").arg(subject.request_id.as_bytes().as_slice());
            if key.is_some() {
                command.arg("key");
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
