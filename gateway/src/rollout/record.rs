//! A rollout as the ledger stores it, and how it moves on. It knows no clock and no I/O.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::guards::{Guards, Judgement, Reading, judge};
use super::percent::Percent;
use super::tally::Tallies;
use crate::counters::{Hook, PerHook};
use crate::coupon::{GenerationNo, UnixMs};
use crate::policy::{OwnHooks, Scope};

/// Numbers rollouts in the order in which they were started, from 1.
pub type RolloutId = u64;

/// A rollout lives for a few steps. An operator who changes the share all day long must not fill the ledger.
const EVENTS_MAX: usize = 100;

/// A change of some hooks on its way to all users.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    pub id: RolloutId,
    pub scope: Scope,
    /// The hooks that change, with their new policies.
    pub candidate: OwnHooks,
    /// The same hooks as they were.
    pub replaced: OwnHooks,
    pub status: Status,
    /// The share of the users that the candidate serves. With 0, it is only a shadow.
    pub canary_percent: Percent,
    /// Whether the candidate is also asked about requests that the active policies decide.
    pub shadow: bool,
    pub auto: Option<Auto>,
    pub guards: Guards,
    pub started_by: String,
    pub started_at_ms: UnixMs,
    /// How often the share changed. Tallies begin at 0 with each step.
    pub step_no: u32,
    pub step_since_ms: UnixMs,
    /// Oldest first.
    pub history: Vec<Event>,
    /// Orders the users.
    pub(super) salt: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Status {
    Running,
    /// It is decided that the candidate becomes the pipeline; some process publishes it.
    Promoting,
    Promoted {
        #[schema(value_type = u64)]
        generation: GenerationNo,
    },
    RolledBack {
        reason: String,
    },
    Aborted {
        by: String,
    },
}

impl Status {
    #[must_use]
    pub fn is_over(&self) -> bool {
        !matches!(self, Self::Running | Self::Promoting)
    }

    /// The word that the admin API and metrics use.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Promoting => "promoting",
            Self::Promoted { .. } => "promoted",
            Self::RolledBack { .. } => "rolled-back",
            Self::Aborted { .. } => "aborted",
        }
    }
}

/// Steps that follow by themselves while all guards are within their bounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Auto {
    /// The shares of the users, rising. After the last one, the candidate serves all.
    #[schema(value_type = Vec<f64>, min_items = 1, max_items = 20)]
    pub percents: Vec<Percent>,
    /// The shortest duration of a step.
    #[schema(minimum = 1, maximum = 604_800)]
    pub seconds: u64,
    /// The fewest decisions of each arm in a step.
    pub decisions: u64,
}

impl Default for Auto {
    fn default() -> Self {
        Self { percents: [1, 10, 50].map(Percent::of).into(), seconds: 300, decisions: 1000 }
    }
}

impl Auto {
    /// # Errors
    /// The key, and what was expected.
    pub fn check(&self) -> Result<(), String> {
        let is_rising = self.percents.windows(2).all(|pair| pair[0] < pair[1]);
        if self.percents.is_empty() || self.percents.len() > 20 || !is_rising || self.percents[0].is_zero() {
            return Err("auto.percents: expected 1 to 20 rising numbers above 0".to_owned());
        }
        if !(1..=86_400 * 7).contains(&self.seconds) {
            return Err(format!("auto.seconds: expected 1 to 604800, found {}", self.seconds));
        }
        Ok(())
    }

    /// The share after this one; `None` after the last.
    fn after(&self, percent: Percent) -> Option<Percent> {
        self.percents.iter().copied().find(|next| *next > percent)
    }
}

/// A line of a rollout's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    #[schema(value_type = i64)]
    pub at_ms: UnixMs,
    /// The name of an admin token, `local` for a call without one, or `gateway` and its id.
    pub who: String,
    /// In words: what happened, and why.
    pub what: String,
    /// What the guards found at that moment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measured: Vec<Reading>,
}

/// What follows from what was measured.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Next {
    Stay,
    RollBack(String),
    Canary(Percent),
    Promote,
}

impl Rollout {
    #[must_use]
    pub fn changed(&self) -> PerHook<bool> {
        self.candidate.as_ref().map(Option::is_some)
    }

    /// What the guards find. The canary is judged if it serves anybody, the shadow otherwise.
    pub(super) fn judge(&self, tallies: &Tallies) -> Vec<Reading> {
        judge(&self.guards, &self.changed(), !self.canary_percent.is_zero(), tallies)
    }

    /// Of the arms of the changed hooks.
    pub(super) fn fewest_decisions(&self, tallies: &Tallies) -> u64 {
        let is_shadow = self.canary_percent.is_zero();
        let candidate = |hook| if is_shadow { &tallies.shadow[hook].decided } else { &tallies.canary[hook] };
        let changed = self.changed();
        let hooks = Hook::ALL.into_iter().filter(|hook| changed[*hook]);
        hooks.map(|hook| candidate(hook).decisions.min(tallies.active[hook].decisions)).min().unwrap_or(0)
    }

    /// What follows by itself. `decisions` is the smallest number that an arm of a changed hook has made in this step.
    pub(super) fn next(&self, now: UnixMs, readings: &[Reading], decisions: u64) -> Next {
        if self.status != Status::Running {
            return Next::Stay;
        }
        if let Some(beyond) = readings.iter().find(|reading| reading.judgement == Judgement::Beyond) {
            return Next::RollBack(beyond.describe());
        }
        let Some(auto) = &self.auto else { return Next::Stay };
        let is_judged = !readings.is_empty() && readings.iter().all(|reading| reading.judgement == Judgement::Within);
        let is_long_enough = now - self.step_since_ms >= auto.seconds.saturating_mul(1000).cast_signed();
        if !is_judged || !is_long_enough || decisions < auto.decisions {
            return Next::Stay;
        }
        auto.after(self.canary_percent).map_or(Next::Promote, Next::Canary)
    }

    /// A step to another share.
    pub(super) fn step(&mut self, percent: Percent, event: Event) {
        self.canary_percent = percent;
        self.step_no += 1;
        self.step_since_ms = event.at_ms;
        self.record(event);
    }

    pub(super) fn set_status(&mut self, status: Status, event: Event) {
        self.status = status;
        self.record(event);
    }

    fn record(&mut self, event: Event) {
        if self.history.len() == EVENTS_MAX {
            // The first ones say what was checked, and by whom it was started.
            self.history.remove(EVENTS_MAX / 2);
        }
        self.history.push(event);
    }
}

#[cfg(test)]
mod tests;
