//! Wiring and shutdown: the one place that sees everything.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admission::{Admission, LoadGauge, Recent, SAMPLE_EVERY, Sampler};
use crate::campaigns::Campaigns;
use crate::config::Config;
use crate::coupon::{NewCampaign, Offset, PartitionNo};
use crate::http::{self, AdminToken, Bound, Gateway};
use crate::ledger::{CampaignError, Ledger, LedgerError};
use crate::log::Log;
use crate::peers::Peers;
use crate::policy::{Pipelines, StartError as PolicyError, Watching};
use crate::settlement::{Progress, Settlement};
use crate::telemetry::{self, InFlight, emit};
use crate::{counters, ledger, log};

/// At shutdown, what is accepted and not settled is waited for so long; the rest is settled at the
/// next start.
const SETTLE_AT_SHUTDOWN_MAX: Duration = Duration::from_secs(5);
/// What is not there yet is asked for again in this rhythm.
const OPEN_EVERY: Duration = Duration::from_secs(1);
/// What others append, and settle, is heard of within this time from a log that is ready; also from a leader that was
/// only just chosen.
const HEARD_WITHIN: Duration = Duration::from_secs(5);
/// The admin listener closes last, and has nothing to finish that would take longer.
const ADMIN_DRAIN_MAX: Duration = Duration::from_secs(1);
/// An operator and a scraper; a page will need a few more.
const ADMIN_CONNECTIONS_MAX: usize = 64;

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log.
    #[error(transparent)]
    Log(#[from] log::OpenError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] ledger::OpenError),
    /// Reading the ledger.
    #[error("read the ledger: {0}")]
    ReadLedger(#[from] LedgerError),
    /// The log and the ledger do not belong together.
    #[error(
        "log.url and ledger.url do not belong together: partition {partition} of the log ends at offset {end}, but \
         the ledger has settled up to {settled}; restore the log, or start with a new ledger"
    )]
    OtherLog {
        /// Where it shows.
        partition: PartitionNo,
        /// The first offset that the ledger has not settled.
        settled: Offset,
        /// Where the log ends.
        end: Offset,
    },
    /// The coupon that a new ledger starts with.
    #[error("create the first campaign: {0}")]
    FirstCampaign(#[from] CampaignError),
    /// The counters.
    #[error(transparent)]
    Counters(#[from] counters::OpenError),
    /// The policies.
    #[error(transparent)]
    Policies(#[from] PolicyError),
    /// The admin token.
    #[error("{0}")]
    Token(String),
    /// What the gateway says of itself.
    #[error("{0}")]
    Telemetry(String),
    /// A listener.
    #[error("{key}: listen on {address}: {source}")]
    Listen {
        /// Which key of the configuration.
        key: &'static str,
        /// Where.
        address: std::net::SocketAddr,
        /// What went wrong.
        source: std::io::Error,
    },
    /// Waiting for signals.
    #[error("wait for signals: {0}")]
    Signals(std::io::Error),
}

/// Runs the gateway until SIGTERM or SIGINT, and ends it in good order.
///
/// `config_file` is watched for changes of the pipeline.
///
/// # Errors
/// [`StartError`] when it cannot start; nothing is listened to then.
pub fn serve(config: Config, config_file: Option<PathBuf>) -> LocalBoxFuture<'static, Result<(), StartError>> {
    Box::pin(run(config, config_file))
}

async fn run(config: Config, config_file: Option<PathBuf>) -> Result<(), StartError> {
    raise_file_limit();
    let mut signals = Signals::listen().map_err(StartError::Signals)?;
    let token = config.admin.token_file.as_deref().map(AdminToken::read).transpose().map_err(StartError::Token)?;
    let public = match config.http.enabled {
        true => Some(listen("http.listen", config.http.listen).await?),
        false => None,
    };
    let private = listen("admin.listen", config.admin.listen).await?;

    let opened = async {
        let log = when_there(|| log::open(&config.log), log::OpenError::is_passing).await?;
        let ledger = when_there(|| ledger::open(&config.ledger), ledger::OpenError::is_passing).await?;
        let counters = counters::open(&config.counters).await?;
        let campaigns = Arc::new(Campaigns::load(Arc::clone(&ledger)).await?);
        create_first_campaign(&config, &campaigns).await?;
        let progress = Arc::new(progress(&*log, &*ledger).await?);
        Ok::<_, StartError>((log, ledger, counters, campaigns, progress))
    };
    let (log, ledger, counters, campaigns, progress) = tokio::select! {
        opened = opened => opened?,
        () = signals.next() => return Ok(()),
    };
    let pipelines = Pipelines::start(&config.policies, config.pipeline.clone(), Arc::clone(&ledger)).await?;
    let load = Arc::new(LoadGauge::new(log.partitions()));

    let (stop_settling, settling_stops) = watch::channel(false);
    let settlement = config.settlement.enabled.then(|| {
        let settlement = Settlement {
            log: Arc::clone(&log),
            ledger: Arc::clone(&ledger),
            counters: Arc::clone(&counters),
            campaigns: Arc::clone(&campaigns),
            progress: Arc::clone(&progress),
            options: config.settlement.clone(),
        };
        tokio::spawn(settlement.run(settling_stops))
    });
    let following = ledger.is_shared().then(|| {
        let peers = Peers {
            ledger: Arc::clone(&ledger),
            log: Arc::clone(&log),
            campaigns: Arc::clone(&campaigns),
            pipelines: Arc::clone(&pipelines),
            progress: Arc::clone(&progress),
        };
        tokio::spawn(peers.follow())
    });
    let watching = watch_files(&pipelines, &config, config_file);
    let gateway = Arc::new(Gateway {
        admission: Admission {
            campaigns,
            counters,
            log: Arc::clone(&log),
            ledger: Arc::clone(&ledger),
            pipelines,
            load,
            recent: Recent::default(),
            in_flight_max: config.http.in_flight_max,
            in_flight: AtomicUsize::new(0),
        },
        progress: Arc::clone(&progress),
        token,
        draining: AtomicBool::new(false),
    });
    let mut sampler = gateway.admission.load.sampler(&progress);
    gateway.admission.load.sample(&mut sampler, &*log, &progress);
    let sampling = tokio::spawn(sample(Arc::clone(&gateway), sampler));

    let http = public.as_ref().map(|public| public.address.to_string());
    let admin = private.address;
    let (stop_public, public_stops) = watch::channel(false);
    let (stop_private, private_stops) = watch::channel(false);
    let drain = Duration::from_secs(config.http.drain_seconds);
    let public = public.map(|public| {
        let router = http::public(Arc::clone(&gateway));
        tokio::spawn(public.serve(router, config.http.connections_max, public_stops, drain))
    });
    let private = tokio::spawn(private.serve(
        http::private(Arc::clone(&gateway)),
        ADMIN_CONNECTIONS_MAX,
        private_stops,
        ADMIN_DRAIN_MAX,
    ));
    tracing::info!(http, %admin, generation = gateway.admission.pipelines.current().number(), "serving");

    signals.next().await;
    tracing::info!("shutting down: no new requests, those under way finish");
    gateway.draining.store(true, Ordering::Relaxed);
    let orderly = async {
        stop_public.send_replace(true);
        if let Some(public) = public {
            finish(public).await;
        }
        if let Some(settlement) = settlement {
            // What is left then waits in the log for the next start.
            let _ = tokio::time::timeout(SETTLE_AT_SHUTDOWN_MAX, all_settled(&*log, &progress)).await;
            stop_settling.send_replace(true);
            finish(settlement).await;
        }
        drop(watching);
        if let Some(following) = following {
            following.abort();
        }
        sampling.abort();
        log.close().await;
        stop_private.send_replace(true);
        finish(private).await;
        ledger.close().await;
    };
    tokio::select! {
        () = orderly => tracing::info!("stopped"),
        () = signals.next() => tracing::warn!("stopped at once, on a second signal; nothing accepted is lost"),
    }
    Ok(())
}

/// Looks whether a gateway could start, without starting one: nothing is opened for writing.
///
/// # Errors
/// What [`serve`] would say.
pub fn check(config: &Config) -> Result<(), StartError> {
    telemetry::check(&config.telemetry).map_err(StartError::Telemetry)?;
    log::check(&config.log)?;
    ledger::check(&config.ledger)?;
    counters::check(&config.counters)?;
    config.admin.token_file.as_deref().map(AdminToken::read).transpose().map_err(StartError::Token)?;
    Pipelines::check(&config.policies, &config.pipeline)?;
    Ok(())
}

async fn listen(key: &'static str, address: std::net::SocketAddr) -> Result<Bound, StartError> {
    http::bind(address).await.map_err(|source| StartError::Listen { key, address, source })
}

/// A new embedded ledger starts with the coupon of the README's curl.
async fn create_first_campaign(config: &Config, campaigns: &Campaigns) -> Result<(), StartError> {
    if !config.ledger.url.starts_with("sqlite:") || !campaigns.all().is_empty() {
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
    campaigns.create(&new).await?;
    tracing::info!(coupon = %new.coupon_id, total = new.total, "a new ledger starts with a campaign to try");
    Ok(())
}

/// Opens something that may come up after this process does, saying what is waited for.
async fn when_there<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(
    mut open: impl FnMut() -> F,
    is_passing: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let mut told = String::new();
    loop {
        match open().await {
            Err(error) if is_passing(&error) => {
                let reason = error.to_string();
                if reason != told {
                    tracing::warn!(%reason, "waiting, and trying again every second");
                    told = reason;
                }
                tokio::time::sleep(OPEN_EVERY).await;
            }
            opened => return opened,
        }
    }
}

/// How far the ledger is; it can never be further than the log.
async fn progress(log: &dyn Log, ledger: &dyn Ledger) -> Result<Progress, StartError> {
    let mut next_offsets = Vec::new();
    for partition in (0..log.partitions()).map(PartitionNo) {
        let settled = ledger.next_offset(partition).await?;
        let mut ready_since = Instant::now();
        let mut is_told = false;
        while settled > log.end_offset(partition) {
            if let Err(reason) = log.ready() {
                ready_since = Instant::now();
                if !is_told {
                    tracing::warn!(%partition, reason, "waiting for the log to tell where it ends");
                    is_told = true;
                }
            } else if ready_since.elapsed() > HEARD_WITHIN {
                return Err(StartError::OtherLog { partition, settled, end: log.end_offset(partition) });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        next_offsets.push(settled);
    }
    Ok(Progress::new(next_offsets))
}

/// Follows changes of the policies' folder and of the configuration file, until it is dropped.
fn watch_files(pipelines: &Arc<Pipelines>, config: &Config, file: Option<PathBuf>) -> Option<Watching> {
    let file = file.map(|path| {
        let file = path.clone();
        let read = move || {
            let config = Config::load(Some(&file), std::env::vars());
            config.map(|config| config.pipeline).map_err(|error| error.to_string())
        };
        (path, read)
    });
    pipelines
        .watch(&config.policies.dir, file)
        .inspect_err(|error| tracing::warn!(%error, "files are not watched; the admin API still changes the pipeline"))
        .ok()
}

async fn sample(gateway: Arc<Gateway>, mut sampler: Sampler) {
    let admission = &gateway.admission;
    let mut ticks = tokio::time::interval(SAMPLE_EVERY);
    loop {
        ticks.tick().await;
        admission.load.sample(&mut sampler, &*admission.log, &gateway.progress);
        emit(InFlight(admission.in_flight.load(Ordering::Relaxed)));
    }
}

async fn all_settled(log: &dyn Log, progress: &Progress) {
    for partition in (0..log.partitions()).map(PartitionNo) {
        if let Some(last) = log.end_offset(partition).checked_sub(1) {
            progress.settled(partition, last).await;
        }
    }
}

async fn finish(task: JoinHandle<()>) {
    if let Err(error) = task.await {
        tracing::error!(%error, "a task ended badly");
    }
}

/// A connection takes a file descriptor, and the usual soft limit of 1024 is soon reached.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
