//! What settlement needs from the rest of the system.

use std::sync::Arc;

use super::progress::Progress;
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
