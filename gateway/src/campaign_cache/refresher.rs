//! Refreshes the campaigns of a ledger that no other process changes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::CampaignCache;
use crate::background::Background;
use crate::coupon::GroupNo;

/// Requests are refused from the closing time on, whatever is cached: only memory, metrics and a loaded pipeline wait.
const REFRESH_EVERY: Duration = Duration::from_secs(60);

impl CampaignCache {
    /// Keeps a group up to date with the time: a campaign past its closing time is no change in the ledger, so nothing
    /// else would let it leave. It also reads the stock that a settlement left whose commit was answered with an error.
    /// Without it, that coupon would never be refused as sold out.
    #[must_use]
    pub fn refresher(self: &Arc<Self>, group: GroupNo) -> Background {
        Background::new(group.task("campaign refresher"), run(Arc::clone(self), group))
    }
}

async fn run(campaigns: Arc<CampaignCache>, group: GroupNo) {
    let mut is_logged = false;
    let mut ticks = tokio::time::interval(REFRESH_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match campaigns.refresh(group).await {
            Ok(()) => is_logged = false,
            Err(error) if !is_logged => {
                tracing::warn!(%group, %error, "campaigns not refreshed, retrying every minute");
                is_logged = true;
            }
            Err(_) => {}
        }
    }
}
