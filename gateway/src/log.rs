//! The log makes an accepted request durable and hands it to settlement in order.

#[cfg(test)]
mod contract;
mod embedded;
mod ensured;
mod gap;
mod kafka;
mod open;
mod options;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::coupon::{DecidedBy, LogId, Offset, PartitionNo, RequestId};

pub use ensured::{Change, Ensured};
pub use gap::Gap;
pub use open::{check, ensure_topics, is_shared, open};
pub use options::{Options, SaslMechanism};

/// What is appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `couponId:shardNo`.
    pub key: String,
    pub headers: Headers,
    /// The accepted request in its wire form.
    pub value: Vec<u8>,
}

/// Attributes of a record that can be read without parsing its value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers {
    /// CloudEvents `ce_id`. Absent only on records that another program wrote.
    pub request_id: Option<RequestId>,
    /// W3C Trace Context, as the client sent it.
    pub traceparent: Option<String>,
    /// What accepted the request.
    pub decided_by: DecidedBy,
}

/// A record at its offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub offset: Offset,
    pub record: Record,
}

/// A record that can never settle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetter<'a> {
    pub stored: &'a Stored,
    pub reason: &'a str,
}

/// Why an append failed. The record is not in the log, except after [`Failed`](AppendError::Failed): then it may be.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    #[error("the queue of the log is full")]
    Full,
    #[error("the log is closed")]
    Closed,
    #[error("no partition of this coupon accepts records: {0}")]
    NoPartition(Arc<str>),
    /// The record was not written.
    #[error("append failed: {0}")]
    NotWritten(Arc<str>),
    #[error("append failed: {0}")]
    Failed(Arc<str>),
}

/// Resolves to the record's offset once the record survives a crash. If the log cannot tell it, the offset may be that of
/// a later record of the partition: once that one is settled, this one is too.
#[derive(Debug)]
pub struct Ack(oneshot::Receiver<Result<Offset, AppendError>>);

/// Completes an [`Ack`].
pub type AckSender = oneshot::Sender<Result<Offset, AppendError>>;

impl Ack {
    #[must_use]
    pub fn pair() -> (AckSender, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }
}

impl Future for Ack {
    type Output = Result<Offset, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // A dropped sender is a writer that failed, before or after it wrote the record.
        let unknown = |_| Err(AppendError::Failed("the log stopped before it acknowledged the record".into()));
        Pin::new(&mut self.0).poll(context).map(|received| received.unwrap_or_else(unknown))
    }
}

/// An operation on an open log failed.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}")]
pub struct LogError {
    /// The operation, such as `read the log`.
    pub step: &'static str,
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Why a partition was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("offsets are missing: {0:?}")]
    Gap(Gap),
    #[error(transparent)]
    Failed(#[from] LogError),
}

