//! The errors of the port.

use std::path::PathBuf;

use crate::coupon::{ChangeError, CouponId, GroupNo, LogId, NewCampaign, PartitionNo};

/// Why a call on the ledger failed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The same call may succeed later: the database is unreachable, busy or full, or a concurrent
    /// transaction won.
    #[error("{step}: {source}")]
    Transient {
        step: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The data itself is the cause: the same call will always fail.
    #[error("{step}: invalid data: {source}")]
    Permanent {
        step: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl LedgerError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Transient { .. })
    }
}

/// Why a campaign was not created or changed.
#[derive(Debug, thiserror::Error)]
pub enum CampaignError {
    #[error("no campaign for coupon {0}")]
    NotFound(CouponId),
    #[error("coupon {0} already has a campaign with other terms")]
    Exists(CouponId),
    /// Assigned before its campaign was created, maybe by a creation that failed.
    #[error("coupon {coupon} belongs to ledger group {group}: create its campaign there, or for another coupon")]
    OtherGroup { coupon: CouponId, group: GroupNo },
    #[error("there is no ledger group {group}: expected one from 0 to {}", groups - 1)]
    NoSuchGroup { group: GroupNo, groups: u32 },
    #[error("the campaign for coupon {0} is closed and cannot be changed")]
    Closed(CouponId),
    #[error("this Idempotency-Key was used for a different change: use a new key")]
    KeyReused,
    #[error("the total would exceed {}", NewCampaign::TOTAL_MAX)]
    TotalTooLarge,
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<ChangeError> for CampaignError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Closed(coupon) => Self::Closed(coupon),
            ChangeError::TotalTooLarge => Self::TotalTooLarge,
        }
    }
}

/// Why the ledger was not opened or migrated. No message contains a password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("ledger.url: expected `sqlite:PATH` or `mysql://user@host:3306/database`, found `{0}`")]
    UnknownUrl(String),
    #[error("ledger.url: {problem}; expected `mysql://user@host:3306/database`, found `{url}`")]
    BadUrl {
        /// Redacted.
        url: String,
        problem: String,
    },
    #[error("ledger.password_file: {0}")]
    PasswordFile(String),
    #[error("ledger.tls_ca_file: read {}: {source}", path.display())]
    TlsCaFile { path: PathBuf, source: std::io::Error },
    #[error("ledger.tls_ca_file: {} contains no certificate in PEM format", .0.display())]
    NoCertificate(PathBuf),
    #[error("another sluice process uses the ledger `{0}`: stop it, or set a different ledger.url")]
    InUse(String),
    #[error("the database server at {server} is unreachable: {source}; start it, or correct ledger.url")]
    Unreachable { server: String, source: Box<dyn std::error::Error + Send + Sync> },
    /// The server says the same about a wrong password, a database without a grant, and a user who must use TLS.
    #[error(
        "authentication failed for user `{user}` at the database server {server}: {reason}; check ledger.url and \
         ledger.password_file, and that the user may use the database{}",
        if *is_plaintext { "; if the user must use TLS, remove ssl-mode=DISABLED from ledger.url" } else { "" }
    )]
    Denied { server: String, user: String, reason: String, is_plaintext: bool },
    /// The certificate is not valid for the server, or the two sides have no TLS version or cipher in common.
    #[error(
        "ledger.tls_ca_file: TLS with the database server at {server} failed: {reason}; name the PEM file of the \
         authority that signed the server's certificate, and in ledger.url the host that it was issued for"
    )]
    Untrusted { server: String, reason: String },
    #[error(
        "ledger.url: the database server at {server} does not support TLS: enable TLS on the server, or remove \
         ssl-mode and ledger.tls_ca_file"
    )]
    NoTls { server: String },
    #[error(
        "ledger.url: the database server at {server} has no database `{database}`: create it, then run `sluice migrate`"
    )]
    NoDatabase { server: String, database: String },
    #[error("the ledger `{place}` is at version {found}, this sluice needs version {needed}: run `sluice migrate`")]
    Behind {
        place: String,
        /// 0 when there are no tables.
        found: i64,
        needed: i64,
    },
    #[error("the ledger `{place}` is at version {found}, this sluice knows version {known}: run a newer sluice")]
    Ahead { place: String, found: i64, known: i64 },
    #[error("ledger.urls: `{0}` is listed twice: list each database once")]
    Twice(String),
    #[error("ledger.urls: expected at most {groups_max} databases, found {found}")]
    TooMany { found: usize, groups_max: usize },
    /// The database did not answer while it was verified.
    #[error("verify the database of ledger group {group}: {source}")]
    Unverified { group: GroupNo, source: LedgerError },
    #[error(
        "ledger.urls: the system has {seen} ledger groups, but the configuration has {listed}: list all of their \
         databases again, in their order"
    )]
    MissingGroups { seen: u32, listed: u32 },
    #[error(
        "ledger.urls: the database at place {listed} of the list, counted from 0, is the one of ledger group {found}: \
         restore the order of the list; append new databases at its end"
    )]
    WrongGroup { listed: GroupNo, found: GroupNo },
    #[error(
        "ledger.urls: the database of ledger group {group} is empty, but the group has been in use: restore it from a \
         backup, or correct the URL"
    )]
    EmptyGroup { group: GroupNo },
    #[error(
        "ledger.urls: ledger group {group} settles the log {found}, the first group settles {expected}: correct the URL \
         that is wrong"
    )]
    OtherLog { group: GroupNo, found: LogId, expected: LogId },
    #[error(
        "ledger.urls: the database at place {group} of the list settles the log {found}, but the first one is new: \
         restore the order of the list"
    )]
    OtherSystem { group: GroupNo, found: LogId },
    #[error(
        "log.partitions: each ledger group has {found} partitions, the configuration expects {configured}: set \
         log.partitions = {found}"
    )]
    OtherPartitions { found: u32, configured: u32 },
    #[error(
        "log.partitions: ledger group {group} has settled partition {partition}, which the configuration gives to \
         another group: set log.partitions to the number of partitions before the first group was added"
    )]
    OtherGroupsPartition { group: GroupNo, partition: PartitionNo },
    #[error("open the ledger `{place}`: {source}")]
    Failed {
        place: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OpenError {
    /// Whether opening may succeed later without a change of the configuration.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Unverified { source, .. } => source.is_transient(),
            _ => false,
        }
    }
}
