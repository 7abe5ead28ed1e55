//! A member of the consumer group, which hands out a reader for each partition that it is assigned.
//!
//! The group decides which process reads a partition. The ledger decides from which offset: the offsets that are
//! committed to Kafka only inform its tools.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use tokio::sync::mpsc;

use super::address::Address;
use super::inspector::Inspector;
use super::reader::{PartitionLease, PartitionReader};
use super::rebalance::{Change, Rebalances};
use super::status::TopicStatus;
use crate::background::{TaskFailure, fault_point};
use crate::coupon::PartitionNo;
use crate::log::Assignment;

/// Records that the library prefetches for a partition: by default a full settlement, while the one before runs.
const PREFETCH_RECORDS: &str = "2048";
/// Above this size the library stops fetching, which is how a partition is paused.
const PREFETCH_KIB: &str = "4096";
/// The library checks after this time whether it may fetch again. In the default of one second, a partition settles
/// its prefetched records twice over and then idles.
const PREFETCH_CHECK_MS: &str = "10";
/// The partitions of a member that is silent for this long go to others.
const SESSION_TIMEOUT_MS: &str = "10000";
const HEARTBEAT_MS: &str = "2000";
/// Bounds how late the member sees a rebalance, or that the log was closed.
const POLL_MAX: Duration = Duration::from_millis(100);
/// At shutdown, readers are dropped within this time. The member leaves the group after them.
const LEAVE_MAX: Duration = Duration::from_secs(3);

/// Joins the group and sends assignments until the log is closed or the receiver is dropped. If the member fails
/// earlier, it logs why, and the channel closes.
pub(super) fn join(
    inspector: Arc<Inspector>,
    status: Arc<TopicStatus>,
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
        .set("queued.min.messages", PREFETCH_RECORDS)
        .set("queued.max.messages.kbytes", PREFETCH_KIB)
        .set("fetch.queue.backoff.ms", PREFETCH_CHECK_MS)
        .set("enable.auto.offset.store", "false")
        .set("auto.commit.interval.ms", "1000")
        .set("auto.offset.reset", "earliest");
    let topic = address.topic.clone();
    let run = move || {
        let consumer = BaseConsumer::from_config_and_context(&config, Rebalances::default())?;
        consumer.subscribe(&[&topic])?;
        GroupMember::new(consumer, topic, assignments, inspector, status).run(&closed)
    };
    std::thread::Builder::new().name("kafka-consumer".to_owned()).spawn(move || log_failure(run))
}

/// The thread's result is not joined before the log is closed, so its failure is logged here.
fn log_failure(run: impl FnOnce() -> Result<(), KafkaError>) {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "consumer group member failed"),
        Err(payload) => {
            let error = TaskFailure::panicked("consumer group member", &*payload);
            tracing::error!(%error, "consumer group member failed");
        }
    }
}

struct GroupMember {
    consumer: Arc<BaseConsumer<Rebalances>>,
    topic: String,
    assignments: mpsc::Sender<Assignment>,
    inspector: Arc<Inspector>,
    status: Arc<TopicStatus>,
    leases: HashMap<u32, Arc<PartitionLease>>,
    /// Each reader holds a strong reference.
    readers: Weak<()>,
}

impl GroupMember {
    fn new(
        consumer: BaseConsumer<Rebalances>,
        topic: String,
        assignments: mpsc::Sender<Assignment>,
        inspector: Arc<Inspector>,
        status: Arc<TopicStatus>,
    ) -> Self {
        let consumer = Arc::new(consumer);
        Self { consumer, topic, assignments, inspector, status, leases: HashMap::new(), readers: Weak::new() }
    }

    /// Dropping the consumer at the end leaves the group, so other members need not wait for the session timeout.
    fn run(mut self, closed: &AtomicBool) -> Result<(), KafkaError> {
        while !closed.load(Ordering::Acquire) && !self.is_abandoned() {
            fault_point("consumer group member");
            match self.consumer.poll(POLL_MAX) {
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(error),
                Some(Err(error)) => tracing::warn!(%error, "consumer group member reported an error"),
                // A record that arrives before its partition has a queue is fetched again: the reader seeks.
                Some(Ok(_)) | None => {}
            }
            for change in self.consumer.context().take() {
                match change {
                    Change::Assigned(partitions) => {
                        partitions.into_iter().try_for_each(|partition| self.assign(partition))?;
                    }
                    Change::Revoked(partitions) => partitions.iter().for_each(|partition| self.revoke(partition)),
                }
            }
        }
        self.leases.values().for_each(|lease| lease.revoke());
        let begun = Instant::now();
        while self.readers.strong_count() > 0 && begun.elapsed() < LEAVE_MAX {
            let _ = self.consumer.poll(POLL_MAX);
        }
        Ok(())
    }

    /// Nothing in this process settles any more.
    fn is_abandoned(&self) -> bool {
        self.assignments.is_closed() && self.readers.strong_count() == 0
    }

    /// A partition without a reader would never be settled, so its failure ends the member.
    fn assign(&mut self, partition: u32) -> Result<(), KafkaError> {
        if partition >= self.status.partitions() {
            let problem = format!("partition {partition} was added for a new ledger group: restart with its database");
            return Err(KafkaError::Subscription(problem));
        }
        let Some(mut queue) = self.consumer.split_partition_queue(&self.topic, partition.cast_signed()) else {
            return Err(KafkaError::Subscription(format!("partition {partition} has no queue")));
        };
        let lease = Arc::new(PartitionLease::default());
        let notified = Arc::clone(&lease);
        queue.set_nonempty_callback(move || notified.records_arrived());
        let counted = self.readers.upgrade().unwrap_or_default();
        self.readers = Arc::downgrade(&counted);
        let reader = PartitionReader {
            consumer: Arc::clone(&self.consumer),
            topic: self.topic.clone(),
            partition,
            queue,
            lease: Arc::clone(&lease),
            inspector: Arc::clone(&self.inspector),
            status: Arc::clone(&self.status),
            position: None,
            present: None,
            _counted: counted,
        };
        let revoked = lease.revoked.clone();
        self.leases.insert(partition, lease);
        tracing::info!(partition, "partition assigned");
        let assignment = Assignment { partition: PartitionNo(partition), reader: Box::new(reader), revoked };
        // Fails if settlement has ended.
        let _ = self.assignments.blocking_send(assignment);
        Ok(())
    }

    fn revoke(&mut self, partition: &u32) {
        if let Some(lease) = self.leases.remove(partition) {
            tracing::info!(partition, "partition revoked");
            lease.revoke();
        }
    }
}
