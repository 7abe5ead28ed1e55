//! Replays one chunk after the other on one thread.

use std::time::Instant;

use super::difference::Difference;
use super::error::ReplayError;
use super::instances::Instances;
use super::tally::{Skipped, Tally};
use crate::counters::{Measured, PerMeasure};
use crate::decisions::{Decision, Step, Traced};
use crate::policy::{MeteredCall, MeteredInstance, MeteredPolicy};

/// Replays chunks of a recording, and adds them up.
pub(super) struct Chunks<'a, C> {
    policy: &'a MeteredPolicy<C>,
    instances: Instances,
    deadline: Option<Instant>,
    tally: Tally,
}

/// A decision that can be replayed.
struct Replayable<'a, C: Traced> {
    line: u64,
    decision: &'a Decision,
    step: &'a Step<C>,
    measured: &'a PerMeasure<Measured>,
}

impl<'a, C: Traced> Chunks<'a, C> {
    pub(super) fn new(policy: &'a MeteredPolicy<C>, instances: Instances, deadline: Option<Instant>) -> Self {
        Self { policy, instances, deadline, tally: Tally::default() }
    }

    pub(super) fn into_tally(self) -> Tally {
        self.tally
    }

    pub(super) fn replay(&mut self, first_line: u64, lines: &[Vec<u8>]) -> Result<(), ReplayError> {
        let decisions = (first_line..)
            .zip(lines)
            .map(|(line, text)| {
                let decision = serde_json::from_slice(text).map_err(|source| ReplayError::Line { line, source })?;
                Ok((line, decision))
            })
            .collect::<Result<Vec<(u64, Decision)>, ReplayError>>()?;
        let replayable: Vec<_> = decisions.iter().filter_map(|(line, decision)| self.select(*line, decision)).collect();
        let first_pass = self.first_pass(&replayable)?;
        for (replayed, call) in replayable.iter().zip(&first_pass) {
            self.count(replayed, call);
        }
        self.second_pass(&replayable, &first_pass)?;
        Ok(())
    }

    /// Counts what cannot be replayed.
    fn select<'d>(&mut self, line: u64, decision: &'d Decision) -> Option<Replayable<'d, C>> {
        let skip = |tally: &mut Tally, why| {
            tally.skip(why);
            None
        };
        let Some(step) = C::step(&decision.steps) else { return skip(&mut self.tally, Skipped::HookNotAsked) };
        let Some(measured) = &step.measured else { return skip(&mut self.tally, Skipped::NothingMeasured) };
        if step.policy.measures != self.policy.measures() {
            return skip(&mut self.tally, Skipped::OtherMeasures);
        }
        Some(Replayable { line, decision, step, measured })
    }

    fn first_pass(&self, replayable: &[Replayable<'_, C>]) -> Result<Vec<MeteredCall<C::Verdict>>, ReplayError> {
        match self.instances {
            Instances::Fresh => {
                replayable.iter().map(|replayable| self.decide(&mut self.policy.instance()?, replayable)).collect()
            }
            Instances::Warm => self.on_one_instance(replayable, 1),
        }
    }

    /// On an instance that has decided before. A policy whose verdicts depend on nothing but its arguments gives the same
    /// ones.
    fn second_pass(
        &mut self,
        replayable: &[Replayable<'_, C>],
        first_pass: &[MeteredCall<C::Verdict>],
    ) -> Result<(), ReplayError> {
        let passes = match self.instances {
            Instances::Fresh => 1,
            Instances::Warm => 2,
        };
        let again = self.on_one_instance(replayable, passes)?;
        let differs = |(first, again): &(&MeteredCall<_>, &MeteredCall<_>)| first.verdict != again.verdict;
        self.tally.stateful += first_pass.iter().zip(&again).filter(differs).count() as u64;
        Ok(())
    }

    /// The calls of the last of some passes.
    fn on_one_instance(
        &self,
        replayable: &[Replayable<'_, C>],
        passes: u32,
    ) -> Result<Vec<MeteredCall<C::Verdict>>, ReplayError> {
        let mut instance = self.policy.instance()?;
        let mut calls = Vec::new();
        for _ in 0..passes {
            calls =
                replayable.iter().map(|replayable| self.decide(&mut instance, replayable)).collect::<Result<_, _>>()?;
        }
        Ok(calls)
    }

    fn decide(
        &self,
        instance: &mut MeteredInstance<'_, C>,
        Replayable { decision, step, measured, .. }: &Replayable<'_, C>,
    ) -> Result<MeteredCall<C::Verdict>, ReplayError> {
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(ReplayError::Deadline);
        }
        Ok(instance.decide(&decision.request, measured, &step.context)?)
    }

    fn count(&mut self, replayed: &Replayable<'_, C>, call: &MeteredCall<C::Verdict>) {
        let step = replayed.step;
        self.tally.add_policy(&step.policy);
        self.tally.add_fuel(call.fuel);
        self.tally.before.add::<C>(step.verdict.as_ref(), step.failure);
        self.tally.after.add::<C>(call.verdict.as_ref().ok(), call.verdict.as_ref().err().copied());
        if step.verdict.as_ref() != call.verdict.as_ref().ok() {
            self.tally.add_difference(|| Difference::new(replayed.line, replayed.decision, step, call), replayed.line);
        }
    }
}
