//! Kafka: a record is accepted once all in-sync replicas store it. A consumer group distributes the partitions among
//! the processes that settle; the offsets they have reached are in the ledger.

mod address;
mod batcher;
mod broker_errors;
mod delivery;
mod group;
mod inspector;
mod metadata;
#[cfg(test)]
mod mock;
mod monitor;
mod producer;
mod reader;
mod rebalance;
mod security;
mod settings;
mod status;
mod topic;
mod wire;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::{BoxFuture, try_join_all};
use rdkafka::ClientConfig;
use tokio::sync::{mpsc, oneshot};

use self::inspector::Inspector;
use self::monitor::Monitor;
use self::producer::Producer;
use self::security::client_config;
use self::status::{EndWaiter, TopicStatus};
use super::{Ack, AppendError, Assignment, DeadLetter, Gap, Log, LogError, OpenError, Options, Record};
use crate::background::Background;
use crate::coupon::{LogId, Offset, PartitionNo};
use crate::telemetry::Telemetry;

pub(super) use address::Address;
pub(super) use topic::ensure;

/// A status call waits this long for a fresh end offset: a few rounds of the monitor.
const FRESH_END_MAX: Duration = Duration::from_secs(2);

/// Checks the options and reads the files that they name. Connects to nothing.
///
/// # Errors
/// [`OpenError::Refused`].
pub(super) fn check(address: &Address, options: &Options) -> Result<(), OpenError> {
    client_config(address, options).map(|_| ())
}

pub(super) struct Kafka {
    address: Address,
    config: ClientConfig,
    group: String,
    status: Arc<TopicStatus>,
    inspector: Arc<Inspector>,
    producer: Producer,
    members: Mutex<Vec<JoinHandle<()>>>,
    /// Ends the threads, which check it between blocking calls.
    closed: Arc<AtomicBool>,
}

impl Kafka {
    /// Connects, and verifies the topic.
    ///
    /// # Errors
    /// [`OpenError::Unreachable`] if no broker answers, [`OpenError::Refused`] if the brokers reject the connection or
    /// are not trusted, [`OpenError::Topic`] if the topic is absent or differs from the options.
    pub(super) async fn open(
        address: Address,
        options: &Options,
        telemetry: &Telemetry,
    ) -> Result<(Self, Vec<Background>), OpenError> {
        let config = client_config(&address, options)?;
        let min_insync_replicas = topic::verify(&address, &config, options).await?;
        let status = Arc::new(TopicStatus::new(options.partitions_total()));
        let closed = Arc::new(AtomicBool::new(false));
        let start_monitor = {
            let (address, config, telemetry) = (address.clone(), config.clone(), telemetry.clone());
            let (status, closed) = (Arc::clone(&status), Arc::clone(&closed));
            move || Monitor::start(&address, &config, min_insync_replicas, status, closed, telemetry)
        };
        let monitor = tokio::task::spawn_blocking(start_monitor)
            .await
            .map_err(|error| address.unreachable(error.to_string()))??;
        let (producer, sender) = Producer::new(&address, &config, Arc::clone(&status), telemetry.clone())?;
        let members = Mutex::default();
        let inspector = Inspector::new(&address, &config);
        let group = options.group.clone();
        let log = Self { address, config, group, status, inspector, producer, members, closed };
        let background = vec![
            Background::blocking("log monitor", move || monitor.run()),
            Background::blocking("log sender", move || sender.run()),
        ];
        Ok((log, background))
    }

    async fn stop(&self) {
        self.producer.flush().await;
        self.producer.stop();
        let members = std::mem::take(&mut *self.members.lock().unwrap_or_else(PoisonError::into_inner));
        let leave = move || members.into_iter().try_for_each(JoinHandle::join);
        if !matches!(tokio::task::spawn_blocking(leave).await, Ok(Ok(()))) {
            tracing::error!("consumer group member did not end cleanly");
        }
    }
}

/// A log that was never closed, because the system failed to start, must not keep the process alive: a runtime waits
/// for its blocking threads.
impl Drop for Kafka {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
        self.producer.stop();
    }
}

impl Log for Kafka {
    fn partitions(&self) -> u32 {
        self.status.partitions()
    }

    fn append(&self, partition: PartitionNo, record: Record) -> Result<Ack, AppendError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(AppendError::Closed);
        }
        self.producer.append(partition, record)
    }

    fn end_offset(&self, partition: PartitionNo) -> Offset {
        self.status.end(partition)
    }

    fn fresh_end_offset(&self, partition: PartitionNo) -> BoxFuture<'_, Option<Offset>> {
        let (sender, end) = oneshot::channel();
        self.status.await_end(partition, EndWaiter::Caller(sender));
        Box::pin(async move { tokio::time::timeout(FRESH_END_MAX, end).await.ok()?.ok() })
    }

    fn assignments(&self) -> mpsc::Receiver<Assignment> {
        let (sender, receiver) = mpsc::channel(self.status.partitions() as usize);
        let (inspector, status) = (Arc::clone(&self.inspector), Arc::clone(&self.status));
        let closed = Arc::clone(&self.closed);
        match group::join(inspector, status, &self.address, &self.config, &self.group, sender, closed) {
            Ok(member) => self.members.lock().unwrap_or_else(PoisonError::into_inner).push(member),
            Err(error) => tracing::error!(%error, "consumer group member not started"),
        }
        receiver
    }

    fn dead_letter<'a>(
        &'a self,
        partition: PartitionNo,
        letters: &'a [DeadLetter<'a>],
    ) -> BoxFuture<'a, Result<(), LogError>> {
        Box::pin(async move {
            let topic = self.address.dead_letter_topic();
            let send = |letter: &DeadLetter<'_>| self.producer.dead_letter(&topic, partition, *letter);
            let acks: Result<Vec<Ack>, AppendError> = letters.iter().map(send).collect();
            let kept = async { try_join_all(acks?).await };
            kept.await.map_err(|source| LogError { step: "write dead letters", source: source.into() })?;
            Ok(())
        })
    }

    fn gap(&self, partition: PartitionNo, offset: Offset) -> BoxFuture<'_, Result<Option<Gap>, LogError>> {
        Box::pin(self.inspector.gap(partition.0.cast_signed(), offset))
    }

    fn identity(&self) -> BoxFuture<'_, Result<Option<LogId>, LogError>> {
        Box::pin(self.inspector.identity())
    }

    fn set_identity(&self, log_id: LogId) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(self.inspector.set_identity(log_id))
    }

    /// Does nothing: the topic's retention deletes old records.
    fn trim(&self, _: PartitionNo, _: Offset) {}

    fn accepts(&self, partition: PartitionNo) -> Result<(), Arc<str>> {
        self.status.problem(partition).map_or(Ok(()), Err)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.closed.store(true, Ordering::Release);
        Box::pin(self.stop())
    }
}

#[cfg(test)]
mod tests;
