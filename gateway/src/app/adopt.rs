//! Moving a ledger to another log.

use std::sync::Arc;

use super::error::StartError;
use super::identity;
use crate::config::Config;
use crate::coupon::{GroupLayout, GroupNo, LogId, Offset, PartitionNo, now_ms};
use crate::ledger::{self, Ledger, LogIdentity};
use crate::log::{self, Gap, Log};
use crate::telemetry::Telemetry;

/// The log that the ledger settled until now.
#[derive(Debug, Clone, Copy)]
pub enum OldLog<'a> {
    /// It must be settled completely.
    At(&'a str),
    /// Its unsettled requests are given up.
    Lost,
}

/// Why a ledger was not moved to another log.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(
        "the ledger settles this log already: start sluice; if the log was restored and lacks records that the ledger \
         has settled, give --lost"
    )]
    Same,
    #[error("--from: {url} is not the log that the ledger settles: name that log, or give --lost if it is lost")]
    NotTheOldLog { url: String },
    #[error(
        "--from: partition {partition} ends at offset {end} and is settled up to {settled}: start sluice on the old \
         log until all of it is settled"
    )]
    Unsettled {
        partition: PartitionNo,
        /// The first offset that the ledger has not settled.
        settled: Offset,
        end: Offset,
    },
}

/// Binds the ledger to the log of the configuration, and continues at its oldest records. If the ledger settles this log
/// already and the log lost what it has settled, continues where the log ends. No process may run meanwhile. Returns the
/// identity of the log.
///
/// # Errors
/// [`AdoptError`]. The ledger is unchanged, or the next start completes the move.
pub async fn adopt(config: &Config, old: OldLog<'_>) -> Result<LogId, AdoptError> {
    let ledger = ledger::open_unverified(&config.ledger, config.log.partitions).await.map_err(StartError::from)?;
    let log = open(&config.whole_log()).await?;
    let layout = GroupLayout::new(ledger.groups(), config.log.partitions);
    let bound = ledger.log_identity(GroupNo::FIRST).await.map_err(StartError::from)?;
    match log.identity().await.map_err(StartError::from)? {
        Some(found) if bound.is_some_and(|bound| bound.log_id == found) => {
            if !matches!(old, OldLog::Lost) {
                return Err(AdoptError::Same);
            }
            continue_at_end(&*log, &*ledger, layout, found).await?;
            return close(&*log, &*ledger, found).await;
        }
        Some(found) => return Err(StartError::OtherLedger(found).into()),
        None => {}
    }
    if let OldLog::At(url) = old {
        check_settled(config, url, &*ledger, bound).await?;
    }
    let adopted = LogId::random();
    // The first group last: until then, a repetition of a move that was cut short knows the old log.
    for group in layout.groups().collect::<Vec<_>>().into_iter().rev() {
        adopt_in(group, layout, &*log, &*ledger, adopted).await?;
    }
    identity::bind(&*log, &*ledger, adopted).await?;
    close(&*log, &*ledger, adopted).await
}

async fn close(log: &dyn Log, ledger: &dyn Ledger, log_id: LogId) -> Result<LogId, AdoptError> {
    log.close().await;
    ledger.close().await;
    Ok(log_id)
}

/// The log was restored from a backup, and lacks records that the ledger has settled: new records get their offsets, so
/// these partitions continue where the log ends. The others continue where they are.
///
/// # Errors
/// [`AdoptError::Same`] if no partition lacks any.
async fn continue_at_end(
    log: &dyn Log,
    ledger: &dyn Ledger,
    layout: GroupLayout,
    log_id: LogId,
) -> Result<(), AdoptError> {
    let mut is_short = false;
    for group in layout.groups() {
        let partitions = layout.partitions_of(group);
        let (mut settled_offsets, mut next_offsets) = (Vec::new(), Vec::new());
        for partition in partitions.clone() {
            let settled = ledger.next_offset(partition).await.map_err(StartError::from)?;
            settled_offsets.push(settled);
            next_offsets.push(match log.gap(partition, settled).await.map_err(StartError::from)? {
                Some(Gap::Short { end, .. }) => end,
                _ => settled,
            });
        }
        if next_offsets != settled_offsets {
            is_short = true;
            let first = partitions.min().unwrap_or(PartitionNo(0));
            ledger.adopt_log(group, log_id, first, &next_offsets, now_ms()).await.map_err(StartError::from)?;
        }
    }
    if is_short { Ok(()) } else { Err(AdoptError::Same) }
}

async fn adopt_in(
    group: GroupNo,
    layout: GroupLayout,
    log: &dyn Log,
    ledger: &dyn Ledger,
    log_id: LogId,
) -> Result<(), StartError> {
    let partitions = layout.partitions_of(group);
    let mut next_offsets = Vec::new();
    for partition in partitions.clone() {
        next_offsets.push(oldest(log, partition).await?);
    }
    let first = partitions.min().unwrap_or(PartitionNo(0));
    Ok(ledger.adopt_log(group, log_id, first, &next_offsets, now_ms()).await?)
}

/// Only its reading side: the tasks that append are not started.
async fn open(options: &log::Options) -> Result<Arc<dyn Log>, StartError> {
    let (log, _) = log::open(options, &Telemetry::new()).await?;
    Ok(log)
}

async fn check_settled(
    config: &Config,
    url: &str,
    ledger: &dyn Ledger,
    bound: Option<LogIdentity>,
) -> Result<(), AdoptError> {
    let old = open(&log::Options { url: url.to_owned(), ..config.whole_log() }).await?;
    if old.identity().await.map_err(StartError::from)? != bound.map(|bound| bound.log_id) {
        return Err(AdoptError::NotTheOldLog { url: url.to_owned() });
    }
    let layout = GroupLayout::new(ledger.groups(), config.log.partitions);
    for group in layout.groups() {
        let identity = ledger.log_identity(group).await.map_err(StartError::from)?;
        // A group that settles another log was moved by an earlier attempt.
        if identity.map(|identity| identity.log_id) == bound.map(|bound| bound.log_id) {
            check_partitions(layout.partitions_of(group), &*old, ledger).await?;
        }
    }
    old.close().await;
    Ok(())
}

async fn check_partitions(
    partitions: impl Iterator<Item = PartitionNo>,
    old: &dyn Log,
    ledger: &dyn Ledger,
) -> Result<(), AdoptError> {
    for partition in partitions {
        let settled = ledger.next_offset(partition).await.map_err(StartError::from)?;
        // Read now: the end that the log knows since it was opened is 0 for a partition that had no leader.
        let end = match old.gap(partition, settled + 1).await.map_err(StartError::from)? {
            Some(Gap::Short { end, .. }) => end,
            _ => old.end_offset(partition).max(settled + 1),
        };
        if settled != end {
            return Err(AdoptError::Unsettled { partition, settled, end });
        }
    }
    Ok(())
}

async fn oldest(log: &dyn Log, partition: PartitionNo) -> Result<Offset, StartError> {
    match log.gap(partition, 0).await? {
        Some(Gap::Missing { to, .. }) => Ok(to),
        _ => Ok(0),
    }
}
