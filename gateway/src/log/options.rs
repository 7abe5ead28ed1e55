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
    /// Number of partitions of a new log. An existing log keeps its number; startup fails if it differs from this one.
    #[serde(deserialize_with = "bounded::<_, _, 1, 256>")]
    pub partitions: u32,
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

impl Options {
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
