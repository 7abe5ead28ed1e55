//! The steps of a request while it is being decided.

use std::sync::Arc;

use super::decision::{Outcome, Step, Steps, Traced};
use crate::counters::{Hook, Measured, PerMeasure};
use crate::policy::{ConfiguredPolicy, Decided};

/// Collects the steps of a sampled request. It moves and allocates nothing for a request that is not sampled.
#[derive(Debug, Default)]
pub struct Trace {
    is_kept_if_accepted: bool,
    is_kept_if_refused: bool,
    pub(super) steps: Steps,
}

impl Trace {
    pub(super) fn new(is_kept_if: impl Fn(Outcome) -> bool) -> Self {
        Self {
            is_kept_if_accepted: is_kept_if(Outcome::Accepted),
            is_kept_if_refused: is_kept_if(Outcome::Refused),
            steps: Steps::default(),
        }
    }

    /// Adds what a hook was given and what it decided. `context` is called only for a step that is kept.
    pub fn add<C: Traced>(
        &mut self,
        policy: &Arc<ConfiguredPolicy>,
        measured: Option<PerMeasure<Measured>>,
        context: impl FnOnce() -> C,
        decided: &Decided<C::Verdict>,
    ) {
        let passes = decided.verdict.as_ref().is_ok_and(|verdict| C::rejection(verdict).is_none());
        // Unless it is the last one, a request that passes may still be refused.
        let may_be_refused = !passes || C::HOOK != Hook::ShardPicker;
        if (self.is_kept_if_accepted && passes) || (self.is_kept_if_refused && may_be_refused) {
            *C::step_mut(&mut self.steps) = Some(Step::new(policy, measured, context(), decided));
        }
    }

    /// `None` unless a request with these steps is sampled.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.steps.outcome().filter(|outcome| match outcome {
            Outcome::Accepted => self.is_kept_if_accepted,
            Outcome::Refused => self.is_kept_if_refused,
        })
    }
}
