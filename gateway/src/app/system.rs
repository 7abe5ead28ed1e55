//! A system: started as a whole, supervised, and stopped in the order in which a request leaves it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::core::{ADMIN_LISTENER, Core, PUBLIC_LISTENER, SETTLEMENT, Stages};
use super::error::StartError;
use super::listeners::Listeners;
use super::ports::{Ports, read_progress};
use super::tasks::Tasks;
use super::{groups, identity, roles};
use crate::background::{Detached, TaskFailure};
use crate::campaign_cache::CampaignCache;
use crate::config::{Config, Role};
use crate::coupon::{GroupNo, NewCampaign, PartitionNo};
use crate::http::Health;
use crate::ledger::Ledger;
use crate::log::Log;
use crate::settlement::Progress;

/// At shutdown, accepted requests are settled for this long. The rest is settled after the next start.
const SETTLE_AT_SHUTDOWN_MAX: Duration = Duration::from_secs(5);
/// After that, remaining tasks are dropped. Accepted requests are in the log, so nothing is lost.
const TASKS_END_WITHIN: Duration = Duration::from_secs(5);
/// A decision only waits for counters by then, and a change of a campaign is short.
const DETACHED_END_WITHIN: Duration = Duration::from_secs(5);

/// Starts systems. Several can run in one process.
pub struct System;

/// A started system.
pub struct Running {
    /// The address of the public listener; absent in the role `consumer`.
    pub http: Option<SocketAddr>,
    /// The address of the admin listener.
    pub admin: SocketAddr,
    log: Arc<dyn Log>,
    ledger: Arc<dyn Ledger>,
    progress: Arc<Progress>,
    health: Arc<Health>,
    tasks: Tasks,
    detached: Detached,
    stages: Stages,
}

impl System {
    /// Opens what the configuration names, and starts the configured role on it. A taken address and an unreadable
    /// token are reported before anything is opened or waited for.
    ///
    /// # Errors
    /// [`StartError`]. No listener is open then.
    pub async fn open(config: Config) -> Result<Running, StartError> {
        let listeners = Listeners::reserve(&config)?;
        let ports = Ports::open(&config).await?;
        Self::start_behind(listeners, config, ports).await
    }

    /// Starts the configured role on these ports. The system serves when this returns.
    ///
    /// # Errors
    /// [`StartError`]. No listener is open then.
    pub async fn start(config: Config, ports: Ports) -> Result<Running, StartError> {
        Self::start_behind(Listeners::reserve(&config)?, config, ports).await
    }

    async fn start_behind(listeners: Listeners, config: Config, mut ports: Ports) -> Result<Running, StartError> {
        warn_of_split_roles(&config);
        let mut tasks = Tasks::new();
        for background in std::mem::take(&mut ports.background) {
            tasks.spawn_background(background);
        }
        let (log, ledger) = (Arc::clone(&ports.log), Arc::clone(&ports.ledger));
        let identity = identity::compare(&*log, &*ledger).await?;
        let progress = Arc::new(Progress::new(vec![0; log.partitions() as usize]));
        read_progress(&*log, &*ledger, GroupNo::FIRST, &progress).await?;
        let identity = identity::bind(&*log, &*ledger, identity).await?;
        for joining in groups::join(&ports, &progress).await? {
            tasks.spawn_background(joining);
        }
        tasks.spawn_background(identity::watch(Arc::clone(&log), Arc::clone(&ledger), identity));
        let campaigns = CampaignCache::load(Arc::clone(&ledger), ports.layout(), ports.telemetry.clone()).await?;
        create_first_campaign(&config, &campaigns).await?;
        let counters = Arc::clone(&ports.counters);
        let health = Health::new(Arc::clone(&log), Arc::clone(&ledger), counters, Arc::clone(&progress));
        let stages = Stages { public: tasks.stage(), settlement: tasks.stage(), admin: tasks.stage() };
        let role = config.role;
        let mut core = Core {
            config,
            layout: ports.layout(),
            ports,
            campaigns: Arc::new(campaigns),
            progress: Arc::clone(&progress),
            health: Arc::new(health),
            access: listeners.access,
            tasks,
            detached: Detached::default(),
            stages,
        };
        let (http, admin) = match listeners.public {
            None => (None, roles::consumer::spawn(&mut core, listeners.admin)?),
            Some(public) => {
                let (http, admin) = roles::gateway::spawn(&mut core, public, listeners.admin).await?;
                (Some(http), admin)
            }
        };
        if role != Role::Gateway {
            roles::consumer::spawn_settlement(&mut core);
        }
        let Core { health, tasks, detached, stages, .. } = core;
        Ok(Running { http, admin, log, ledger, progress, health, tasks, detached, stages })
    }
}

