//! The guards: how far a candidate may be from the active policy.
//!
//! Shares are compared as in the two-proportion z test: a difference is beyond its bound only if it still is after three
//! standard errors are subtracted. So a rollout is seldom rolled back by chance. For the 99th percentile, it is the share
//! of the calls that are too slow which must exceed 1 %.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::tally::{HookTally, Tallies};
use crate::counters::{Hook, PerHook};

/// How far the candidate may be from the active policy. Beyond one of these, the rollout is rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Guards {
    /// Nothing is judged before each arm has made this many decisions.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub decisions_min: u64,
    /// The share of decisions in which the candidate trapped, took too long, needed too much memory or returned
    /// nonsense, above that of the active policy.
    #[schema(minimum = 0, maximum = 1)]
    pub failures: f64,
    /// The share of decisions that `on_failure` made, above that of the active policy.
    #[schema(minimum = 0, maximum = 1)]
    pub fallbacks: f64,
    /// The difference between the shares of refused requests.
    #[schema(minimum = 0, maximum = 1)]
    pub refusals: f64,
    /// The share of the shadow's decisions in which one policy lets the request go on and the other does not, or delays it
    /// by over 100 ms more. A shard picker is not judged by it: two good ones often pick different shards.
    #[schema(minimum = 0, maximum = 1)]
    pub divergence: f64,
    /// The total variation distance between the shards that the arms picked: 0 if both spread requests equally, 1 if they
    /// have no shard in common.
    #[schema(minimum = 0, maximum = 1)]
    pub spread: f64,
    /// How many times the active policy's 99th percentile of a call's processor time the candidate's may be. Below 0.1 ms
    /// it is not judged.
    #[schema(minimum = 1, maximum = 1000)]
    pub call_p99_ratio: f64,
    /// A gateway that cannot read the ledger for this many seconds returns to the active policy, and the rollout is
    /// rolled back when the ledger answers again.
    #[schema(minimum = 2, maximum = 3600)]
    pub ledger_seconds: u64,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            decisions_min: 500,
            failures: 0.005,
            fallbacks: 0.01,
            refusals: 0.05,
            divergence: 0.05,
            spread: 0.3,
            call_p99_ratio: 5.0,
            ledger_seconds: 10,
        }
    }
}

impl Guards {
    /// # Errors
    /// The key, and what was expected.
    pub fn check(&self) -> Result<(), String> {
        let shares = [
            ("failures", self.failures),
            ("fallbacks", self.fallbacks),
            ("refusals", self.refusals),
            ("divergence", self.divergence),
            ("spread", self.spread),
        ];
        for (key, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("guards.{key}: expected a number from 0 to 1, found {share}"));
            }
        }
        if !(1.0..=1000.0).contains(&self.call_p99_ratio) {
            return Err(format!(
                "guards.callP99Ratio: expected a number from 1 to 1000, found {}",
                self.call_p99_ratio
            ));
        }
        if !(1..=1_000_000).contains(&self.decisions_min) {
            return Err(format!("guards.decisionsMin: expected 1 to 1000000, found {}", self.decisions_min));
        }
        if !(2..=3600).contains(&self.ledger_seconds) {
            return Err(format!("guards.ledgerSeconds: expected 2 to 3600, found {}", self.ledger_seconds));
        }
        Ok(())
    }
}

/// What a guard compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    Failures,
    Fallbacks,
    Refusals,
    Divergence,
    Spread,
    CallP99,
}

impl Guard {
    /// The word that the admin API and metrics use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::Fallbacks => "fallbacks",
            Self::Refusals => "refusals",
            Self::Divergence => "divergence",
            Self::Spread => "spread",
            Self::CallP99 => "call-p99",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// Too few decisions.
    Unknown,
    Within,
    Beyond,
}

/// What a guard found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reading {
    pub hook: Hook,
    pub guard: Guard,
    /// A share, a distance, or a ratio of durations.
    pub found: Option<f64>,
    pub bound: f64,
    pub judgement: Judgement,
}

