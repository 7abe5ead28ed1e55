//! What settlement needs from the rest of the system.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::progress::Progress;
use super::verdict::Item;
use crate::campaign_cache::CampaignCache;
use crate::counters::Counters;
use crate::coupon::GroupLayout;
use crate::ledger::Ledger;
use crate::log::Log;
use crate::telemetry::Telemetry;

/// Settles the records of a log into a ledger.
pub struct Settlement {
    pub log: Arc<dyn Log>,
    pub ledger: Arc<dyn Ledger>,
    /// Stop counting requests that settlement rejects.
    pub counters: Arc<dyn Counters>,
    /// Receives the stock after each batch.
    pub campaigns: Arc<CampaignCache>,
    /// Receives the next offset after each batch.
    pub progress: Arc<Progress>,
    pub telemetry: Telemetry,
    pub layout: GroupLayout,
    /// The most records that one transaction settles.
    pub batch_records_max: u32,
}

impl Settlement {
    /// These records no longer wait. Each was counted once when it was appended, also one that is a replay.
    pub(super) fn subtract_unsettled<'a>(&self, settled: impl IntoIterator<Item = &'a Item>) {
        let mut picked = BTreeMap::new();
        for accepted in settled.into_iter().filter_map(|item| item.content.as_ref().ok()) {
            *picked.entry((accepted.request.coupon_id, accepted.shard_no)).or_default() += 1;
        }
        for ((coupon, shard), records) in picked {
            self.campaigns.subtract_unsettled(coupon, shard, records);
        }
    }
}
