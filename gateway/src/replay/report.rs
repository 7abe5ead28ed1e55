//! What a replay found. Nothing of it depends on when, where and how fast it ran.

mod html;

use serde::Serialize;

use super::difference::Difference;
use super::instances::Instances;
use crate::counters::Hook;
use crate::policy::Digest;

/// What a policy would have decided, and what was decided.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub hook: Hook,
    /// Of the new policy.
    pub digest: Digest,
    pub instances: Instances,
    /// Replayed ones.
    pub decisions: u64,
    /// Decisions with another verdict.
    pub changed: u64,
    /// Decisions that differ on an instance that has decided before: the policy keeps state between its calls.
    pub stateful: u64,
    /// Decisions that could not be replayed.
    pub skipped: Vec<SkippedRow>,
    /// The versions that decided before.
    pub recorded: Vec<Recorded>,
    /// By word; `none` without a decision.
    pub verdicts: Vec<Row>,
    /// By picked shard.
    pub shards: Vec<Row>,
    /// By code.
    pub refusals: Vec<Row>,
    /// Calls without a valid decision, by reason.
    pub failures: Vec<Row>,
    /// Of the new policy.
    pub fuel: Fuel,
    pub differences: Vec<Difference>,
}

/// How often something was decided, and would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    pub decision: String,
    pub before: u64,
    pub after: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SkippedRow {
    pub because: &'static str,
    pub decisions: u64,
}

/// A version of a policy, and how much it decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recorded {
    pub policy: String,
    pub digest: Digest,
    pub decisions: u64,
}

/// What decisions cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Fuel {
    pub total: u64,
    pub median: u64,
    pub p99: u64,
    pub max: u64,
}

impl Report {
    /// Indented, with an end of line.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and strings are JSON") + "\n"
    }

    /// One page that needs no network.
    #[must_use]
    pub fn html(&self) -> String {
        html::page(self)
    }
}
