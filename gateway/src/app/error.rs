//! Why a system does not start.

use crate::coupon::{Offset, PartitionNo};
use crate::ledger::{CampaignError, LedgerError};
use crate::policy::StartError as PolicyError;

/// Why a system did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Log(#[from] crate::log::OpenError),
    #[error(transparent)]
    Ledger(#[from] crate::ledger::OpenError),
    #[error("read the ledger: {0}")]
    ReadLedger(#[from] LedgerError),
    /// The log and the ledger have different histories.
    #[error(
        "log.url and ledger.url have different histories: partition {partition} of the log ends at offset {end}, but \
         the ledger has settled it up to {settled}; restore the log, or start with a new ledger"
    )]
    OtherLog {
        partition: PartitionNo,
        /// The first offset that the ledger has not settled.
        settled: Offset,
        /// The log's end offset.
        end: Offset,
    },
    #[error("create the first campaign: {0}")]
    FirstCampaign(#[from] CampaignError),
    #[error(transparent)]
    Counters(#[from] crate::counters::OpenError),
    #[error(transparent)]
    Policies(#[from] PolicyError),
    /// The admin token cannot be read.
    #[error("{0}")]
    Token(String),
    #[error("{0}")]
    Telemetry(String),
    #[error("{key}: listen on {address}: {source}")]
    Listen {
        /// The configuration key of the address.
        key: &'static str,
        address: std::net::SocketAddr,
        source: std::io::Error,
    },
}