impl Reading {
    /// In words.
    #[must_use]
    pub fn describe(&self) -> String {
        let found = self.found.unwrap_or_default();
        let (hook, bound) = (self.hook.as_str(), self.bound);
        match self.guard {
            Guard::Failures => format!(
                "{hook}: the candidate failed in {} more of its calls, and {} are allowed",
                percent(found),
                percent(bound)
            ),
            Guard::Fallbacks => format!(
                "{hook}: on_failure decided {} more of the candidate's requests, and {} are allowed",
                percent(found),
                percent(bound)
            ),
            Guard::Refusals => format!(
                "{hook}: the refused shares of the arms differ by {}, and {} are allowed",
                percent(found),
                percent(bound)
            ),
            Guard::Divergence => format!(
                "{hook}: the candidate decided {} of the requests differently, and {} are allowed",
                percent(found),
                percent(bound)
            ),
            Guard::Spread => format!(
                "{hook}: the arms spread requests over the shards at a distance of {found:.2}, and {bound:.2} is allowed"
            ),
            Guard::CallP99 => format!(
                "{hook}: the candidate's slowest calls use {found:.1} times the processor time, and {bound:.1} times is allowed"
            ),
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// Shorter calls are not judged: what a cold cache adds would count.
const CALL_JUDGED_SECONDS: f64 = 0.0001;
/// See the module's text.
const STANDARD_ERRORS: f64 = 3.0;

/// Judges the hooks that the candidate changes. The canary is judged if it serves anybody, the shadow otherwise.
#[must_use]
pub(super) fn judge(guards: &Guards, changed: &PerHook<bool>, is_canary: bool, tallies: &Tallies) -> Vec<Reading> {
    let hooks = Hook::ALL.into_iter().filter(|hook| changed[*hook]);
    hooks.flat_map(|hook| HookJudge::new(guards, hook, is_canary, tallies).readings()).collect()
}

struct HookJudge<'a> {
    guards: &'a Guards,
    hook: Hook,
    active: &'a HookTally,
    candidate: &'a HookTally,
    compared: u64,
    different: u64,
}

impl<'a> HookJudge<'a> {
    fn new(guards: &'a Guards, hook: Hook, is_canary: bool, tallies: &'a Tallies) -> Self {
        let shadow = &tallies.shadow[hook];
        let candidate = if is_canary { &tallies.canary[hook] } else { &shadow.decided };
        let (compared, different) = (shadow.compared, shadow.different);
        Self { guards, hook, active: &tallies.active[hook], candidate, compared, different }
    }

    fn readings(&self) -> Vec<Reading> {
        let mut readings = vec![
            self.excess(Guard::Failures, self.guards.failures, |tally| tally.failures),
            self.excess(Guard::Fallbacks, self.guards.fallbacks, |tally| tally.fallbacks),
            self.call_p99(),
        ];
        if self.hook == Hook::ShardPicker {
            readings.push(self.spread());
        } else {
            readings.push(self.refusals());
            readings.extend((self.compared > 0).then(|| self.divergence()));
        }
        readings
    }

    fn is_known(&self) -> bool {
        self.active.decisions.min(self.candidate.decisions) >= self.guards.decisions_min
    }

    fn reading(&self, guard: Guard, found: Option<f64>, bound: f64, is_known: bool, is_beyond: bool) -> Reading {
        let judgement = match (is_known && found.is_some(), is_beyond) {
            (false, _) => Judgement::Unknown,
            (true, true) => Judgement::Beyond,
            (true, false) => Judgement::Within,
        };
        Reading { hook: self.hook, guard, found, bound, judgement }
    }

    /// By how much the candidate's share is higher.
    fn excess(&self, guard: Guard, bound: f64, count: impl Fn(&HookTally) -> u64) -> Reading {
        let [active, candidate] = [self.active, self.candidate].map(|tally| Share::new(count(tally), tally.decisions));
        let found = candidate.value - active.value;
        self.reading(guard, Some(found), bound, self.is_known(), found - candidate.margin(active) > bound)
    }

    fn refusals(&self) -> Reading {
        let [active, candidate] =
            [self.active, self.candidate].map(|tally| Share::new(tally.refusals, tally.decisions));
        let found = (candidate.value - active.value).abs();
        let bound = self.guards.refusals;
        self.reading(Guard::Refusals, Some(found), bound, self.is_known(), found - candidate.margin(active) > bound)
    }

    fn divergence(&self) -> Reading {
        let share = Share::new(self.different, self.compared);
        let (bound, is_known) = (self.guards.divergence, self.compared >= self.guards.decisions_min);
        let is_beyond = share.value - share.margin(Share::new(0, 1)) > bound;
        self.reading(Guard::Divergence, Some(share.value), bound, is_known, is_beyond)
    }

    fn spread(&self) -> Reading {
        let found = distance(self.active, self.candidate);
        let bound = self.guards.spread;
        self.reading(Guard::Spread, found, bound, self.is_known(), found.is_some_and(|found| found > bound))
    }

    fn call_p99(&self) -> Reading {
        let p99 = |tally: &HookTally| tally.call_p99().map(|duration| duration.as_secs_f64());
        let (active, candidate) = (p99(self.active), p99(self.candidate));
        let found = active.zip(candidate).map(|(active, candidate)| candidate / active);
        let allowed = self.guards.call_p99_ratio;
        // The ratio at which the candidate is beyond both.
        let bound = active.map_or(allowed, |active| allowed.max(CALL_JUDGED_SECONDS / active));
        let too_slow = |active: f64| self.candidate.is_often_above(Duration::from_secs_f64(active * bound));
        let is_beyond = found.is_some_and(|found| found > bound) && active.is_some_and(too_slow);
        self.reading(Guard::CallP99, found, bound, self.is_known(), is_beyond)
    }
}

impl HookTally {
    /// Whether more than one in a hundred calls take longer, and not by chance.
    fn is_often_above(&self, duration: Duration) -> bool {
        let share = Share::new(self.calls.above(duration), self.calls.count());
        let expected = Share { value: 0.01, variance: 0.01 * 0.99 / self.calls.count().max(1) as f64 };
        share.value - expected.margin(Share::new(0, 1)) > expected.value
    }
}

/// A proportion of a sample.
#[derive(Clone, Copy)]
struct Share {
    value: f64,
    variance: f64,
}

impl Share {
    fn new(count: u64, of: u64) -> Self {
        let sample = of.max(1) as f64;
        let value = count as f64 / sample;
        Self { value, variance: value * (1.0 - value) / sample }
    }

    /// How much of a difference may be chance.
    fn margin(self, other: Self) -> f64 {
        STANDARD_ERRORS * (self.variance + other.variance).sqrt()
    }
}

/// The total variation distance between the shards that were picked.
fn distance(one: &HookTally, other: &HookTally) -> Option<f64> {
    let picks = |tally: &HookTally| tally.shards.values().sum::<u64>() as f64;
    let (all, all_other) = (picks(one), picks(other));
    if all == 0.0 || all_other == 0.0 {
        return None;
    }
    let of = |tally: &HookTally, shard| tally.shards.get(&shard).copied().unwrap_or_default() as f64;
    let mut shards: Vec<u32> = one.shards.keys().chain(other.shards.keys()).copied().collect();
    shards.sort_unstable();
    shards.dedup();
    let difference = |shard: &u32| (of(one, *shard) / all - of(other, *shard) / all_other).abs();
    Some(shards.iter().map(difference).sum::<f64>() / 2.0)
}

#[cfg(test)]
mod tests;
