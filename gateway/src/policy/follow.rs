//! Follows the ledger: activates the pipeline that another process recorded, and one that could not be loaded before.
//!
//! A task of its own, because a policy may take a second to configure itself, and stock and outcomes must not wait for
//! it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::component::ResolvedPipeline;
use super::error::{ChangeError, NotLoaded};
use super::generation::Generation;
use super::loader::Trial;
use super::pipelines::Pipelines;
use super::records::{Recorded, RecordedGeneration};
use super::state::State;
use crate::background::Background;
use crate::ledger::LedgerError;

/// Keeps an operator's change well within the two seconds that are promised.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Pause before a generation that could not be loaded is tried again; it doubles with each further failure.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

impl Pipelines {
    /// Keeps this process on the newest generation in the ledger.
    pub fn follow(self: &Arc<Self>) -> Background {
        Background::new("pipeline follower", Follower::new(Arc::clone(self)).run())
    }
}

struct Follower {
    pipelines: Arc<Pipelines>,
    backoff: Backoff,
    is_logged: bool,
}

/// When a generation that could not be loaded is tried again.
struct Backoff {
    retry_at: Instant,
    /// Until the attempt after the next one.
    pause: Duration,
}

impl Backoff {
    fn new(now: Instant) -> Self {
        Self { retry_at: now + RETRY_AFTER_MIN, pause: RETRY_AFTER_MIN }
    }

    fn is_over(&self, now: Instant) -> bool {
        now >= self.retry_at
    }

    /// An attempt was made.
    fn begin(&mut self, now: Instant) {
        self.retry_at = now + self.pause;
        self.pause = (self.pause * 2).min(RETRY_AFTER_MAX);
    }
}

impl Follower {
    fn new(pipelines: Arc<Pipelines>) -> Self {
        Self { pipelines, backoff: Backoff::new(Instant::now()), is_logged: false }
    }

    async fn run(mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match self.look().await {
                Ok(()) => self.is_logged = false,
                Err(error) if !self.is_logged => {
                    tracing::warn!(%error, "pipelines not read; changes by other processes are not seen until the ledger answers");
                    self.is_logged = true;
                }
                Err(_) => {}
            }
        }
    }

    async fn look(&mut self) -> Result<(), LedgerError> {
        if self.pipelines.is_behind().await? {
            self.backoff = Backoff::new(Instant::now());
        } else if self.pipelines.not_loaded().is_none() || !self.backoff.is_over(Instant::now()) {
            return Ok(());
        }
        self.pipelines.load_newest().await?;
        self.backoff.begin(Instant::now());
        Ok(())
    }
}

impl Pipelines {
    /// Whether the ledger has a generation that this process has not tried to load.
    pub(super) async fn is_behind(&self) -> Result<bool, LedgerError> {
        if !self.ledger.is_shared() {
            return Ok(false);
        }
        // Reading one row is cheap; the records and components are read only if it is new.
        let newest = self.ledger.generations(1).await?;
        Ok(newest.first().is_some_and(|row| row.number > self.newest()))
    }

    async fn load_newest(&self) -> Result<(), LedgerError> {
        let mut state = self.state.lock().await;
        self.catch_up(&mut state).await
    }

    /// Loads the newest generation in the ledger, unless it is active.
    pub(super) async fn catch_up(&self, state: &mut State) -> Result<(), LedgerError> {
        let recorded = Recorded::read(&*self.ledger).await?;
        // A change of this process may have finished while the lock was awaited.
        if recorded.number <= self.current().number() {
            return Ok(());
        }
        let loaded = match recorded.newest_first.first() {
            Some(newest) if newest.number == recorded.number => self.load_recorded(newest).await,
            _ => Err(ChangeError::IncompleteRecord),
        };
        match loaded {
            Ok((generation, active)) => {
                self.history.learn(recorded.history());
                let changed = state.active.changes_to(&active);
                (state.active, state.rollback) = (active, recorded.rollback);
                self.activate(generation);
                tracing::info!(generation = recorded.number, changed, "pipeline of the ledger loaded");
            }
            Err(ChangeError::Ledger(error)) => return Err(error),
            Err(error) => {
                let not_loaded = NotLoaded { generation: recorded.number, error: error.to_string() };
                if self.not_loaded().is_none_or(|known| *known != not_loaded) {
                    let generation = not_loaded.generation;
                    tracing::error!(generation, %error, "newest generation not loaded; the active one still decides");
                }
                self.set_not_loaded(not_loaded);
            }
        }
        Ok(())
    }

    async fn load_recorded(&self, newest: &RecordedGeneration) -> Result<(Generation, ResolvedPipeline), ChangeError> {
        let resolved = newest.pipeline().resolve(&*self.ledger).await?.ok_or(ChangeError::IncompleteRecord)?;
        Ok((self.loader.load(newest.number, &resolved, Trial::Skip, Some(self.current())).await?, resolved))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_back_off_to_one_a_minute() {
        let begun = Instant::now();
        let mut backoff = Backoff::new(begun);
        let mut attempts = Vec::new();
        for seconds in 0..200 {
            let now = begun + Duration::from_secs(seconds);
            if backoff.is_over(now) {
                attempts.push(seconds);
                backoff.begin(now);
            }
        }
        assert_eq!(attempts, [1, 2, 4, 8, 16, 32, 64, 124, 184]);
    }
}
