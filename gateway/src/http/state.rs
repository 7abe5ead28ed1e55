//! What the handlers share.

use std::sync::Arc;

use super::admin::AdminAccess;
use super::health::Health;
use crate::admission::Admission;
use crate::campaign_cache::CampaignCache;
use crate::decisions;
use crate::ledger::Ledger;
use crate::log::Log;
use crate::policy::Pipelines;
use crate::rollout::Rollouts;
use crate::settlement::Progress;
use crate::telemetry::Telemetry;

/// What the handlers of a gateway share.
pub struct ApiState {
    pub admission: Arc<Admission>,
    pub campaigns: Arc<CampaignCache>,
    pub pipelines: Arc<Pipelines>,
    /// Its end offsets tell a pending request from an unknown one.
    pub log: Arc<dyn Log>,
    pub ledger: Arc<dyn Ledger>,
    pub progress: Arc<Progress>,
    pub rollouts: Arc<Rollouts>,
    pub decisions: decisions::Reader,
    pub health: Arc<Health>,
    /// Who may call the admin listener.
    pub access: AdminAccess,
    pub telemetry: Telemetry,
}

/// What the handlers of a consumer share. A consumer has no admission and no policies.
pub struct ConsumerState {
    pub health: Arc<Health>,
    /// Who may call the admin listener.
    pub access: AdminAccess,
    pub telemetry: Telemetry,
}
