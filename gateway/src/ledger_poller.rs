//! What other processes changed, read from the ledger they share: how far partitions are settled, campaigns that
//! changed, and the stock of those that may accept requests.
//!
//! Each ledger group has a poller of its own, which waits for no other group. A process that has the ledger to itself
//! runs none: once a minute, its campaign cache refreshes.

use std::sync::Arc;
use std::time::Duration;

use crate::background::{Background, fault_point};
use crate::campaign_cache::CampaignCache;
use crate::coupon::GroupNo;
use crate::ledger::{Ledger, LedgerError};
use crate::log::Log;
use crate::settlement::Progress;
use crate::telemetry::{LedgerGroupSeen, Telemetry};

/// Bounds how late a waiting client learns its outcome, and keeps an operator's change well within the two
/// seconds that are promised.
pub const POLL_EVERY: Duration = Duration::from_millis(250);

/// Keeps a process up to date with the others, for one ledger group.
pub struct LedgerPoller {
    pub ledger: Arc<dyn Ledger>,
    pub log: Arc<dyn Log>,
    pub campaigns: Arc<CampaignCache>,
    pub progress: Arc<Progress>,
    pub telemetry: Telemetry,
    pub group: GroupNo,
}

impl LedgerPoller {
    #[must_use]
    pub fn background(self) -> Background {
        Background::new(self.group.task("ledger poller"), self.run())
    }

    async fn run(self) {
        let mut is_logged = false;
        let mut ticks = tokio::time::interval(POLL_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            fault_point("ledger poller");
            let polled = self.poll().await;
            self.telemetry.emit(LedgerGroupSeen { group: self.group, is_reachable: polled.is_ok() });
            match polled {
                Ok(()) => is_logged = false,
                Err(error) if !is_logged => {
                    tracing::warn!(group = %self.group, %error, "ledger not polled; changes by other processes are not seen until it answers");
                    is_logged = true;
                }
                Err(_) => {}
            }
        }
    }

    async fn poll(&self) -> Result<(), LedgerError> {
        for (partition, next_offset) in self.ledger.next_offsets(self.group).await? {
            self.progress.catch_up(partition, next_offset);
        }
        self.campaigns.refresh(self.group).await?;
        for cached in self.campaigns.live().iter().filter(|cached| cached.campaign.group == self.group) {
            for shard in &cached.shards {
                let partition = self.campaigns.partition_of(&cached.campaign, shard.shard_no);
                let settled = self.progress.next_offset(partition);
                shard.bound_unsettled(self.log.end_offset(partition).saturating_sub(settled));
            }
        }
        Ok(())
    }
}
