//! The metrics of rollouts.

use std::collections::BTreeMap;

use super::guards::{Judgement, Reading};
use super::record::{Rollout, RolloutId};
use super::tally::{HookTally, Tallies};
use crate::counters::Hook;
use crate::telemetry::{ArmMeasured, GuardRead, RolloutsSeen, ShadowMeasured, Telemetry};

/// Turns tallies, which grow within a step, into counters.
pub(super) struct Meter {
    telemetry: Telemetry,
    /// What is counted already, by rollout and step.
    counted: BTreeMap<RolloutId, (u32, Tallies)>,
}

impl Meter {
    pub(super) fn new(telemetry: Telemetry) -> Self {
        Self { telemetry, counted: BTreeMap::new() }
    }

    pub(super) fn measured(&mut self, id: RolloutId, step_no: u32, tallies: &Tallies) {
        let before = self.counted.insert(id, (step_no, tallies.clone()));
        let before = before.filter(|(step, _)| *step == step_no).map(|(_, tallies)| tallies).unwrap_or_default();
        for hook in Hook::ALL {
            self.arm(hook, "active", &before.active[hook], &tallies.active[hook]);
            self.arm(hook, "canary", &before.canary[hook], &tallies.canary[hook]);
            let (before, shadow) = (&before.shadow[hook], &tallies.shadow[hook]);
            self.arm(hook, "shadow", &before.decided, &shadow.decided);
            let (different, lost) = (shadow.different - before.different, shadow.lost - before.lost);
            self.telemetry.emit(ShadowMeasured { hook: hook.as_str(), different, lost });
        }
    }

    fn arm(&self, hook: Hook, arm: &'static str, before: &HookTally, tally: &HookTally) {
        self.telemetry.emit(ArmMeasured {
            hook: hook.as_str(),
            arm,
            decisions: tally.decisions - before.decisions,
            failures: tally.failures - before.failures,
            refusals: tally.refusals - before.refusals,
            call_p99_seconds: tally.call_p99().map(|duration| duration.as_secs_f64()),
        });
    }

    /// Of all rollouts, the one that is nearest to a bound counts. Too few decisions say nothing.
    pub(super) fn read(&self, readings: &[Reading]) {
        let mut nearest: BTreeMap<(&'static str, &'static str), f64> = BTreeMap::new();
        for reading in readings {
            let found = reading.found.filter(|_| reading.judgement != Judgement::Unknown).unwrap_or_default();
            let ratio = if reading.bound > 0.0 { found / reading.bound } else { found };
            let highest = nearest.entry((reading.hook.as_str(), reading.guard.as_str())).or_default();
            *highest = highest.max(ratio);
        }
        self.telemetry.emit(GuardRead(nearest));
    }

    pub(super) fn running<'a>(&self, rollouts: impl Iterator<Item = &'a Rollout>) {
        let percents: Vec<f64> = rollouts.map(|rollout| f64::from(rollout.canary_percent)).collect();
        let highest = percents.iter().copied().fold(0.0, f64::max);
        self.telemetry.emit(RolloutsSeen { running: percents.len() as u64, highest_share: highest / 100.0 });
    }
}

#[cfg(test)]
mod tests {
    use super::super::guards::Guard;
    use super::*;

    #[test]
    fn the_distance_to_a_bound_is_that_of_the_nearest_rollout_with_enough_decisions() {
        let telemetry = Telemetry::new();
        let meter = Meter::new(telemetry.clone());
        let reading = |found, judgement| Reading {
            hook: Hook::UserLimit,
            guard: Guard::Refusals,
            found: Some(found),
            bound: 0.5,
            judgement,
        };
        let ratio = || {
            let metrics = String::from_utf8(telemetry.render()).expect("text");
            let line = metrics.lines().find(|line| line.starts_with("sluice_rollout_guard_ratio{"));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        };
        meter.read(&[reading(1.0, Judgement::Unknown)]);
        assert_eq!(ratio(), Some(0.0));
        meter.read(&[reading(0.25, Judgement::Within), reading(-0.5, Judgement::Within)]);
        assert_eq!(ratio(), Some(0.5));
        meter.read(&[]);
        assert_eq!(ratio(), None, "the rollouts are over");
    }
}
