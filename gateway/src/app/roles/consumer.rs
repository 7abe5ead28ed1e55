//! The role `consumer`: settles accepted requests. It loads no pipeline and no policy.

use std::net::SocketAddr;
use std::sync::Arc;

use super::super::core::{Core, SETTLEMENT};
use super::super::error::StartError;
use super::super::listeners::Listener;
use super::common::{serve_admin, spawn_pollers, spawn_sampler};
use crate::admission::LoadGauge;
use crate::http::{self, ConsumerState};
use crate::retention::Retention;
use crate::settlement::Settlement;

/// Starts an admin listener with metrics and probes, and returns its address.
pub(in crate::app) fn spawn(core: &mut Core, admin: Listener) -> Result<SocketAddr, StartError> {
    spawn_pollers(core);
    let load = Arc::new(LoadGauge::new(core.layout));
    spawn_sampler(core, load, || 0);
    let state = ConsumerState {
        health: Arc::clone(&core.health),
        access: core.access.clone(),
        telemetry: core.ports.telemetry.clone(),
    };
    let admin = admin.listen()?;
    let address = admin.address;
    serve_admin(core, admin, http::consumer(&state));
    tracing::info!(admin = %address, "serving");
    Ok(address)
}

/// Settles every partition that the log assigns to this process, and deletes old outcomes.
pub(in crate::app) fn spawn_settlement(core: &mut Core) {
    let settlement = Settlement {
        log: Arc::clone(&core.ports.log),
        ledger: Arc::clone(&core.ports.ledger),
        counters: Arc::clone(&core.ports.counters),
        campaigns: Arc::clone(&core.campaigns),
        progress: Arc::clone(&core.progress),
        telemetry: core.ports.telemetry.clone(),
        layout: core.layout,
        batch_records_max: core.config.settlement.batch_records_max,
    };
    for group in core.layout.groups() {
        let retention = Retention {
            log: Arc::clone(&core.ports.log),
            ledger: Arc::clone(&core.ports.ledger),
            progress: Arc::clone(&core.progress),
            keep: core.config.ledger.retention(),
            layout: core.layout,
            group,
        };
        core.tasks.spawn_background(retention.background());
    }
    core.tasks.spawn(SETTLEMENT, settlement.run(core.stages.settlement.clone()));
}
