//! The check by replay: what would the candidate have decided about the newest recorded decisions?

use std::collections::VecDeque;
use std::io::{self, Cursor as Bytes};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::RolloutError;
use crate::counters::Hook;
use crate::decisions::{Cursor, Filter, Reader, Traced};
use crate::policy::{Load, PinnedHook, Pipelines, Scope, Shard, Usage};
use crate::replay::{Instances, Report, replay};

/// How many of the newest decisions are replayed: some seconds at most.
const DECISIONS_MAX: usize = 10_000;
/// A start shares the processors with requests.
const THREADS: usize = 1;
/// For each hook. A candidate that loops in every call would otherwise take minutes, for an answer that nobody awaits.
const REPLAY_MAX: Duration = Duration::from_secs(10);

/// How the candidate must do on the recorded decisions of the gateway that starts the rollout.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ReplayCheck {
    /// The largest share of decisions that may change, 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    pub changed: f64,
    /// The largest share of decisions in which the candidate may fail.
    #[schema(minimum = 0, maximum = 1)]
    pub failures: f64,
    /// Without this many recorded decisions, the rollout is not started.
    pub decisions_min: u64,
}

impl Default for ReplayCheck {
    fn default() -> Self {
        Self { changed: 1.0, failures: 0.005, decisions_min: 0 }
    }
}

impl ReplayCheck {
    /// Replays the decisions of a hook, as [`newest`] reads them. Answers in words.
    pub(super) async fn run(
        &self,
        hook: Hook,
        candidate: &PinnedHook,
        pipelines: &Pipelines,
        lines: Arc<[u8]>,
    ) -> Result<String, RolloutError> {
        let report = match hook {
            Hook::RateShaper => replay_with::<Load>(lines, candidate, pipelines).await,
            Hook::UserLimit => replay_with::<Usage>(lines, candidate, pipelines).await,
            Hook::ShardPicker => replay_with::<Vec<Shard>>(lines, candidate, pipelines).await,
        }?;
        self.judge(&report)
    }

    fn judge(&self, report: &Report) -> Result<String, RolloutError> {
        let failed: u64 = report.failures.iter().map(|row| row.after).sum();
        let Report { hook, decisions, changed, .. } = report;
        let hook = hook.as_str();
        let found = format!("{hook}: of {decisions} recorded decisions, {changed} change and {failed} fail");
        let share = |count: u64| count as f64 / (*decisions).max(1) as f64;
        if *decisions < self.decisions_min {
            Err(RolloutError::Replay(format!(
                "{hook}: found {decisions} recorded decisions, expected {}: record more of them (decisions.sample)",
                self.decisions_min
            )))
        } else if share(*changed) > self.changed || share(failed) > self.failures {
            let (changed, failures) = (self.changed, self.failures);
            Err(RolloutError::Replay(format!("{found}; replay.changed is {changed} and replay.failures {failures}")))
        } else {
            Ok(found)
        }
    }
}

/// The newest recorded decisions of a scope, oldest first.
pub(super) async fn newest(decisions: &Reader, scope: Scope) -> Result<Arc<[u8]>, RolloutError> {
    let decisions = decisions.clone();
    let filter = Filter { coupon: scope.coupon(), ..Filter::default() };
    let read = move || -> io::Result<Arc<[u8]>> {
        let (mut cursor, mut newest) = (Cursor::default(), VecDeque::new());
        loop {
            let (lines, next) = decisions.next(&filter, &cursor)?;
            if next == cursor {
                return Ok(newest.into_iter().flatten().collect());
            }
            newest.extend(lines.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec));
            let surplus = newest.len().saturating_sub(DECISIONS_MAX);
            newest.drain(..surplus);
            cursor = next;
        }
    };
    let read = tokio::task::spawn_blocking(read).await.map_err(|error| RolloutError::Replay(error.to_string()))?;
    read.map_err(|error| RolloutError::Replay(format!("read the recorded decisions: {error}")))
}

async fn replay_with<C: Traced>(
    lines: Arc<[u8]>,
    candidate: &PinnedHook,
    pipelines: &Pipelines,
) -> Result<Report, RolloutError> {
    let policy = pipelines.load_metered::<C>(candidate).await?;
    let work = move || {
        let deadline = Instant::now() + REPLAY_MAX;
        replay(Bytes::new(lines), &policy, Instances::Warm, THREADS, Some(deadline))
    };
    let replayed = tokio::task::spawn_blocking(work).await.map_err(|error| RolloutError::Replay(error.to_string()))?;
    replayed.map_err(|error| RolloutError::Replay(error.to_string()))
}
