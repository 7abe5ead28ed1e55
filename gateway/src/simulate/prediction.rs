//! What a simulation finds out.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::tally::Outcomes;
use crate::counters::PerHook;
use crate::policy::CallCost;

/// What would happen. The same scenario, system, policies and seed give the same prediction.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Prediction {
    /// Second attempts and a flood included.
    pub requests: u64,
    /// Second attempts that were recognized, and answered as the first one was.
    pub repeated: u64,
    /// Requests that were not accepted, by reason.
    pub refused: BTreeMap<String, u64>,
    pub unsold_coupons: u64,
    /// The most accepted requests that were not settled.
    pub peak_lag_records: u64,
    /// Calls of policies without a valid decision.
    pub policy_failures: u64,
    #[serde(flatten)]
    pub outcomes: Outcomes,
}

/// What the simulation took, in real time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    pub seconds: f64,
    pub requests_per_second: f64,
    /// One call of a hook's policy, on average.
    pub policy_us: PerHook<f64>,
}

impl Cost {
    pub(super) fn new(took: Duration, requests: u64, calls: PerHook<CallCost>) -> Self {
        let seconds = took.as_secs_f64();
        let policy_us = |cost: CallCost| rounded(cost.took.as_secs_f64() * 1e6 / cost.calls.max(1) as f64, 1_000.0);
        Self {
            seconds: rounded(seconds, 1_000.0),
            requests_per_second: (requests as f64 / seconds.max(f64::EPSILON)).round(),
            policy_us: calls.map(policy_us),
        }
    }
}

fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}
