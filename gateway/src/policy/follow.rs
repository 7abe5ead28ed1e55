//! Follows the ledger: activates the pipelines that other processes recorded, and those that could not be loaded before.
//!
//! A task of its own, because a policy may take a second to configure itself, and stock and outcomes must not wait for
//! it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pipelines::Pipelines;
use crate::background::Background;
use crate::ledger::LedgerError;

/// Keeps an operator's change well within the two seconds that are promised.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Pause before a generation that could not be loaded is tried again; it doubles with each further failure.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

impl Pipelines {
    /// Keeps this process on the newest generations in the ledger.
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
        self.pipelines.forget_campaigns_that_are_over().await;
        if self.pipelines.is_behind().await? {
            self.pipelines.load_newest().await?;
            self.backoff = Backoff::new(Instant::now());
        } else if self.pipelines.lacks_a_pipeline() && self.backoff.is_over(Instant::now()) {
            self.pipelines.retry().await?;
            self.backoff.begin(Instant::now());
        }
        Ok(())
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
