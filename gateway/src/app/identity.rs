//! One identity, stored in the log and in the ledger, shows that they belong together.
//!
//! The ledger gets it first, then the log. Only after a process has read it back from the log does the ledger record
//! that it was seen: from then on, a log without it is another log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::StartError;
use super::retry::retry;
use crate::background::{Background, TaskFailure};
use crate::coupon::{GroupNo, LogId, UnixMs, now_ms};
use crate::ledger::{Ledger, LogIdentity, OpenError};
use crate::log::Log;

/// Bounds how long gateways accept requests into a topic that was created again while they run.
const WATCH_EVERY: Duration = Duration::from_secs(60);
/// Kafka forgets the identity a week (`offsets.retention.minutes`) after the last process stopped. If no process has
/// seen it for a day, a log without it is accepted: no gateway has appended to another one meanwhile, so that one is
/// shorter than what the ledger has settled, and the start is refused for that.
const SEEN_MS_MAX: UnixMs = 24 * 3600 * 1000;
/// From the choice of an identity until it is in the log.
const STORED_WITHIN: Duration = Duration::from_secs(5);
const TASK: &str = "log identity";

/// The identity that log and ledger share, or a new one if neither has any.
///
/// # Errors
/// [`StartError::OtherLog`] or [`StartError::OtherLedger`] if they do not belong together.
pub(super) async fn compare(log: &dyn Log, ledger: &dyn Ledger) -> Result<LogId, StartError> {
    let mut found = read(log).await?;
    let mut expected = ledger.log_identity(GroupNo::FIRST).await?;
    if found.is_none()
        && let Some(LogIdentity { seen_at_ms, .. }) = expected
    {
        // Another process may have bound both since the first read, or may be about to: until the ledger records that the
        // identity was seen, it may belong to this log or to another one.
        found = if seen_at_ms.is_some() { read(log).await? } else { await_identity(log).await? };
        expected = ledger.log_identity(GroupNo::FIRST).await?;
    }
    match (expected, found) {
        (None, None) => Ok(LogId::random()),
        (None, Some(found)) => Err(StartError::OtherLedger(found)),
        (Some(expected), Some(found)) if expected.log_id == found => Ok(found),
        (Some(expected), None) if expected.seen_at_ms.is_none_or(|seen| now_ms() - seen > SEEN_MS_MAX) => {
            Ok(expected.log_id)
        }
        (Some(expected), found) => Err(StartError::OtherLog { expected: expected.log_id, found }),
    }
}

/// Stores the identity where it is missing. If several processes start at once, the ledger chooses one identity.
///
/// # Errors
/// [`StartError::OtherLog`] if another ledger stored its identity in the log meanwhile.
pub(super) async fn bind(log: &dyn Log, ledger: &dyn Ledger, proposed: LogId) -> Result<LogId, StartError> {
    let expected = ledger.propose_log(proposed).await?;
    if expected != proposed {
        await_identity(log).await?;
    } else if read(log).await?.is_none() {
        retry(|| log.set_identity(expected), |_| true).await?;
    }
    let found = read(log).await?;
    if found != Some(expected) {
        return Err(StartError::OtherLog { expected, found });
    }
    ledger.see_log(expected, now_ms()).await?;
    Ok(expected)
}

/// Another process proposed its identity first, and stores it in its log. If this is the same log, it appears here.
/// This process does not store it: an embedded log of its own would look like that of the other.
async fn await_identity(log: &dyn Log) -> Result<Option<LogId>, StartError> {
    let mut found = read(log).await?;
    let begun = Instant::now();
    while found.is_none() && begun.elapsed() < STORED_WITHIN {
        tokio::time::sleep(Duration::from_millis(100)).await;
        found = read(log).await?;
    }
    Ok(found)
}

/// A log that is open may still be electing the broker that keeps its identity.
async fn read(log: &dyn Log) -> Result<Option<LogId>, StartError> {
    Ok(retry(|| log.identity(), |_| true).await?)
}

/// Keeps the identity from expiring. Fails when the log is not the same any more, or when another process has started
/// with more ledger groups: this one would answer that their coupons do not exist.
pub(super) fn watch(log: Arc<dyn Log>, ledger: Arc<dyn Ledger>, log_id: LogId) -> Background {
    let run = async move {
        loop {
            tokio::time::sleep(WATCH_EVERY).await;
            match renew(&*log, &*ledger, log_id).await {
                Ok(()) => {}
                // The topic is another one, or the system has more ledger groups since.
                Err(error @ (StartError::OtherLog { .. } | StartError::Ledger(OpenError::MissingGroups { .. }))) => {
                    return Err(TaskFailure { task: TASK.into(), cause: error.to_string() });
                }
                Err(error) => tracing::warn!(%error, "identity of the log not renewed, retrying every minute"),
            }
        }
    };
    Background { name: TASK.into(), run: Box::pin(run) }
}

