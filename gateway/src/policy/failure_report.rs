//! The first failure of each kind, with the facts of its call. A broken policy fails at the rate of the requests, so
//! the others are only counted.

use std::fmt::Debug;
use std::sync::OnceLock;

use super::failure::Failure;
use crate::coupon::{UnixMs, now_ms};
use crate::telemetry::FailureReason;

/// A shard picker's facts contain every shard; a few of them show what it was called with.
const FACTS_BYTES_MAX: usize = 2048;

/// What an operator or author needs to reproduce a failure.
#[derive(Debug)]
pub struct FailureReport {
    pub at_ms: UnixMs,
    /// As in `sluice_policy_failures_total`.
    pub reason: &'static str,
    /// The policy's panic or invalid verdict, or the trap and its place in the module.
    pub detail: Option<String>,
    /// The arguments of the call, as the SDK's types print them. Absent if the policy was not called.
    pub facts: Option<String>,
}

#[derive(Default)]
pub(super) struct FailureReports([OnceLock<FailureReport>; FailureReason::ALL.len()]);

impl FailureReports {
    /// The report if this is the first failure of its kind.
    pub(super) fn add(&self, failure: Failure, facts: impl FnOnce() -> Option<String>) -> Option<&FailureReport> {
        let Failure { reason, detail } = failure;
        let place = &self.0[reason as usize];
        if place.get().is_some() {
            return None;
        }
        place.set(FailureReport { at_ms: now_ms(), reason: reason.as_str(), detail, facts: facts() }).ok()?;
        place.get()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &FailureReport> {
        self.0.iter().filter_map(OnceLock::get)
    }
}

pub(super) fn print(facts: &impl Debug) -> String {
    let mut text = format!("{facts:?}");
    if text.len() > FACTS_BYTES_MAX {
        text.truncate(text.floor_char_boundary(FACTS_BYTES_MAX));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_of_each_kind_is_reported() {
        let reports = FailureReports::default();
        let add = |reason, detail: &str| {
            let failure = Failure { reason, detail: Some(detail.to_owned()) };
            reports.add(failure, || Some(print(&(1, "facts")))).is_some()
        };
        assert!(add(FailureReason::Trap, "one"));
        assert!(!add(FailureReason::Trap, "two"));
        assert!(add(FailureReason::Answer, "three"));
        let all: Vec<_> = reports.iter().map(|report| (report.reason, report.detail.as_deref())).collect();
        assert_eq!(all, [("trap", Some("one")), ("answer", Some("three"))]);
        assert_eq!(reports.iter().next().and_then(|report| report.facts.as_deref()), Some("(1, \"facts\")"));
    }

    #[test]
    fn the_facts_are_cut() {
        assert!(print(&vec![1_000_000; 1000]).len() <= FACTS_BYTES_MAX + '…'.len_utf8());
    }
}
