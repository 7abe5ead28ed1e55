//! What a gateway says is active.

use serde_json::Value;

use crate::harness::Gateway;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    generation: u64,
    pub(super) picker: String,
    /// The number of the newest rollout; 0 if there is none.
    pub(super) rollout: u64,
    status: Value,
    /// In how many rollouts the gateway takes part, and the share of the users that a candidate serves.
    running: u64,
    percent: u64,
}

impl View {
    /// `None` while the ledger cannot be read.
    pub(super) async fn of(gateway: &Gateway) -> Option<Self> {
        let pipeline = gateway.pipeline().await;
        let listed = gateway.operator.get("/admin/rollouts").await;
        if listed.status != 200 {
            return None;
        }
        let newest = &listed.json()[0];
        let metrics = gateway.metrics().await;
        Some(Self {
            generation: pipeline["generation"].as_u64()?,
            picker: pipeline["pipeline"]["shard-picker"]["policy"].as_str()?.to_owned(),
            rollout: newest["id"].as_u64().unwrap_or_default(),
            status: newest["status"].clone(),
            running: metrics.sum("sluice_rollouts_running", &[]) as u64,
            percent: (metrics.sum("sluice_rollout_canary_ratio", &[]) * 100.0).round() as u64,
        })
    }

    pub(super) fn is_at_rest(&self) -> bool {
        !["running", "promoting"].contains(&self.state())
    }

    /// Of the newest rollout.
    pub(super) fn state(&self) -> &str {
        self.status["state"].as_str().unwrap_or("none")
    }

    /// As [`state`](Self::state), of the rollout that was started since.
    pub(super) fn state_since(&self, before: &Self) -> &str {
        if self.rollout == before.rollout { "none" } else { self.state() }
    }

    /// Whether the gateway takes part in the newest rollout exactly if it runs.
    pub(super) fn is_followed(&self) -> bool {
        self.running == u64::from(self.state() == "running")
    }

    /// If a rollout was promoted since, the candidate is active, otherwise what was active before.
    pub(super) fn assert_active(&self, before: &Self, candidate: &str) {
        let promoted = self.status["generation"].as_u64().filter(|_| self.rollout != before.rollout);
        let unchanged = (before.generation, before.picker.as_str());
        let expected = promoted.map_or(unchanged, |generation| (generation, candidate));
        assert_eq!((self.generation, self.picker.as_str()), expected, "{self:?}");
    }
}
