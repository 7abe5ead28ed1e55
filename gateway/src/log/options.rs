//! `[log]` of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bounded::bounded;

/// `[log]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section")]
pub struct Options {
    /// `embedded:PATH` keeps the log in a local file, `kafka://BROKER:PORT,…/TOPIC` in a Kafka topic.
    pub url: String,
    /// Number of partitions of a new log, for each ledger group. An existing log keeps its number; startup fails if it
    /// differs from this one.
    #[serde(deserialize_with = "bounded::<_, _, 1, 256>")]
    pub partitions: u32,
    /// The ledger groups, each of which has [`partitions`](Self::partitions) of the log: they follow from `ledger.urls`.
    #[serde(skip, default = "one_group")]
    pub groups: u32,
    /// Hours that a settled record is kept; 0 keeps all records. On Kafka it is the topic's retention: it
    /// applies to unsettled records too.
    #[serde(deserialize_with = "bounded::<_, _, 0, 87_600>")]
    pub retention_hours: u32,
    /// Kafka: minimum number of replicas of the topic.
    #[serde(deserialize_with = "bounded::<_, _, 1, 15>")]
    pub replicas: u32,
    /// Kafka: minimum number of in-sync replicas that must store a record before it is accepted.
    #[serde(deserialize_with = "bounded::<_, _, 1, 15>")]
    pub min_insync_replicas: u32,
    /// Kafka: consumer group shared by all processes that settle this topic.
    pub group: String,
    /// Kafka: whether to connect over TLS.
    pub tls: bool,
    /// Kafka: PEM file of a private CA. Without it, the system trust store is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ca_file: Option<PathBuf>,
    /// Kafka: SASL user. Without it, the connection is not authenticated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Kafka: file whose first line is the password of `username`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Kafka: SASL mechanism, `SCRAM-SHA-512`, `SCRAM-SHA-256` or `PLAIN`.
    pub sasl_mechanism: SaslMechanism,
}

/// How the password is proved to a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaslMechanism {
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Sends the password itself, so it requires TLS.
    #[serde(rename = "PLAIN")]
    Plain,
}

impl SaslMechanism {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Plain => "PLAIN",
        }
    }
}

const fn one_group() -> u32 {
    1
}

impl Options {
    /// The partitions of all ledger groups.
    pub(super) fn partitions_total(&self) -> u32 {
        self.partitions.saturating_mul(self.groups)
    }

    /// Whether a log has the partitions of the first ledger groups, and lacks those of others.
    pub(super) fn lacks_groups(&self, found: u32) -> bool {
        found < self.partitions_total() && found > 0 && found.is_multiple_of(self.partitions)
    }

    /// What is wrong with a log that has another number of partitions, and how to fix it. `elsewhere` is what to do if
    /// the log is the wrong one.
    pub(super) fn explain_partitions(&self, found: u32, elsewhere: &str) -> String {
        let (each, groups, expected) = (self.partitions, self.groups, self.partitions_total());
        let noun = if found == 1 { "partition" } else { "partitions" };
        match groups {
            1 if found > each && found.is_multiple_of(each) => format!(
                "has {found} {noun}, log.partitions expects {each}: if the system has {} ledger groups, list their \
                 databases in ledger.urls; otherwise set log.partitions = {found}, or {elsewhere}",
                found / each
            ),
            1 => format!(
                "has {found} {noun}, log.partitions expects {each}: set log.partitions = {found}, or {elsewhere}"
            ),
            _ if self.lacks_groups(found) => format!(
                "has {found} {noun}, {groups} ledger groups of {each} need {expected}: stop all consumers, then add the \
                 partitions with `sluice topic ensure`"
            ),
            _ => format!(
                "has {found} {noun}, {groups} ledger groups of {each} need {expected}: list the databases of all ledger \
                 groups in ledger.urls, and set log.partitions to the partitions of one group, or {elsewhere}"
            ),
        }
    }

    /// How long a record is kept; `None`: without limit.
    pub(super) fn retention(&self) -> Option<Duration> {
        let hours = u64::from(self.retention_hours);
        (hours > 0).then(|| Duration::from_secs(hours * 3600))
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: "embedded:data/log".to_owned(),
            partitions: 12,
            groups: one_group(),
            retention_hours: 168,
            replicas: 3,
            min_insync_replicas: 2,
            group: "coupon-issue-group".to_owned(),
            tls: false,
            tls_ca_file: None,
            username: None,
            password_file: None,
            sasl_mechanism: SaslMechanism::ScramSha512,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_with_another_number_of_partitions_is_explained_with_what_to_do() {
        let explain = |partitions, groups, found| {
            let options = Options { partitions, groups, ..Options::default() };
            options.explain_partitions(found, "use another log")
        };
        for (partitions, groups, found, expected) in [
            (12, 1, 6, "has 6 partitions, log.partitions expects 12: set log.partitions = 6, or use another log"),
            (12, 1, 24, "if the system has 2 ledger groups, list their databases in ledger.urls"),
            (
                12,
                2,
                12,
                "2 ledger groups of 12 need 24: stop all consumers, then add the partitions with `sluice topic",
            ),
            (12, 2, 36, "2 ledger groups of 12 need 24: list the databases of all ledger groups in ledger.urls"),
            (12, 2, 13, "2 ledger groups of 12 need 24: list the databases"),
        ] {
            let explained = explain(partitions, groups, found);
            assert!(explained.contains(expected), "{explained}");
        }
    }
}
