//! A hostile component, and what must become of it.

use super::text::{Hook, Text};

/// The pipeline's default.
const DEADLINE_MS: u64 = 5;

#[derive(Clone)]
pub(super) struct Guest {
    /// The name of its policy.
    pub(super) name: String,
    pub(super) hook: Hook,
    pub(super) component: Vec<u8>,
    pub(super) deadline_ms: u64,
    pub(super) expected: Expected,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Expected {
    /// The change is refused, for a reason that contains this.
    Refused(&'static str),
    /// It becomes active, and calls fail for at least one of these reasons.
    Fails(&'static [&'static str]),
    /// It becomes active and decides.
    Decides,
    /// It depends on the machine whether it can be compiled within the limits.
    RefusedOrDecides,
}

impl Guest {
    pub(super) fn new(name: &str, hook: Hook, text: &Text, expected: Expected) -> Self {
        Self::of(&format!("{name}-{}", hook.name()), hook, text.component(hook), expected)
    }

    pub(super) fn of(name: &str, hook: Hook, component: Vec<u8>, expected: Expected) -> Self {
        Self { name: name.to_owned(), hook, component, deadline_ms: DEADLINE_MS, expected }
    }

    pub(super) fn with_deadline_ms(self, deadline_ms: u64) -> Self {
        Self { deadline_ms, ..self }
    }
}

impl Expected {
    /// With the reason of a refused change, and the reasons of failed calls.
    pub(super) fn includes(self, refusal: Option<&str>, failures: &[(&str, f64)]) -> bool {
        let fails_by = |reasons: &[&str]| failures.iter().any(|(reason, _)| reasons.contains(reason));
        match (self, refusal) {
            (Self::Refused(reason), Some(refusal)) => refusal.contains(reason),
            (Self::Fails(reasons), None) => fails_by(reasons),
            // A busy machine, or its own slowness, may cost a decision.
            (Self::Decides, None) => !fails_by(&["trap", "answer"]),
            (Self::RefusedOrDecides, _) => true,
            _ => false,
        }
    }
}
