//! What other processes changed, read from the ledger they share: how far partitions are settled, campaigns that
//! changed, and the stock of those that may accept requests.
//!
//! A process that has the ledger to itself runs no poller.

use std::sync::Arc;
use std::time::Duration;

use crate::background::{Background, fault_point};
use crate::campaign_cache::CampaignCache;
use crate::coupon::PartitionNo;
use crate::ledger::{Ledger, LedgerError};
use crate::log::Log;
use crate::settlement::Progress;

/// Bounds how late a waiting client learns its outcome, and keeps an operator's change well within the two
/// seconds that are promised.
pub const POLL_EVERY: Duration = Duration::from_millis(250);

/// Keeps a process up to date with the others.
pub struct LedgerPoller {
    ledger: Arc<dyn Ledger>,
    log: Arc<dyn Log>,
    campaigns: Arc<CampaignCache>,
    progress: Arc<Progress>,
}

impl LedgerPoller {
    #[must_use]
    pub fn background(
        ledger: Arc<dyn Ledger>,
        log: Arc<dyn Log>,
        campaigns: Arc<CampaignCache>,
        progress: Arc<Progress>,
    ) -> Background {
        Background::new("ledger poller", Self { ledger, log, campaigns, progress }.run())
    }

    async fn run(self) {
        let mut is_logged = false;
        let mut ticks = tokio::time::interval(POLL_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            fault_point("ledger poller");
            match self.poll().await {
                Ok(()) => is_logged = false,
                Err(error) if !is_logged => {
                    tracing::warn!(%error, "ledger not polled; changes by other processes are not seen until it answers");
                    is_logged = true;
                }
                Err(_) => {}
            }
        }
    }

    async fn poll(&self) -> Result<(), LedgerError> {
        for (partition, next_offset) in self.ledger.next_offsets().await? {
            self.progress.catch_up(partition, next_offset);
        }
        self.campaigns.refresh().await?;
        for cached in self.campaigns.live() {
            for shard in &cached.shards {
                let partition = PartitionNo::of(cached.campaign.coupon_id, shard.shard_no, self.log.partitions());
                let settled = self.progress.next_offset(partition);
                shard.bound_unsettled(self.log.end_offset(partition).saturating_sub(settled));
            }
        }
        Ok(())
    }
}
