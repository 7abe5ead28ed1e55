//! The log: what makes an accepted request durable, and hands it to settlement in order.

#[cfg(test)]
pub(crate) mod contract;
pub mod embedded;
pub mod kafka;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::background::Background;
use crate::bounded::bounded;
use crate::coupon::{GenerationNo, Offset, PartitionNo, RequestId};
use crate::telemetry::Telemetry;

/// `[log]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `embedded:PATH` keeps the log in a file of this machine, `kafka://BROKER:PORT,…/TOPIC` in a topic.
    pub url: String,
    /// Into how many partitions a new log is split. An existing log keeps the number it has, and a
    /// start that expects another one fails.
    #[serde(deserialize_with = "bounded::<_, _, 1, 256>")]
    pub partitions: u32,
    /// How long a settled record is kept, in hours; a topic keeps every record so long.
    #[serde(deserialize_with = "bounded::<_, _, 0, 87_600>")]
    pub retention_hours: u32,
    /// Kafka: how many replicas the topic has at least.
    #[serde(deserialize_with = "bounded::<_, _, 1, 15>")]
    pub replicas: u32,
    /// Kafka: how many of them have a record before it is accepted.
    #[serde(deserialize_with = "bounded::<_, _, 1, 15>")]
    pub min_insync_replicas: u32,
    /// Kafka: the group of all processes that settle.
    pub group: String,
    /// Kafka: whether connections are encrypted.
    pub tls: bool,
    /// Kafka: certificates to trust, in PEM; the system's without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ca_file: Option<PathBuf>,
    /// Kafka: who this is, where the brokers ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Kafka: the file whose first line is the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Kafka: how the password is shown.
    pub sasl_mechanism: SaslMechanism,
}

/// How a password is shown to a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaslMechanism {
    /// RFC 5802, with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    /// RFC 5802, with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// As it is; only with TLS.
    #[serde(rename = "PLAIN")]
    Plain,
}

impl SaslMechanism {
    const fn as_str(self) -> &'static str {
        match self {
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Plain => "PLAIN",
        }
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

/// What is appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `couponId:shardNo`.
    pub key: String,
    /// What travels beside the value.
    pub headers: Headers,
    /// The accepted request in its wire form.
    pub value: Vec<u8>,
}

/// What travels beside the value, readable without parsing it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers {
    /// CloudEvents `ce_id`. A record that somebody else wrote may have none.
    pub request_id: Option<RequestId>,
    /// W3C Trace Context, as the client sent it.
    pub traceparent: Option<String>,
    /// Which generation of the pipeline decided.
    pub generation: GenerationNo,
}

/// A record with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the partition.
    pub offset: Offset,
    /// What was appended.
    pub record: Record,
}

/// Why an append failed. In each case the record is not in the log, except after
/// [`Failed`](AppendError::Failed), where it may be.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The queue before the log is at its bound.
    #[error("the log's queue is full")]
    Full,
    /// The log is shut down.
    #[error("the log is closed")]
    Closed,
    /// The log could not make the record durable.
    #[error("append to the log: {0}")]
    Failed(Arc<str>),
}

/// Resolves to the record's offset when the record survives a crash, and not before.
#[derive(Debug)]
pub struct Ack(oneshot::Receiver<Result<Offset, AppendError>>);

/// The other end of an [`Ack`].
pub type AckSender = oneshot::Sender<Result<Offset, AppendError>>;

impl Ack {
    /// An acknowledgement and the end that gives it.
    #[must_use]
    pub fn pair() -> (AckSender, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }
}

impl Future for Ack {
    type Output = Result<Offset, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(AppendError::Closed)))
    }
}

/// Reading or keeping the log failed.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}")]
pub struct LogError {
    /// What was being done.
    pub step: &'static str,
    /// What went wrong.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A durable, partitioned log.
///
/// - `append` enqueues; the [`Ack`] resolves when the record survives a crash of the process and of
///   the machine. Two records appended one after the other to one partition by one task keep their
///   order.
/// - Offsets of a partition are 0, 1, 2, … without a gap in what a reader sees, save at its start,
///   where settled records have been trimmed.
/// - Every queue is bounded: a full one refuses at once with [`AppendError::Full`].
pub trait Log: Send + Sync + 'static {
    /// How many partitions there are.
    fn partitions(&self) -> u32;

    /// Enqueues a record.
    ///
    /// # Errors
    /// [`AppendError::Full`] or [`AppendError::Closed`], at once.
    fn append(&self, partition: PartitionNo, record: Record) -> Result<Ack, AppendError>;

    /// The offset after the last durable record, as far as this process knows.
    fn end_offset(&self, partition: PartitionNo) -> Offset;

    /// The partitions that this process is to settle, each as it is assigned. The channel closes when the log can
    /// assign no more.
    fn assignments(&self) -> mpsc::Receiver<Assignment>;

