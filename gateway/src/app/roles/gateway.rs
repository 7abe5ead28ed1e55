//! The role `gateway`: accepts requests, as the pipeline decides, and appends them to the log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::super::core::{Core, PUBLIC_LISTENER};
use super::super::error::StartError;
use super::super::listeners::Listener;
use super::common::{serve, serve_admin, spawn_pollers, spawn_sampler};
use super::config_file::ConfigFile;
use crate::admission::{self, Admission, EarlierRequests, LoadGauge};
use crate::counters;
use crate::decisions::{self, Recorder};
use crate::http::{self, ApiState, Bound, ConnectionLimits};
use crate::policy::{IsOver, Pipelines, WatchedFile};
use crate::rollout::{self, Rollouts};
use crate::telemetry::Telemetry;

/// What a public client may send before it is read: the least that HTTP/2 allows, and four of the longest bodies.
const HTTP2_WINDOW_BYTES: u32 = 65_535;

/// Starts both listeners, and returns their addresses: public, then admin.
pub(in crate::app) async fn spawn(
    core: &mut Core,
    public: Listener,
    admin: Listener,
) -> Result<(SocketAddr, SocketAddr), StartError> {
    let (ports, telemetry) = (&core.ports, &core.ports.telemetry);
    let config = &core.config;
    let mut pipeline = config.pipeline.clone();
    if !config.is_from_file {
        pipeline = Pipelines::without_file(pipeline, &config.policies, &*ports.ledger).await?;
    }
    let stop = &core.stages.public;
    let (ledger, campaigns) = (Arc::clone(&ports.ledger), Arc::clone(&core.campaigns));
    let is_over: IsOver = Arc::new(move |coupon| campaigns.is_over(coupon));
    let pipelines = Pipelines::start(&config.policies, pipeline, ledger, is_over, telemetry, stop).await?;
    core.health.set_pipelines(Arc::clone(&pipelines));
    let load = Arc::new(LoadGauge::new(core.layout));
    let earlier = EarlierRequests::new(
        Arc::clone(&ports.ledger),
        Arc::clone(&ports.counters),
        Arc::clone(&ports.log),
        Arc::clone(&core.progress),
        core.layout,
    );
    let (recorder, decision_writer) = Recorder::open(&config.decisions, telemetry);
    let decisions = decisions::Reader::new(&config.decisions.dir);
    // The metrics are about the counters that decide.
    let (shadow_counters, shadow_task) = counters::open(&config.counters.for_shadows(), &Telemetry::new()).await?;
    let (rollouts, rollout_tasks) = Rollouts::open(rollout::Dependencies {
        pipelines: Arc::clone(&pipelines),
        ledger: Arc::clone(&ports.ledger),
        shadow_counters,
        decisions: decisions.clone(),
        telemetry: telemetry.clone(),
    })
    .await;
    let dependencies = admission::Dependencies {
        campaigns: Arc::clone(&core.campaigns),
        counters: Arc::clone(&ports.counters),
        log: Arc::clone(&ports.log),
        earlier,
        rollouts: Arc::clone(&rollouts),
        load: Arc::clone(&load),
        decisions: recorder,
    };
    let admission = Arc::new(Admission::new(dependencies, config.http.in_flight_max));
    let state = Arc::new(ApiState {
        admission: Arc::clone(&admission),
        campaigns: Arc::clone(&core.campaigns),
        pipelines: Arc::clone(&pipelines),
        log: Arc::clone(&ports.log),
        ledger: Arc::clone(&ports.ledger),
        progress: Arc::clone(&core.progress),
        rollouts: Arc::clone(&rollouts),
        decisions,
        health: Arc::clone(&core.health),
        access: core.access.clone(),
        telemetry: telemetry.clone(),
    });
    core.tasks.spawn_background(decision_writer);
    shadow_task.into_iter().chain(rollout_tasks).for_each(|task| core.tasks.spawn_background(task));
    core.detached = admission.detached().clone();
    watch_files(core, &pipelines);
    spawn_pollers(core);
    core.tasks.spawn_background(pipelines.follow());
    spawn_sampler(core, load, move || admission.in_flight());

    let (public, admin) = (public.listen()?, admin.listen()?);
    let addresses = (public.address, admin.address);
    serve_public(core, public, http::public(Arc::clone(&state)));
    serve_admin(core, admin, http::admin(state));
    let generation = pipelines.current().number();
    tracing::info!(http = %addresses.0, admin = %addresses.1, generation, "serving");
    Ok(addresses)
}

fn serve_public(core: &mut Core, bound: Bound, router: axum::Router) {
    let stop = core.stages.public.clone();
    let options = &core.config.http;
    let room = core.config.connections_room.unwrap_or(usize::MAX);
    let limits = ConnectionLimits {
        connections_max: options.connections_max.min(room),
        keep_alive: Duration::from_secs(options.keep_alive_seconds),
        drain: Duration::from_secs(options.drain_seconds),
        half_close: true,
        http2_window_bytes: HTTP2_WINDOW_BYTES,
    };
    serve(core, PUBLIC_LISTENER, bound, router, limits, stop);
}

/// Watches the policy folder and the configuration file.
fn watch_files(core: &mut Core, pipelines: &Arc<Pipelines>) {
    let file = core.config.file.clone().map(|path| {
        let file = ConfigFile::new(path.clone(), core.config.clone());
        WatchedFile { path, parse: move |text: &str| file.read(text) }
    });
    core.tasks.spawn_background(pipelines.watch(&core.config.policies.dir, file));
}
