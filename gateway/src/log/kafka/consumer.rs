//! Reading: a member of the consumer group, and a reader for each partition it is assigned.
//!
//! The group only says who reads what. Where a partition is read from is what the ledger says; the offsets
//! that are committed to Kafka are for its own tools to show.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::{ClientConfig, Offset as KafkaOffset, TopicPartitionList};
use tokio::sync::{Notify, mpsc};

use super::{Address, during, wire};
use crate::coupon::{Offset, PartitionNo};
use crate::log::{Assignment, LogError, Reader, Stored};

/// Records that the client library holds ahead for a partition: one full settlement and the next.
const AHEAD_RECORDS: &str = "2048";
/// And so much of them at most; past it nothing is fetched, which is how a partition is paused.
const AHEAD_KIB: &str = "4096";
/// Whether it is past that is looked at again after so long. By default that is a second, in which a partition
/// settles what it holds twice over, and then has nothing to do.
const AHEAD_LOOK_MS: &str = "10";
/// A member that is silent for so long is dead, and its partitions go to others.
const SESSION_TIMEOUT_MS: &str = "10000";
const HEARTBEAT_MS: &str = "2000";
/// How long a look for changes of the group takes.
const POLL: Duration = Duration::from_millis(100);
/// A reader that was not told of news looks again by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// A seek is refused until the partition's fetcher has started.
const SEEK_EVERY: Duration = Duration::from_millis(20);
const SEEK_MAX: Duration = Duration::from_secs(5);
/// At shutdown, readers let go within this time; then the member leaves.
const LEAVE_MAX: Duration = Duration::from_secs(3);

/// A change of what this member reads.
enum Change {
    Assigned(Vec<u32>),
    Revoked(Vec<u32>),
}

/// Notes changes of the group; the callback itself does nothing that could wait.
#[derive(Default)]
struct Member {
    changes: Mutex<Vec<Change>>,
}

impl ClientContext for Member {}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let change = match rebalance {
            Rebalance::Assign(partitions) => Change::Assigned(numbers(partitions)),
            Rebalance::Revoke(partitions) => Change::Revoked(numbers(partitions)),
            Rebalance::Error(error) => return tracing::warn!(%error, "the consumer group"),
        };
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push(change);
    }
}

fn numbers(partitions: &TopicPartitionList) -> Vec<u32> {
    partitions.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()).collect()
}

/// How long a partition is this member's.
#[derive(Default)]
struct PartitionLease {
    is_over: AtomicBool,
    news: Notify,
}

impl PartitionLease {
    fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.news.notify_one();
    }
}