async fn renew(log: &dyn Log, ledger: &dyn Ledger, expected: LogId) -> Result<(), StartError> {
    let found = log.identity().await?;
    if found != Some(expected) {
        return Err(StartError::OtherLog { expected, found });
    }
    log.set_identity(expected).await?;
    ledger.see_log(expected, now_ms()).await?;
    Ok(ledger.join(GroupNo::FIRST).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Place;
    use crate::telemetry::Telemetry;
    use crate::{ledger, log};

    async fn open_log(folder: &tempfile::TempDir, name: &str) -> Arc<dyn Log> {
        let url = format!("embedded:{}", folder.path().join(name).display());
        log::open(&log::Options { url, ..Default::default() }, &Telemetry::new()).await.expect("opens").0
    }

    async fn open_ledger(folder: &tempfile::TempDir) -> Arc<dyn Ledger> {
        let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
        ledger::open(&ledger::Options { url, ..Default::default() }, 12).await.expect("opens")
    }

    #[tokio::test]
    async fn a_log_without_the_identity_is_accepted_only_if_no_process_has_seen_it_for_a_day() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (first, second) = (open_log(&folder, "log").await, open_log(&folder, "other").await);
        let ledger = open_ledger(&folder).await;
        let proposed = compare(&*first, &*ledger).await.expect("both are new");
        compare(&*second, &*ledger).await.expect("nothing is stored yet");
        let bound = bind(&*first, &*ledger, proposed).await.expect("binds");
        assert_eq!(compare(&*first, &*ledger).await.expect("belong together"), bound);
        assert!(matches!(compare(&*second, &*ledger).await, Err(StartError::OtherLog { found: None, .. })));
        ledger.see_log(bound, now_ms() - SEEN_MS_MAX - 1).await.expect("stores");
        assert_eq!(compare(&*second, &*ledger).await.expect("the identity has expired"), bound);
    }

    #[tokio::test]
    async fn of_two_logs_that_start_with_one_new_ledger_at_once_it_settles_one() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (first, second) = (open_log(&folder, "log").await, open_log(&folder, "other").await);
        let ledger = open_ledger(&folder).await;
        let proposed = compare(&*first, &*ledger).await.expect("both are new");
        let late = compare(&*second, &*ledger).await.expect("nothing is stored yet");
        bind(&*first, &*ledger, proposed).await.expect("binds");
        assert!(matches!(compare(&*second, &*ledger).await, Err(StartError::OtherLog { found: None, .. })));
        assert!(matches!(bind(&*second, &*ledger, late).await, Err(StartError::OtherLog { found: None, .. })));
        assert_eq!(second.identity().await.expect("reads"), None, "it may be bound to another ledger");
    }

    #[tokio::test]
    async fn a_log_is_not_bound_to_an_identity_that_another_process_is_storing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (first, second) = (open_log(&folder, "log").await, open_log(&folder, "other").await);
        let ledger = open_ledger(&folder).await;
        let proposed = compare(&*first, &*ledger).await.expect("both are new");
        ledger.propose_log(proposed).await.expect("proposes");
        let late = compare(&*second, &*ledger);
        let bind_first = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            bind(&*first, &*ledger, proposed).await
        };
        let (late, bound) = tokio::join!(late, bind_first);
        assert_eq!(bound.expect("binds"), proposed);
        assert!(matches!(late, Err(StartError::OtherLog { found: None, .. })), "{late:?}");
    }

    #[tokio::test]
    async fn a_process_that_proposes_late_finds_the_identity_in_the_log_that_both_share() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (log, ledger) = (open_log(&folder, "log").await, open_ledger(&folder).await);
        let proposed = compare(&*log, &*ledger).await.expect("both are new");
        ledger.propose_log(proposed).await.expect("proposes");
        let late = bind(&*log, &*ledger, LogId::random());
        let store = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            log.set_identity(proposed).await
        };
        let (bound, stored) = tokio::join!(late, store);
        stored.expect("stores");
        assert_eq!(bound.expect("binds"), proposed);
    }

    #[tokio::test]
    async fn an_identity_is_renewed_in_its_own_log_only() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (log, ledger) = (open_log(&folder, "log").await, open_ledger(&folder).await);
        let bound = bind(&*log, &*ledger, LogId::random()).await.expect("binds");
        ledger.see_log(bound, 5).await.expect("stores");
        renew(&*log, &*ledger, bound).await.expect("is the same log");
        let seen = ledger.log_identity(GroupNo::FIRST).await.expect("reads").and_then(|stored| stored.seen_at_ms);
        assert!(seen > Some(5), "{seen:?}");
        log.set_identity(LogId::random()).await.expect("stores");
        assert!(matches!(renew(&*log, &*ledger, bound).await, Err(StartError::OtherLog { found: Some(_), .. })));
    }

    #[tokio::test]
    async fn a_process_with_fewer_ledger_groups_than_another_one_fails() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (log, ledger) = (open_log(&folder, "log").await, open_ledger(&folder).await);
        let bound = bind(&*log, &*ledger, LogId::random()).await.expect("binds");
        renew(&*log, &*ledger, bound).await.expect("is alone");
        let grown = Place { group: GroupNo::FIRST, partitions_each: 12, groups_seen: 2 };
        ledger.store_place(grown).await.expect("another process has two groups");
        let failed = renew(&*log, &*ledger, bound).await;
        assert!(matches!(failed, Err(StartError::Ledger(OpenError::MissingGroups { .. }))), "{failed:?}");
    }
}