    /// Keeps a record that can never settle where an operator can look at it.
    fn dead_letter<'a>(
        &'a self,
        partition: PartitionNo,
        stored: &'a Stored,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<(), LogError>>;

    /// Lets go of records before `offset` that have outlived their retention.
    fn trim(&self, partition: PartitionNo, offset: Offset) -> BoxFuture<'_, Result<(), LogError>>;

    /// Whether a record appended now would be made durable.
    fn ready(&self) -> Result<(), String>;

    /// Makes what was enqueued durable and ends. Appends after it are refused.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A partition to settle, and the way to read it.
pub struct Assignment {
    /// Which one.
    pub partition: PartitionNo,
    /// Reads it until it is revoked.
    pub reader: Box<dyn Reader>,
}

/// Reads one partition.
pub trait Reader: Send {
    /// Waits for records from `from` on and answers with the next ones in order, at least one and at
    /// most `records_max`; `None` when the partition is no longer this process's. Dropping the future
    /// loses nothing.
    fn read(&mut self, from: Offset, records_max: usize) -> BoxFuture<'_, Result<Option<Vec<Stored>>, LogError>>;
}

/// Opening the log failed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No adapter knows the scheme.
    #[error("log.url: expected `embedded:PATH` or `kafka://BROKER:PORT,…/TOPIC`, found `{0}`")]
    UnknownUrl(String),
    /// Nobody answers there; somebody may later.
    #[error("reach {what}: {reason}")]
    Unreachable {
        /// Whom.
        what: String,
        /// What went wrong.
        reason: String,
    },
    /// The topic is not there, or not as the configuration says.
    #[error("log.url: the topic `{topic}` {problem}")]
    Topic {
        /// Its name.
        topic: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// An option, or a file that it names, is wrong, or the brokers do not go along with it.
    #[error("{option}: {problem}")]
    Refused {
        /// Which one.
        option: &'static str,
        /// What is wrong, and what to do. It shows no password.
        problem: String,
    },
    /// Another process has it open.
    #[error("another sluice already runs on `{0}`; stop it first, or give this one a log.url of its own")]
    InUse(String),
    /// It was made with another number of partitions.
    #[error(
        "log.partitions: the log `{path}` has {found} partitions, the configuration expects {expected}; \
         set log.partitions = {found}, or give log.url a new path"
    )]
    Partitions {
        /// Where it lies.
        path: String,
        /// How many it has.
        found: u32,
        /// How many the configuration says.
        expected: u32,
    },
    /// Anything else.
    #[error("open the log `{path}`: {source}")]
    Failed {
        /// Where it lies.
        path: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OpenError {
    /// Whether waiting may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// Which adapter a URL names, and what for.
enum Adapter<'a> {
    Embedded(&'a str),
    Kafka(kafka::Address),
}

impl<'a> Adapter<'a> {
    fn of(options: &'a Options) -> Result<Self, OpenError> {
        if let Some(path) = options.url.strip_prefix("embedded:").filter(|path| !path.is_empty()) {
            return Ok(Self::Embedded(path));
        }
        kafka::Address::parse(&options.url).map(Self::Kafka).ok_or_else(|| OpenError::UnknownUrl(options.url.clone()))
    }
}

/// Looks whether an adapter knows the URL, and opens nothing but the files that the options name.
///
/// # Errors
/// [`OpenError::UnknownUrl`] or [`OpenError::Refused`].
pub fn check(options: &Options) -> Result<(), OpenError> {
    match Adapter::of(options)? {
        Adapter::Embedded(_) => Ok(()),
        Adapter::Kafka(address) => kafka::check(&address, options),
    }
}

/// Opens the log that the URL names. It needs its background task to make records durable and to stay up to date.
///
/// # Errors
/// [`OpenError`] says what to do about it.
pub async fn open(options: &Options, telemetry: &Telemetry) -> Result<(Arc<dyn Log>, Background), OpenError> {
    match Adapter::of(options)? {
        Adapter::Embedded(path) => {
            let (log, writer) = embedded::Embedded::open(path, options, telemetry).await?;
            Ok((Arc::new(log), writer))
        }
        Adapter::Kafka(address) => {
            let (log, monitor) = kafka::Kafka::open(address, options, telemetry).await?;
            Ok((Arc::new(log), monitor))
        }
    }
}

/// Makes the topics that the URL names, where they are absent. An embedded log needs none.
///
/// # Errors
/// [`OpenError`] says what to do about it.
pub fn ensure_topics(options: &Options) -> BoxFuture<'_, Result<Vec<kafka::Ensured>, OpenError>> {
    Box::pin(async {
        match Adapter::of(options)? {
            Adapter::Embedded(_) => Ok(Vec::new()),
            Adapter::Kafka(address) => kafka::ensure(&address, options).await,
        }
    })
}
