//! Starts to take part in the rollouts of the ledger.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc};

use super::follower::Follower;
use super::service::Rollouts;
use super::shadow;
use super::store::Store;
use crate::background::Background;
use crate::counters::Counters;
use crate::decisions::Reader;
use crate::ledger::Ledger;
use crate::policy::Pipelines;
use crate::telemetry::Telemetry;

/// While a candidate that is a shadow computes, this many decisions wait. Later ones are lost.
const QUEUED_MAX: usize = 1024;

/// What rollouts work with.
pub struct Dependencies {
    pub pipelines: Arc<Pipelines>,
    pub ledger: Arc<dyn Ledger>,
    /// The shadow's own.
    pub shadow_counters: Arc<dyn Counters>,
    pub decisions: Reader,
    pub telemetry: Telemetry,
}

impl Rollouts {
    /// Takes part in the rollouts of the ledger, before the first request is decided. The tasks keep it so.
    pub async fn open(dependencies: Dependencies) -> (Arc<Self>, [Background; 2]) {
        let Dependencies { pipelines, ledger, shadow_counters, decisions, telemetry } = dependencies;
        let (shadow, jobs) = mpsc::channel(QUEUED_MAX);
        let gateway = format!("gateway {}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
        let this = Arc::new(Self {
            pipelines,
            store: Store::new(ledger, gateway.clone()),
            live: ArcSwap::default(),
            shadow,
            changed: Notify::new(),
            gateway,
            telemetry,
            decisions,
        });
        let mut follower = Follower::new(Arc::clone(&this));
        follower.look().await;
        let tasks = [
            Background::new("rollout follower", follower.run()),
            Background::new("rollout shadow", shadow::run(jobs, shadow_counters)),
        ];
        (this, tasks)
    }
}
