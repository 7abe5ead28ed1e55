//! A circuit breaker for the reads that a client waits for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::LedgerError;

/// A read takes a few milliseconds. At 1,000 requests per second, as many wait when the ledger stops to answer: far
/// fewer than may be in flight.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// How long reads fail at once after one has failed. It is also the `Retry-After` that the client gets.
const FAILURE_KEPT: Duration = Duration::from_secs(1);
const STEP: &str = "read the ledger";

/// After a read that failed or took too long, all others fail at once, so that they hold no place of a request while
/// the ledger is unreachable. From time to time, one of them tries again.
#[derive(Debug, Default)]
pub struct ReadBreaker {
    failing_until: Mutex<Option<Instant>>,
}

impl ReadBreaker {
    /// Waits at most a second for the read.
    ///
    /// # Errors
    /// That of the read, or [`LedgerError::Transient`] without reading.
    pub async fn read<T>(&self, read: impl Future<Output = Result<T, LedgerError>>) -> Result<T, LedgerError> {
        self.begin()?;
        let answered = match tokio::time::timeout(ANSWER_MAX, read).await {
            Ok(answered) => answered,
            Err(elapsed) => Err(LedgerError::Transient { step: STEP, source: elapsed.into() }),
        };
        let has_failed = matches!(answered, Err(LedgerError::Transient { .. }));
        *self.lock() = has_failed.then(|| Instant::now() + FAILURE_KEPT);
        answered
    }

    fn begin(&self) -> Result<(), LedgerError> {
        let mut failing_until = self.lock();
        let now = Instant::now();
        match *failing_until {
            Some(until) if now < until => {
                Err(LedgerError::Transient { step: STEP, source: "a read failed less than a second ago".into() })
            }
            Some(_) => {
                // This call tries again. The others go on failing meanwhile, also if its client hangs up.
                *failing_until = Some(now + ANSWER_MAX);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.failing_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn failure() -> LedgerError {
        LedgerError::Transient { step: STEP, source: "gone".into() }
    }

    /// A read that must not happen.
    async fn forbidden() -> Result<(), LedgerError> {
        panic!("the ledger was read")
    }

    #[tokio::test]
    async fn after_a_failure_no_read_is_tried_until_the_failure_is_forgotten() {
        let breaker = ReadBreaker::default();
        breaker.read(ready(Ok(()))).await.expect("answers");
        breaker.read(ready(Err::<(), _>(failure()))).await.expect_err("fails");
        breaker.read(forbidden()).await.expect_err("fails at once");
        *breaker.lock() = Some(Instant::now());
        breaker.read(ready(Ok(()))).await.expect("answers again");
        breaker.read(ready(Ok(()))).await.expect("answers");
    }

    #[tokio::test]
    async fn one_read_tries_again_while_the_others_fail_also_if_its_client_hangs_up() {
        let breaker = ReadBreaker::default();
        *breaker.lock() = Some(Instant::now());
        let retry = breaker.read(pending::<Result<(), LedgerError>>());
        tokio::time::timeout(Duration::from_millis(1), retry).await.expect_err("no answer");
        breaker.read(forbidden()).await.expect_err("fails at once");
    }

    #[tokio::test]
    async fn a_read_without_an_answer_is_a_failure() {
        let breaker = ReadBreaker::default();
        breaker.read(pending::<Result<(), LedgerError>>()).await.expect_err("no answer");
        breaker.read(forbidden()).await.expect_err("fails at once");
    }

    #[tokio::test]
    async fn data_that_cannot_be_read_says_nothing_about_other_reads() {
        let breaker = ReadBreaker::default();
        let invalid = LedgerError::Permanent { step: STEP, source: "not an id".into() };
        breaker.read(ready(Err::<(), _>(invalid))).await.expect_err("fails");
        breaker.read(ready(Ok(()))).await.expect("answers");
    }
}
