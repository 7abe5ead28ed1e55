//! Opens the log, the ledger and the counters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::StartError;
use super::retry::retry;
use crate::background::Background;
use crate::config::{Config, Role};
use crate::counters::{self, Counters};
use crate::coupon::PartitionNo;
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

impl Ports {
    /// Opens what the configuration names, retrying while a dependency is unreachable. Creates no file but compiled
    /// components if the first pipeline of a new ledger cannot be loaded.
    ///
    /// # Errors
    /// [`StartError`] when an option is invalid or a dependency rejects this process. A retry would not help.
    pub async fn open(config: &Config) -> Result<Self, StartError> {
        let telemetry = Telemetry::new();
        if config.role != Role::Consumer && ledger::is_new(&config.ledger) {
            // A recorded pipeline has its components in the ledger. A new ledger takes them from the folder.
            Pipelines::check(&config.policies, &config.pipeline, &telemetry).await?;
        }
        let (log, mut background) = retry(|| log::open(&config.log, &telemetry), log::OpenError::is_transient).await?;
        let ledger = retry(|| ledger::open(&config.ledger), ledger::OpenError::is_transient).await?;
        let (counters, counters_task) = counters::open(&config.counters, &telemetry).await?;
        background.extend(counters_task);
        Ok(Self { log, ledger, counters, telemetry, background })
    }

    /// How far each partition is settled. A ledger that is ahead of the log belongs to another log.
    pub(super) async fn progress(&self) -> Result<Progress, StartError> {
        let mut next_offsets = Vec::new();
        let settled_offsets = self.ledger.next_offsets().await?;
        for partition in (0..self.log.partitions()).map(PartitionNo) {
            let settled = settled_offsets.get(&partition).copied().unwrap_or(0);
            let begun = Instant::now();
            while settled > self.log.end_offset(partition) {
                match self.log.fresh_end_offset(partition).await {
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
            next_offsets.push(settled);
        }
        Ok(Progress::new(next_offsets))
    }
}
