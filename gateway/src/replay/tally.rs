//! Sums of a replay. The order in which they are added does not matter.

use std::collections::BTreeMap;

use super::difference::Difference;
use super::instances::Instances;
use super::report::{Fuel, Recorded, Report, Row, SkippedRow};
use crate::counters::Hook;
use crate::decisions::Traced;
use crate::policy::{ConfiguredPolicy, Digest};
use crate::telemetry::FailureReason;

/// The first ones are shown.
const DIFFERENCES_MAX: usize = 10;

#[derive(Debug, Default)]
pub(super) struct Tally {
    skipped: BTreeMap<Skipped, u64>,
    /// Versions that decided before.
    policies: BTreeMap<(String, Digest), u64>,
    pub(super) before: Verdicts,
    pub(super) after: Verdicts,
    changed: u64,
    /// Decisions that differ on an instance that has decided before.
    pub(super) stateful: u64,
    /// Decisions by what they cost.
    fuel: BTreeMap<u64, u64>,
    /// By line.
    differences: BTreeMap<u64, Difference>,
}

/// Why a decision cannot be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Skipped {
    /// A hook before it refused the request.
    HookNotAsked,
    /// The counters were unavailable.
    NothingMeasured,
    /// The new policy declares others, which nobody took.
    OtherMeasures,
}

impl Skipped {
    const fn as_str(self) -> &'static str {
        match self {
            Self::HookNotAsked => "hook not asked",
            Self::NothingMeasured => "counters unavailable",
            Self::OtherMeasures => "other measures",
        }
    }
}

/// What was decided on one side.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    words: BTreeMap<&'static str, u64>,
    shards: BTreeMap<u32, u64>,
    refusals: BTreeMap<String, u64>,
    failures: BTreeMap<FailureReason, u64>,
}

impl Verdicts {
    pub(super) fn add<C: Traced>(&mut self, verdict: Option<&C::Verdict>, failure: Option<FailureReason>) {
        increment(&mut self.words, verdict.map_or("none", C::word));
        if let Some(shard_no) = verdict.and_then(C::shard_no) {
            increment(&mut self.shards, shard_no);
        }
        if let Some(rejection) = verdict.and_then(C::rejection) {
            increment(&mut self.refusals, rejection.code.clone());
        }
        if let Some(failure) = failure {
            increment(&mut self.failures, failure);
        }
    }

    fn merge(self, other: Self) -> Self {
        Self {
            words: sum(self.words, other.words),
            shards: sum(self.shards, other.shards),
            refusals: sum(self.refusals, other.refusals),
            failures: sum(self.failures, other.failures),
        }
    }
}

impl Tally {
    pub(super) fn skip(&mut self, why: Skipped) {
        increment(&mut self.skipped, why);
    }

    pub(super) fn add_policy(&mut self, policy: &ConfiguredPolicy) {
        increment(&mut self.policies, (policy.policy.clone(), policy.digest));
    }

    pub(super) fn add_fuel(&mut self, fuel: u64) {
        increment(&mut self.fuel, fuel);
    }

    pub(super) fn add_difference(&mut self, difference: impl FnOnce() -> Difference, line: u64) {
        self.changed += 1;
        let is_early = self.differences.last_key_value().is_none_or(|(last, _)| line < *last);
        if is_early || self.differences.len() < DIFFERENCES_MAX {
            self.differences.insert(line, difference());
            self.trim();
        }
    }

    fn trim(&mut self) {
        while self.differences.len() > DIFFERENCES_MAX {
            self.differences.pop_last();
        }
    }

    pub(super) fn merge(self, other: Self) -> Self {
        let mut differences = self.differences;
        differences.extend(other.differences);
        let mut merged = Self {
            skipped: sum(self.skipped, other.skipped),
            policies: sum(self.policies, other.policies),
            before: self.before.merge(other.before),
            after: self.after.merge(other.after),
            changed: self.changed + other.changed,
            stateful: self.stateful + other.stateful,
            fuel: sum(self.fuel, other.fuel),
            differences,
        };
        merged.trim();
        merged
    }

    pub(super) fn report(self, hook: Hook, digest: Digest, instances: Instances) -> Report {
        let decisions = self.fuel.values().sum();
        let recorded = self.policies.into_iter();
        let recorded = recorded.map(|((policy, digest), decisions)| Recorded { policy, digest, decisions });
        let skipped = self.skipped.into_iter();
        let skipped = skipped.map(|(why, decisions)| SkippedRow { because: why.as_str(), decisions });
        Report {
            hook,
            digest,
            instances,
            decisions,
            changed: self.changed,
            stateful: self.stateful,
            skipped: skipped.collect(),
            recorded: recorded.collect(),
            verdicts: rows(self.before.words, self.after.words, |word| (*word).to_owned()),
            shards: rows(self.before.shards, self.after.shards, ToString::to_string),
            refusals: rows(self.before.refusals, self.after.refusals, String::clone),
            failures: rows(self.before.failures, self.after.failures, |reason| reason.as_str().to_owned()),
            fuel: fuel(&self.fuel),
            differences: self.differences.into_values().collect(),
        }
    }
}

/// A row for each key of either side.
fn rows<K: Ord>(before: BTreeMap<K, u64>, after: BTreeMap<K, u64>, name: impl Fn(&K) -> String) -> Vec<Row> {
    let mut sides = BTreeMap::<K, [u64; 2]>::new();
    for (side, numbers) in [before, after].into_iter().enumerate() {
        for (key, number) in numbers {
            sides.entry(key).or_default()[side] = number;
        }
    }
    sides.into_iter().map(|(key, [before, after])| Row { decision: name(&key), before, after }).collect()
}

/// Of decisions by what they cost.
fn fuel(decisions: &BTreeMap<u64, u64>) -> Fuel {
    let all: u64 = decisions.values().sum();
    let percentile = |percent: u64| {
        let rank = (all * percent).div_ceil(100);
        let mut seen = 0;
        for (fuel, number) in decisions {
            seen += number;
            if seen >= rank {
                return *fuel;
            }
        }
        0
    };
    let total = decisions.iter().map(|(fuel, number)| fuel * number).sum();
    Fuel { total, median: percentile(50), p99: percentile(99), max: percentile(100) }
}

fn increment<K: Ord>(numbers: &mut BTreeMap<K, u64>, key: K) {
    *numbers.entry(key).or_default() += 1;
}

fn sum<K: Ord>(mut numbers: BTreeMap<K, u64>, others: BTreeMap<K, u64>) -> BTreeMap<K, u64> {
    for (key, number) in others {
        *numbers.entry(key).or_default() += number;
    }
    numbers
}
