//! `sluice serve`

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::common::{ConfigArgs, Failure, block_on};
use super::open_files;
use crate::app::System;
use crate::config::{Config, Role};
use crate::telemetry;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// What this process does. Gateways and consumers that share a log, a ledger and counters form one system:
    /// start as many of each as needed, in any order.
    /// Default: all.
    #[arg(long, value_enum)]
    role: Option<Role>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut config = args.config.load()?;
    config.role = args.role.unwrap_or(config.role);
    telemetry::start_logging(&config.telemetry).map_err(Failure::usage)?;
    if config.http.enabled.or(config.settlement.enabled).is_some() {
        tracing::warn!("http.enabled and settlement.enabled are deprecated: use `sluice serve --role`");
    }
    limit_connections(&mut config);
    block_on(serve(config))?
}

/// Serves until a signal or a failed task, then drains.
async fn serve(config: Config) -> Result<(), Failure> {
    let mut signals = Signals::listen().map_err(|error| Failure::run(format!("wait for signals: {error}")))?;
    let mut running = tokio::select! {
        started = System::open(config) => started.map_err(Failure::run)?,
        () = signals.next() => return Ok(()),
    };
    let failure = tokio::select! {
        failure = running.wait() => {
            tracing::info!("shutting down because a task failed; requests in progress finish");
            Some(failure)
        }
        () = signals.next() => {
            tracing::info!("shutting down; requests in progress finish");
            None
        }
    };
    let stopped = tokio::select! {
        stopped = running.stop() => {
            tracing::info!("stopped");
            stopped
        }
        () = signals.next() => {
            tracing::warn!("stopped at once on a signal during the drain; accepted requests are in the log");
            failure.map_or(Ok(()), Err)
        }
    };
    stopped.map_err(Failure::run)
}

/// Connections must leave file descriptors for operators, databases and the compiler.
fn limit_connections(config: &mut Config) {
    let room = open_files::raise_limit();
    if config.role != Role::Consumer && config.http.connections_max > room {
        tracing::warn!(
            connections_max = room,
            "http.connections_max reduced: the limit of open files leaves room for no more; raise that limit"
        );
    }
    config.connections_room = Some(room);
}

/// The signals that end the process. SIGHUP is one of them: a terminal that closes is no reason to skip the drain. A
/// signal that was ignored at the start stays ignored: `nohup` means that the terminal may close.
struct Signals {
    terminate: Signal,
    interrupt: Option<Signal>,
    hangup: Option<Signal>,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let ignored = ignored_signals();
        let unless_ignored = |kind: SignalKind| {
            let is_ignored = ignored & (1 << (kind.as_raw_value() - 1)) != 0;
            if is_ignored { Ok(None) } else { signal(kind).map(Some) }
        };
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: unless_ignored(SignalKind::interrupt())?,
            hangup: unless_ignored(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            () = received(self.interrupt.as_mut()) => {}
            () = received(self.hangup.as_mut()) => {}
        }
    }
}

async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}

/// Bit 0 is signal 1. On systems without `/proc`, no signal counts as ignored.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
