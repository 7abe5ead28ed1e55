//! The tasks that both roles run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::super::core::{ADMIN_LISTENER, Core};
use crate::admission::{LoadGauge, SAMPLE_EVERY};
use crate::background::fault_point;
use crate::http::{Bound, ConnectionLimits};
use crate::ledger_poller::LedgerPoller;
use crate::telemetry::InFlight;

/// Admin calls are short. The listener closes last, so that operators can watch the shutdown.
const ADMIN_DRAIN_MAX: Duration = Duration::from_secs(1);
/// Enough for a few operators and metric scrapers.
const ADMIN_CONNECTIONS_MAX: usize = 64;

/// What the admin listener's clients may upload before it is read. A component takes megabytes.
const ADMIN_HTTP2_WINDOW_BYTES: u32 = 1024 * 1024;

pub(super) fn serve_admin(core: &mut Core, bound: Bound, router: axum::Router) {
    let stop = core.stages.admin.clone();
    let limits = ConnectionLimits {
        connections_max: ADMIN_CONNECTIONS_MAX,
        keep_alive: Duration::from_secs(core.config.http.keep_alive_seconds),
        drain: ADMIN_DRAIN_MAX,
        // Compiling a policy may take minutes, and ends with its client.
        half_close: false,
        http2_window_bytes: ADMIN_HTTP2_WINDOW_BYTES,
    };
    serve(core, ADMIN_LISTENER, bound, router, limits, stop);
}

/// Serves a listener until `stop` is cancelled, and keeps its certificate current.
pub(super) fn serve(
    core: &mut Core,
    name: &'static str,
    bound: Bound,
    router: axum::Router,
    limits: ConnectionLimits,
    stop: CancellationToken,
) {
    let telemetry = core.ports.telemetry.clone();
    if let Some(watcher) = bound.watch_certificate(&telemetry) {
        core.tasks.spawn_background(watcher);
    }
    core.tasks.spawn(name, async move {
        bound.serve(router, limits, telemetry, stop).await;
        Ok(())
    });
}

/// Keeps the cached campaigns up to date: with what other processes write to the ledger, or only with the time.
pub(super) fn spawn_pollers(core: &mut Core) {
    for group in core.layout.groups() {
        if !core.ports.ledger.is_shared() {
            core.tasks.spawn_background(core.campaigns.refresher(group));
            continue;
        }
        let poller = LedgerPoller {
            ledger: Arc::clone(&core.ports.ledger),
            log: Arc::clone(&core.ports.log),
            campaigns: Arc::clone(&core.campaigns),
            progress: Arc::clone(&core.progress),
            telemetry: core.ports.telemetry.clone(),
            group,
        };
        core.tasks.spawn_background(poller.background());
    }
}

/// Samples the load until shutdown. `in_flight` returns the number of requests in flight.
pub(super) fn spawn_sampler(core: &mut Core, load: Arc<LoadGauge>, in_flight: impl Fn() -> usize + Send + 'static) {
    let (log, progress) = (Arc::clone(&core.ports.log), Arc::clone(&core.progress));
    let telemetry = core.ports.telemetry.clone();
    let mut sampler = load.sampler(Instant::now(), &progress);
    load.sample(&mut sampler, &*log, &progress, &telemetry);
    core.tasks.spawn("sampler", async move {
        let mut ticks = tokio::time::interval(SAMPLE_EVERY);
        loop {
            ticks.tick().await;
            fault_point("sampler");
            load.sample(&mut sampler, &*log, &progress, &telemetry);
            telemetry.emit(InFlight(in_flight()));
        }
    });
}
