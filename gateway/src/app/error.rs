//! Why a system does not start.

use std::io;
use std::net::SocketAddr;

use crate::coupon::{LogId, Offset, PartitionNo};
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
    #[error(transparent)]
    ReadLog(#[from] crate::log::LogError),
    #[error(
        "ledger.url: `{url}` is for one process, but log.url names a topic, which several processes use: set ledger.url \
         to a database server, such as `mysql://user@host:3306/database`"
    )]
    UnsharedLedger { url: String },
    /// The ledger settles another log.
    #[error(
        "log.url and ledger.url do not belong together: the ledger settles the log {expected}, but log.url names {}: \
         correct the URL that is wrong, restore the log, or move the ledger to this log with `sluice log adopt`",
        found.map_or("a log without an identity, created later".to_owned(), |found| format!("the log {found}"))
    )]
    OtherLog { expected: LogId, found: Option<LogId> },
    /// Two ledgers would both grant the whole stock to the records of one log.
    #[error(
        "log.url and ledger.url do not belong together: the log {0} is settled by another ledger: correct the URL that \
         is wrong, restore that ledger, or give log.url a new log"
    )]
    OtherLedger(LogId),
    /// The log lacks records that the ledger has settled.
    #[error(
        "log.url and ledger.url do not belong together: partition {partition} of the log ends at offset {end}, but the \
         ledger has settled it up to {settled}: restore the log, or continue it with `sluice log adopt --lost`"
    )]
    ShortLog {
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
    #[error(transparent)]
    Tls(#[from] crate::http::TlsError),
    #[error("{0}")]
    Telemetry(String),
    #[error("http.listen and admin.listen: {public} and {admin} overlap: give them different ports")]
    SameAddress { public: SocketAddr, admin: SocketAddr },
    #[error("{key}: listen on {address}: {source}; {}", listen_advice(key, source))]
    Listen {
        /// The configuration key of the address.
        key: &'static str,
        address: SocketAddr,
        source: io::Error,
    },
}

fn listen_advice(key: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!("stop the process that uses it, or set {key} to another port"),
        io::ErrorKind::PermissionDenied => format!("set {key} to a port above 1023, or allow this process the port"),
        _ => format!("set {key} to an address of this machine"),
    }
}
