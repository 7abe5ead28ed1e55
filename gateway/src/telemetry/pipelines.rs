//! The events of pipelines.

use super::event::{Event, gauge};
use super::metrics::Metrics;
use crate::coupon::GenerationNo;

/// A generation of the default pipeline became active.
#[derive(Debug, Clone, Copy)]
pub struct GenerationPublished(pub GenerationNo);

impl Event for GenerationPublished {
    fn record(self, metrics: &Metrics) {
        metrics.policy_generation.set(gauge(self.0));
        metrics.policy_generation_recorded.set(gauge(self.0));
        metrics.policy_swaps.with_label_values(&["published"]).inc();
    }
}

/// The newest generation of the default pipeline in the ledger cannot be loaded; an older one stays active.
#[derive(Debug, Clone, Copy)]
pub struct GenerationNotLoaded(pub GenerationNo);

impl Event for GenerationNotLoaded {
    fn record(self, metrics: &Metrics) {
        metrics.policy_generation_recorded.set(gauge(self.0));
    }
}

/// A change of a pipeline was rejected; the active generation stays.
#[derive(Debug, Clone, Copy)]
pub struct GenerationRefused;

impl Event for GenerationRefused {
    fn record(self, metrics: &Metrics) {
        metrics.policy_swaps.with_label_values(&["refused"]).inc();
    }
}

/// The pipeline of a coupon was changed through this process.
#[derive(Debug, Clone, Copy)]
pub struct CouponPipelinePublished;

impl Event for CouponPipelinePublished {
    fn record(self, metrics: &Metrics) {
        metrics.policy_swaps.with_label_values(&["published"]).inc();
    }
}

/// The number of coupons whose newest pipeline cannot be loaded.
#[derive(Debug, Clone, Copy)]
pub struct CouponPipelinesNotLoaded(pub usize);

impl Event for CouponPipelinesNotLoaded {
    fn record(self, metrics: &Metrics) {
        metrics.policy_coupons_not_loaded.set(gauge(self.0 as u64));
    }
}