/// A durable, partitioned log.
///
/// - `append` enqueues; the [`Ack`] resolves once the record survives a crash of the process and of the machine.
///   Records that one task appends to one partition keep their order.
/// - Offsets of a partition are 0, 1, 2, … A reader never skips one: a record that is missing is a [`Gap`].
/// - The log keeps the identity that it was given for as long as it exists. A log that was created again has none.
/// - Every queue is bounded: a full queue rejects an append at once with [`AppendError::Full`].
pub trait Log: Send + Sync + 'static {
    /// The number of partitions.
    fn partitions(&self) -> u32;

    /// Enqueues a record.
    ///
    /// # Errors
    /// [`AppendError::Full`] or [`AppendError::Closed`], at once.
    fn append(&self, partition: PartitionNo, record: Record) -> Result<Ack, AppendError>;

    /// The offset after the last durable record, as far as this process knows.
    fn end_offset(&self, partition: PartitionNo) -> Offset;

    /// The offset after the last durable record, read after this call, so that it covers what other processes had
    /// appended by then. `None` if it cannot be read now, such as while the partition has no leader.
    fn fresh_end_offset(&self, partition: PartitionNo) -> BoxFuture<'_, Option<Offset>>;

    /// The partitions that this process must settle, each when it is assigned. The channel closes when the log
    /// closes; if it closes earlier, no partition will be assigned any more.
    fn assignments(&self) -> mpsc::Receiver<Assignment>;

    /// Keeps records of a partition that can never settle, for an operator to inspect. After an error, some of them
    /// may be kept.
    fn dead_letter<'a>(
        &'a self,
        partition: PartitionNo,
        letters: &'a [DeadLetter<'a>],
    ) -> BoxFuture<'a, Result<(), LogError>>;

    /// What is missing at `offset`; `None` if its record is in the log, or is the next one to be appended.
    fn gap(&self, partition: PartitionNo, offset: Offset) -> BoxFuture<'_, Result<Option<Gap>, LogError>>;

    /// The identity that [`set_identity`](Self::set_identity) stored; `None` in a new log.
    fn identity(&self) -> BoxFuture<'_, Result<Option<LogId>, LogError>>;

    /// Stores the identity. Of several concurrent calls the last one wins.
    fn set_identity(&self, log_id: LogId) -> BoxFuture<'_, Result<(), LogError>>;

    /// Lets the log delete records before `offset` once they are older than the retention. Returns at once; the log
    /// deletes them in the background, without delaying appends.
    fn trim(&self, partition: PartitionNo, offset: Offset);

    /// Whether a record appended to the partition now would become durable.
    ///
    /// # Errors
    /// The reason why it would not.
    fn accepts(&self, partition: PartitionNo) -> Result<(), Arc<str>>;

    /// Whether at least one partition accepts records.
    ///
    /// # Errors
    /// The reason why the last one does not.
    fn ready(&self) -> Result<(), Arc<str>> {
        let partitions = (0..self.partitions()).map(PartitionNo);
        partitions.map(|partition| self.accepts(partition)).reduce(Result::or).unwrap_or(Ok(()))
    }

    /// Makes enqueued records durable and ends. Later appends are rejected.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A partition that this process settles until it is revoked.
pub struct Assignment {
    pub partition: PartitionNo,
    pub reader: Box<dyn Reader>,
    /// Cancelled when the partition is revoked: from then on, another process may claim it.
    pub revoked: CancellationToken,
}

/// Reads one partition.
pub trait Reader: Send {
    /// Waits for the record at `from` and returns it with those that follow, in order, up to `records_max`; `None`
    /// once the partition is revoked. Dropping the future loses no record.
    ///
    /// # Errors
    /// [`ReadError::Gap`] if the record at `from` is missing and will not arrive any more.
    fn read(&mut self, from: Offset, records_max: usize) -> BoxFuture<'_, Result<Option<Vec<Stored>>, ReadError>>;
}

/// Why a log did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("log.url: expected `embedded:PATH` or `kafka://BROKER:PORT,…/TOPIC`, found `{0}`")]
    UnknownUrl(String),
    /// The brokers do not answer. They may later.
    #[error("cannot reach {what}: {reason}")]
    Unreachable {
        /// The log, with its address.
        what: String,
        reason: String,
    },
    /// The topic does not exist, or differs from the options.
    #[error("log.url: the topic `{topic}` {problem}")]
    Topic {
        topic: String,
        /// What differs, and how to fix it.
        problem: String,
    },
    /// An option or a file that it names is invalid, or the brokers reject it.
    #[error("{option}: {problem}")]
    Refused {
        /// The key of the configuration.
        option: &'static str,
        /// The cause, and how to fix it. Contains no password.
        problem: String,
    },
    /// Another process has the file open.
    #[error("log.url: another sluice process has `{0}` open: stop it, or set a different log.url")]
    InUse(String),
    /// An existing log has another number of partitions.
    #[error("log.partitions: the log `{path}` {problem}")]
    Partitions {
        path: String,
        /// What differs, and how to fix it.
        problem: String,
    },
    #[error("log.url: cannot open `{path}`: {source}")]
    Failed {
        path: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OpenError {
    /// Whether a retry may succeed without a change of the configuration.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}
