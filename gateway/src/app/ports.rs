//! Opens the log, the ledger and the counters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::StartError;
use super::retry::retry;
use crate::background::Background;
use crate::config::{Config, Role};
use crate::counters::{self, Counters};
use crate::coupon::{GroupLayout, GroupNo, PartitionNo};
use crate::ledger::{self, Ledger};
use crate::log::{self, Log};
use crate::policy::Pipelines;
use crate::settlement::Progress;
use crate::telemetry::Telemetry;

/// The log reports records that other processes appended within this time, also after a leader election.
const END_OFFSET_KNOWN_WITHIN: Duration = Duration::from_secs(5);

/// What a system runs on.
pub struct Ports {
    pub log: Arc<dyn Log>,
    pub ledger: Arc<dyn Ledger>,
    pub counters: Arc<dyn Counters>,
    /// Shared by the ports and the system: ports count from the moment they are opened.
    pub telemetry: Telemetry,
    /// The tasks that the ports need while they are open.
    pub background: Vec<Background>,
}

/// With a ledger each, two processes that start at the same time would both grant the whole stock.
///
/// # Errors
/// [`StartError::UnsharedLedger`]
pub(super) fn check_shared(config: &Config) -> Result<(), StartError> {
    if log::is_shared(&config.log) && !ledger::is_shared(&config.ledger) {
        return Err(StartError::UnsharedLedger { url: config.ledger.redacted().url });
    }
    Ok(())
}

impl Ports {
    /// Opens what the configuration names, retrying while a dependency is unreachable. Creates no file but compiled
    /// components if the first pipeline of a new ledger cannot be loaded.
    ///
    /// # Errors
    /// [`StartError`] when an option is invalid or a dependency rejects this process. A retry would not help.
    pub async fn open(config: &Config) -> Result<Self, StartError> {
        check_shared(config)?;
        let telemetry = Telemetry::new();
        if config.role != Role::Consumer && ledger::is_new(&config.ledger) {
            // A recorded pipeline has its components in the ledger. A new ledger takes them from the folder.
            Pipelines::check(&config.policies, &config.pipeline, &telemetry).await?;
        }
        let whole_log = config.whole_log();
        let (log, mut background) = retry(|| log::open(&whole_log, &telemetry), log::OpenError::is_transient).await?;
        let open_ledger = || ledger::open(&config.ledger, config.log.partitions);
        let ledger = retry(open_ledger, ledger::OpenError::is_transient).await?;
        let (counters, counters_task) = counters::open(&config.counters, &telemetry).await?;
        background.extend(counters_task);
        Ok(Self { log, ledger, counters, telemetry, background })
    }

    /// Which partitions of the log belong to which ledger group.
    pub(super) fn layout(&self) -> GroupLayout {
        let groups = self.ledger.groups();
        GroupLayout::new(groups, (self.log.partitions() / groups).max(1))
    }
}

/// Reads how far the partitions of a group are settled. A ledger that is ahead of the log belongs to another log.
pub(super) async fn read_progress(
    log: &dyn Log,
    ledger: &dyn Ledger,
    group: GroupNo,
    progress: &Progress,
) -> Result<(), StartError> {
    let settled_offsets = ledger.next_offsets(group).await?;
    for (partition, settled) in settled_offsets.range(..PartitionNo(log.partitions())) {
        let (partition, settled) = (*partition, *settled);
        let begun = Instant::now();
        while settled > log.end_offset(partition) {
            match log.fresh_end_offset(partition).await {
                Some(end) if settled > end && begun.elapsed() > END_OFFSET_KNOWN_WITHIN => {
                    return Err(StartError::ShortLog { partition, settled, end });
                }
                Some(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                None => {
                    tracing::warn!(%partition, "end offset unknown: log and ledger not compared");
                    break;
                }
            }
        }
        progress.catch_up(partition, settled);
    }
    Ok(())
}