impl Running {
    /// Resolves when a background task panics or ends, which fails readiness from then on. The caller then
    /// [stops](Self::stop) the system.
    pub async fn wait(&mut self) -> TaskFailure {
        let failure = self.tasks.failed().await;
        self.health.fail(&failure.task);
        failure
    }

    /// Drains and stops: the listener first, the ledger last.
    ///
    /// # Errors
    /// The first task that failed, before or during the stop.
    pub async fn stop(mut self) -> Result<(), TaskFailure> {
        self.health.drain();
        self.stages.public.cancel();
        self.tasks.finish(PUBLIC_LISTENER).await;
        if self.tasks.is_running(SETTLEMENT) {
            // The rest waits in the log for the next start.
            let _ = tokio::time::timeout(SETTLE_AT_SHUTDOWN_MAX, all_settled(&*self.log, &self.progress)).await;
        }
        self.stages.settlement.cancel();
        self.tasks.finish(SETTLEMENT).await;
        tracing::info!(unsettled_records = self.unsettled(), "stopping; unsettled records stay in the log");
        self.log.close().await;
        self.stages.admin.cancel();
        self.tasks.finish(ADMIN_LISTENER).await;
        // The log has acknowledged all records by now, and the counters are still connected.
        self.detached.finish(DETACHED_END_WITHIN).await;
        let ended = self.tasks.shut_down(TASKS_END_WITHIN).await;
        self.ledger.close().await;
        ended
    }

    /// The accepted records that wait for settlement, as far as this process knows.
    fn unsettled(&self) -> u64 {
        let waiting = |no| self.log.end_offset(no).saturating_sub(self.progress.next_offset(no));
        (0..self.log.partitions()).map(PartitionNo).map(waiting).sum()
    }
}

/// Only the process that opened an embedded log can settle it.
fn warn_of_split_roles(config: &Config) {
    let problem = match config.role {
        Role::Gateway => "accepted requests are not settled",
        Role::Consumer => "there is nothing to settle",
        Role::All => return,
    };
    if config.log.url.starts_with("embedded:") {
        let log = &config.log.url;
        tracing::warn!(log, "{problem}: no other process can open an embedded log; use `sluice serve --role all`");
    }
}

/// A new embedded ledger gets the campaign that the README's first request uses.
async fn create_first_campaign(config: &Config, campaigns: &CampaignCache) -> Result<(), StartError> {
    if config.ledger.groups() > 1 || !config.ledger.url.starts_with("sqlite:") || !campaigns.is_empty() {
        return Ok(());
    }
    let new = NewCampaign {
        coupon_id: 104_u64.try_into().expect("in range"),
        policy_id: 21_u64.try_into().expect("in range"),
        total: 10_000,
        shards: 4,
        per_user_limit: 1,
        opens_at_ms: None,
        closes_at_ms: None,
    };
    campaigns.create(&new, None).await?;
    tracing::info!(coupon = %new.coupon_id, total = new.total, "created the example campaign");
    Ok(())
}

async fn all_settled(log: &dyn Log, progress: &Progress) {
    for partition in (0..log.partitions()).map(PartitionNo) {
        if let Some(last) = log.end_offset(partition).checked_sub(1) {
            progress.settled(partition, last).await;
        }
    }
}
