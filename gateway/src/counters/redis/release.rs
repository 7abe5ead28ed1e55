//! What to undo for a request, and the call that undoes it for many.

use ::redis::Cmd;

use super::commands::{Commands, RELEASE, add_time, call};
use crate::counters::{Hook, KEY_ADDED, Measure, Subject};

/// Requests that one call undoes. Redis runs nothing else meanwhile, for about a millisecond.
pub(super) const REQUESTS_PER_CALL: usize = 256;

/// What to undo for a request.
pub(super) struct Release {
    subject: Subject,
    frees_key: bool,
    measures: Vec<(Hook, Measure)>,
}

impl Release {
    /// What `reserve` added.
    pub(super) fn of_added(hook: Hook, measures: &[Measure], subject: &Subject, added: u32) -> Self {
        let is_added = |index: usize| added & (1 << index) != 0;
        let measures = measures.iter().enumerate().filter(|(index, _)| is_added(*index));
        Self {
            subject: *subject,
            frees_key: added & KEY_ADDED != 0 && subject.fingerprint.is_some(),
            measures: measures.map(|(_, measure)| (hook, *measure)).collect(),
        }
    }

    /// The whole-campaign counts of a rejected request. `None` if it has none.
    pub(super) fn of_rejected(subject: &Subject) -> Option<Self> {
        let measures: Vec<_> = subject.campaign_counts.measures().collect();
        (!measures.is_empty()).then_some(Self { subject: *subject, frees_key: false, measures })
    }
}

impl Commands {
    /// Undoes all of them in one call.
    pub(super) fn release(&self, releases: &[Release]) -> Cmd {
        let mut keys = Vec::new();
        for Release { subject, frees_key, measures } in releases {
            let released = subject.fingerprint.filter(|_| *frees_key);
            keys.extend(released.map(|fingerprint| self.idempotency_key(fingerprint)));
            keys.extend(self.keys(measures.iter().map(|(hook, measure)| (*hook, measure)), subject));
        }
        let mut command = call(&RELEASE, keys);
        for Release { subject, frees_key, measures } in releases {
            command.arg("request").arg(subject.request_id.as_bytes().as_slice());
            if *frees_key {
                command.arg("key");
            }
            for (_, measure) in measures {
                add_numbers(&mut command, measure);
            }
        }
        command
    }
}

fn add_numbers(command: &mut Cmd, measure: &Measure) {
    match *measure {
        Measure::Count { .. } => {
            command.arg("count");
        }
        Measure::Bucket { requests, per_ms, .. } => {
            command.arg("bucket").arg(requests.get());
            add_time(command, per_ms.get().into(), requests);
        }
        // A sequence keeps its gap, and never sets a bit in `added`.
        Measure::Sequence { .. } => {}
    }
}
