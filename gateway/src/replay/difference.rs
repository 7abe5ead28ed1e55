//! A decision that changes.

use serde::Serialize;
use serde_json::Value;

use crate::counters::Hook;
use crate::decisions::{Decision, Step, Traced};
use crate::policy::MeteredCall;

/// In full, so that it can be understood and replayed by hand.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Of the recording, from 1.
    pub line: u64,
    pub hook: Hook,
    pub request_id: String,
    pub request: Value,
    pub measured: Value,
    pub context: Value,
    /// Null if there was none.
    pub before: Value,
    /// Null if there is none: `failure` says why.
    pub after: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<&'static str>,
    pub fuel: u64,
}

impl Difference {
    pub(super) fn new<C: Traced>(
        line: u64,
        decision: &Decision,
        step: &Step<C>,
        call: &MeteredCall<C::Verdict>,
    ) -> Self {
        Self {
            line,
            hook: C::HOOK,
            request_id: decision.request_id.to_string(),
            request: json(&decision.request),
            measured: json(&step.measured),
            context: json(&step.context),
            before: json(&step.verdict),
            after: json(&call.verdict.as_ref().ok()),
            failure: call.verdict.as_ref().err().map(|failure| failure.as_str()),
            fuel: call.fuel,
        }
    }
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("numbers and strings are JSON")
}
