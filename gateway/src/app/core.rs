//! What the roles share while a system starts.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::ports::Ports;
use super::tasks::Tasks;
use crate::background::Detached;
use crate::campaign_cache::CampaignCache;
use crate::config::Config;
use crate::coupon::GroupLayout;
use crate::http::{AdminAccess, Health};
use crate::settlement::Progress;

/// What both roles build their tasks from.
pub(super) struct Core {
    pub(super) config: Config,
    pub(super) ports: Ports,
    pub(super) layout: GroupLayout,
    pub(super) campaigns: Arc<CampaignCache>,
    pub(super) progress: Arc<Progress>,
    pub(super) health: Arc<Health>,
    pub(super) access: AdminAccess,
    pub(super) tasks: Tasks,
    pub(super) detached: Detached,
    pub(super) stages: Stages,
}

/// The tokens that stop a system stage by stage, in this order.
pub(super) struct Stages {
    pub(super) public: CancellationToken,
    pub(super) settlement: CancellationToken,
    pub(super) admin: CancellationToken,
}

/// The names of the tasks that have a stage of their own.
pub(super) const PUBLIC_LISTENER: &str = "public listener";
pub(super) const ADMIN_LISTENER: &str = "admin listener";
pub(super) const SETTLEMENT: &str = "settlement";
