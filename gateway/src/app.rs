//! Wiring, supervision and shutdown: the one place that sees everything.

mod ports;
mod roles;
mod system;
mod tasks;

use crate::config::Config;
use crate::coupon::{Offset, PartitionNo};
use crate::http::AdminToken;
use crate::ledger::{CampaignError, LedgerError};
use crate::policy::{Pipelines, StartError as PolicyError};
use crate::{counters, ledger, log, telemetry};

pub use ports::Ports;
pub use system::{Running, System};

/// Why a system did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Log(#[from] log::OpenError),
    #[error(transparent)]
    Ledger(#[from] ledger::OpenError),
    #[error("read the ledger: {0}")]
    ReadLedger(#[from] LedgerError),
    /// The log and the ledger have different histories.
    #[error(
        "log.url and ledger.url have different histories: partition {partition} of the log ends at offset {end}, but \
         the ledger has settled it up to {settled}; restore the log, or start with a new ledger"
    )]
    OtherLog {
        /// The first partition that differs.
        partition: PartitionNo,
        /// The first offset that the ledger has not settled.
        settled: Offset,
        /// The log's end offset.
        end: Offset,
    },
    #[error("create the first campaign: {0}")]
    FirstCampaign(#[from] CampaignError),
    #[error(transparent)]
    Counters(#[from] counters::OpenError),
    #[error(transparent)]
    Policies(#[from] PolicyError),
    /// The admin token cannot be read.
    #[error("{0}")]
    Token(String),
    #[error("{0}")]
    Telemetry(String),
    #[error("{key}: listen on {address}: {source}")]
    Listen {
        /// The key of the configuration.
        key: &'static str,
        /// The address as configured.
        address: std::net::SocketAddr,
        /// What the operating system says.
        source: std::io::Error,
    },
}

/// Checks whether a system could start, without opening anything for writing.
///
/// # Errors
/// What starting would report.
pub fn check(config: &Config) -> Result<(), StartError> {
    telemetry::check(&config.telemetry).map_err(StartError::Telemetry)?;
    log::check(&config.log)?;
    ledger::check(&config.ledger)?;
    counters::check(&config.counters)?;
    config.admin.token_file.as_deref().map(AdminToken::read).transpose().map_err(StartError::Token)?;
    Pipelines::check(&config.policies, &config.pipeline)?;
    Ok(())
}
