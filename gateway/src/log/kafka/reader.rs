//! Reads one partition while this process is assigned to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use rdkafka::Message;
use rdkafka::Offset as KafkaOffset;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::inspector::Inspector;
use super::rebalance::Rebalances;
use super::status::TopicStatus;
use super::wire;
use crate::coupon::{Offset, PartitionNo};
use crate::log::{LogError, ReadError, Reader, Stored};

/// A reader that misses a notification checks its queue after this time.
const RECHECK_EVERY: Duration = Duration::from_millis(500);
/// A seek fails until the library has started to fetch the partition.
const SEEK_RETRY_EVERY: Duration = Duration::from_millis(20);
const SEEK_MAX: Duration = Duration::from_secs(5);
/// A partition that is silent for this long may have lost the next record. By then the monitor has read its bounds
/// again.
const SILENT_MAX: Duration = Duration::from_secs(2);

/// Tells a reader that records arrived, or that its partition was revoked.
#[derive(Default)]
pub(super) struct PartitionLease {
    pub(super) revoked: CancellationToken,
    changed: Notify,
}

impl PartitionLease {
    pub(super) fn revoke(&self) {
        self.revoked.cancel();
        self.changed.notify_one();
    }

    pub(super) fn records_arrived(&self) {
        self.changed.notify_one();
    }

    fn is_revoked(&self) -> bool {
        self.revoked.is_cancelled()
    }
}

pub(super) struct PartitionReader {
    pub(super) queue: PartitionQueue<Rebalances>,
    pub(super) consumer: Arc<BaseConsumer<Rebalances>>,
    pub(super) topic: String,
    pub(super) partition: u32,
    pub(super) lease: Arc<PartitionLease>,
    pub(super) inspector: Arc<Inspector>,
    pub(super) status: Arc<TopicStatus>,
    /// The offset of the next record in the queue; `None` if unknown.
    pub(super) position: Option<Offset>,
    /// An offset that the brokers hold. A later record that arrives before it was fetched before a seek.
    pub(super) present: Option<Offset>,
    /// The member counts its readers by this reference.
    pub(super) _counted: Arc<()>,
}

impl PartitionReader {
    async fn wait_and_read(&mut self, from: Offset, records_max: usize) -> Result<Option<Vec<Stored>>, ReadError> {
        if self.position != Some(from) && !self.seek(from).await? {
            return Ok(None);
        }
        // Reading on means that everything before is settled.
        if let Some(settled) = from.checked_sub(1) {
            // Advisory: the ledger has the offset that counts, and Kafka's tools show this one.
            let _ = self.consumer.store_offset(&self.topic, self.partition.cast_signed(), settled.cast_signed());
        }
        let mut heard = Instant::now();
        while !self.lease.is_revoked() {
            let records = self.drain_queue(from, records_max)?;
            if !records.is_empty() {
                return Ok(Some(records));
            }
            let is_silent =
                heard.elapsed() > SILENT_MAX && self.status.reported_gap(PartitionNo(self.partition), from).is_some();
            if self.position.is_none() || is_silent {
                self.find_gap(from).await?;
                heard = Instant::now();
            }
            let _ = tokio::time::timeout(RECHECK_EVERY, self.lease.changed.notified()).await;
        }
        Ok(None)
    }

    /// Takes consecutive records. The position is unknown after it has taken one that is not the next: the next read
    /// seeks again.
    fn drain_queue(&mut self, from: Offset, records_max: usize) -> Result<Vec<Stored>, LogError> {
        let mut records = Vec::new();
        let mut next = from;
        while records.len() < records_max
            && let Some(message) = self.queue.poll(Duration::ZERO)
        {
            match message {
                Ok(message) if message.offset().unsigned_abs() == next => {
                    records.push(wire::stored(&message));
                    next += 1;
                    self.position = Some(next);
                }
                // Fetched before the seek.
                Ok(message) if message.offset().unsigned_abs() < next || self.present == Some(next) => {}
                Ok(_) => {
                    self.position = None;
                    break;
                }
                Err(error) if records.is_empty() => return Err(failed("read the log")(error)),
                // The next read reports it, if it persists.
                Err(_) => break,
            }
        }
        Ok(records)
    }

    /// Continues the queue at `from`, unless its record is missing. A record that was fetched before the seek looks
    /// like a gap too, so the brokers have the last word.
    async fn find_gap(&mut self, from: Offset) -> Result<(), ReadError> {
        self.position = None;
        if let Some(gap) = self.inspector.gap(self.partition.cast_signed(), from).await? {
            return Err(ReadError::Gap(gap));
        }
        self.present = Some(from);
        self.seek(from).await?;
        Ok(())
    }

    /// Continues the queue at an offset; `false` if the partition was revoked meanwhile.
    async fn seek(&mut self, from: Offset) -> Result<bool, LogError> {
        self.position = None;
        let begun = Instant::now();
        loop {
            if self.lease.is_revoked() {
                return Ok(false);
            }
            let (consumer, topic, partition) = (Arc::clone(&self.consumer), self.topic.clone(), self.partition);
            let seek = move || {
                consumer.seek(&topic, partition.cast_signed(), KafkaOffset::Offset(from.cast_signed()), SEEK_MAX)
            };
            match tokio::task::spawn_blocking(seek).await {
                Ok(Ok(())) => break,
                Ok(Err(error)) if begun.elapsed() > SEEK_MAX => return Err(failed("seek in the log")(error)),
                Ok(Err(_)) => tokio::time::sleep(SEEK_RETRY_EVERY).await,
                Err(error) => return Err(LogError { step: "seek in the log", source: error.into() }),
            }
        }
        self.position = Some(from);
        Ok(true)
    }
}

fn failed(step: &'static str) -> impl FnOnce(KafkaError) -> LogError {
    move |source| LogError { step, source: source.into() }
}

impl Reader for PartitionReader {
    fn read(&mut self, from: Offset, records_max: usize) -> BoxFuture<'_, Result<Option<Vec<Stored>>, ReadError>> {
        Box::pin(self.wait_and_read(from, records_max))
    }
}
