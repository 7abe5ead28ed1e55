//! What other processes did, read from the ledger they share: campaigns, stock, pipelines, and how far
//! partitions are settled.
//!
//! A process that has the ledger to itself needs none of it.

use std::sync::Arc;
use std::time::Duration;

use crate::campaigns::Campaigns;
use crate::coupon::PartitionNo;
use crate::ledger::{Ledger, LedgerError};
use crate::log::Log;
use crate::policy::Pipelines;
use crate::settlement::Progress;

/// How old what this process knows of the others may be: a request whose outcome somebody waits for is told
/// of within this time, and a change that an operator made well within the two seconds that are promised.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What is brought up to date.
pub struct Peers {
    /// Where the others' doings are read.
    pub ledger: Arc<dyn Ledger>,
    /// What waits in it bounds what can be unsettled.
    pub log: Arc<dyn Log>,
    /// Stock and states.
    pub campaigns: Arc<Campaigns>,
    /// What decides.
    pub pipelines: Arc<Pipelines>,
    /// How far partitions are settled.
    pub progress: Arc<Progress>,
}

impl Peers {
    /// Follows them until it is dropped.
    pub async fn follow(self) {
        let mut is_told = false;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            match self.look().await {
                Ok(()) => is_told = false,
                Err(error) if !is_told => {
                    tracing::warn!(%error, "what other processes do is not known for now");
                    is_told = true;
                }
                Err(_) => {}
            }
        }
    }

    async fn look(&self) -> Result<(), LedgerError> {
        for partition in (0..self.log.partitions()).map(PartitionNo) {
            self.progress.catch_up(partition, self.ledger.next_offset(partition).await?);
        }
        self.campaigns.refresh().await?;
        for known in self.campaigns.all() {
            for shard in &known.shards {
                let partition = PartitionNo::of(known.campaign.coupon_id, shard.shard_no, self.log.partitions());
                let settled = self.progress.next_offset(partition);
                shard.bound_unsettled(self.log.end_offset(partition).saturating_sub(settled));
            }
        }
        self.pipelines.catch_up().await
    }
}