/// Joins the group and hands out the partitions it is assigned, until `closed`, or until nobody wants any.
pub(super) fn follow(
    address: &Address,
    config: &ClientConfig,
    group: &str,
    assignments: mpsc::Sender<Assignment>,
    closed: Arc<AtomicBool>,
) -> std::io::Result<JoinHandle<()>> {
    let mut config = config.clone();
    config
        .set("group.id", group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", SESSION_TIMEOUT_MS)
        .set("heartbeat.interval.ms", HEARTBEAT_MS)
        .set("queued.min.messages", AHEAD_RECORDS)
        .set("queued.max.messages.kbytes", AHEAD_KIB)
        .set("fetch.queue.backoff.ms", AHEAD_LOOK_MS)
        .set("enable.auto.offset.store", "false")
        .set("auto.commit.interval.ms", "1000")
        .set("auto.offset.reset", "earliest");
    let topic = address.topic.clone();
    let run = move || {
        let joined = BaseConsumer::from_config_and_context(&config, Member::default())
            .and_then(|consumer| consumer.subscribe(&[&topic]).map(|()| consumer));
        match joined {
            Ok(consumer) => Membership::new(Arc::new(consumer), topic, assignments).run(&closed),
            Err(error) => tracing::error!(%error, "nothing is settled here: the consumer group cannot be joined"),
        }
    };
    std::thread::Builder::new().name("kafka-consumer".to_owned()).spawn(run)
}

/// The thread that keeps the membership alive.
struct Membership {
    consumer: Arc<BaseConsumer<Member>>,
    topic: String,
    assignments: mpsc::Sender<Assignment>,
    leases: HashMap<u32, Arc<PartitionLease>>,
    /// Held by every reader.
    reading: Weak<()>,
}

impl Membership {
    fn new(consumer: Arc<BaseConsumer<Member>>, topic: String, assignments: mpsc::Sender<Assignment>) -> Self {
        Self { consumer, topic, assignments, leases: HashMap::new(), reading: Weak::new() }
    }

    fn run(mut self, closed: &AtomicBool) {
        let nobody_reads = |this: &Self| this.assignments.is_closed() && this.reading.strong_count() == 0;
        while !closed.load(Ordering::Acquire) && !nobody_reads(&self) {
            // A record that came before its queue was split off is fetched again: its reader seeks.
            if let Some(Err(error)) = self.consumer.poll(POLL) {
                tracing::warn!(%error, "the consumer");
            }
            let changes =
                std::mem::take(&mut *self.consumer.context().changes.lock().unwrap_or_else(PoisonError::into_inner));
            for change in changes {
                match change {
                    Change::Assigned(partitions) => partitions.into_iter().for_each(|partition| self.begin(partition)),
                    Change::Revoked(partitions) => partitions.iter().for_each(|partition| self.end(partition)),
                }
            }
        }
        self.leases.values().for_each(|lease| lease.end());
        let begun = Instant::now();
        while self.reading.strong_count() > 0 && begun.elapsed() < LEAVE_MAX {
            let _ = self.consumer.poll(POLL);
        }
        // Dropping the consumer leaves the group, so that others need not wait for the session to time out.
    }

    fn begin(&mut self, partition: u32) {
        let Some(mut queue) = self.consumer.split_partition_queue(&self.topic, partition.cast_signed()) else { return };
        let lease = Arc::new(PartitionLease::default());
        let news = Arc::clone(&lease);
        queue.set_nonempty_callback(move || news.news.notify_one());
        let reading = self.reading.upgrade().unwrap_or_default();
        self.reading = Arc::downgrade(&reading);
        let reader = PartitionReader {
            consumer: Arc::clone(&self.consumer),
            topic: self.topic.clone(),
            partition,
            queue,
            lease: Arc::clone(&lease),
            position: None,
            _reading: reading,
        };
        self.leases.insert(partition, lease);
        tracing::info!(partition, "assigned");
        // Nobody settles any more.
        let _ =
            self.assignments.blocking_send(Assignment { partition: PartitionNo(partition), reader: Box::new(reader) });
    }

    fn end(&mut self, partition: &u32) {
        if let Some(lease) = self.leases.remove(partition) {
            tracing::info!(partition, "revoked");
            lease.end();
        }
    }
}

struct PartitionReader {
    queue: PartitionQueue<Member>,
    consumer: Arc<BaseConsumer<Member>>,
    topic: String,
    partition: u32,
    lease: Arc<PartitionLease>,
    /// The offset of the record that the queue gives next; `None` when that is not known.
    position: Option<Offset>,
    _reading: Arc<()>,
}

impl PartitionReader {
    async fn wait_and_read(&mut self, from: Offset, records_max: usize) -> Result<Option<Vec<Stored>>, LogError> {
        if self.position != Some(from) && !self.seek(from).await? {
            return Ok(None);
        }
        // Whoever reads on has settled what stands before.
        if let Some(settled) = from.checked_sub(1) {
            // It is for show.
            let _ = self.consumer.store_offset(&self.topic, self.partition.cast_signed(), settled.cast_signed());
        }
        while !self.lease.is_over.load(Ordering::Acquire) {
            let records = self.poll(from, records_max)?;
            if let Some(last) = records.last() {
                self.position = Some(last.offset + 1);
                return Ok(Some(records));
            }
            let _ = tokio::time::timeout(LOOK_AGAIN, self.lease.news.notified()).await;
        }
        Ok(None)
    }

    /// What the queue holds now.
    fn poll(&self, from: Offset, records_max: usize) -> Result<Vec<Stored>, LogError> {
        let mut records = Vec::new();
        while records.len() < records_max
            && let Some(message) = self.queue.poll(Duration::ZERO)
        {
            match message {
                Ok(message) if message_offset(&message) >= from => records.push(wire::stored(&message)),
                Ok(_) => {}
                Err(error) if records.is_empty() => return Err(during("read the log")(error)),
                Err(_) => break,
            }
        }
        Ok(records)
    }

    /// Sets where the queue goes on; `false` when the partition was revoked meanwhile.
    async fn seek(&mut self, from: Offset) -> Result<bool, LogError> {
        self.position = None;
        let begun = Instant::now();
        loop {
            if self.lease.is_over.load(Ordering::Acquire) {
                return Ok(false);
            }
            let (consumer, topic, partition) = (Arc::clone(&self.consumer), self.topic.clone(), self.partition);
            let seek = move || {
                consumer.seek(&topic, partition.cast_signed(), KafkaOffset::Offset(from.cast_signed()), SEEK_MAX)
            };
            match tokio::task::spawn_blocking(seek).await {
                Ok(Ok(())) => break,
                Ok(Err(error)) if begun.elapsed() > SEEK_MAX => return Err(during("seek in the log")(error)),
                Ok(Err(_)) => tokio::time::sleep(SEEK_EVERY).await,
                Err(error) => return Err(LogError { step: "seek in the log", source: error.into() }),
            }
        }
        self.position = Some(from);
        Ok(true)
    }
}

fn message_offset(message: &rdkafka::message::BorrowedMessage<'_>) -> Offset {
    rdkafka::Message::offset(message).unsigned_abs()
}

impl Reader for PartitionReader {
    fn read(&mut self, from: Offset, records_max: usize) -> BoxFuture<'_, Result<Option<Vec<Stored>>, LogError>> {
        Box::pin(self.wait_and_read(from, records_max))
    }
}
