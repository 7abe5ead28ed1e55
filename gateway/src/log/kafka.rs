//! Kafka: a record is accepted once all in-sync replicas have it, and settled by a consumer group whose
//! offsets stand in the ledger.

mod consumer;
mod batcher;
mod producer;
mod security;
mod topic;
mod wire;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use tokio::sync::mpsc;

use self::producer::Producer;
use self::security::client_config;
use super::{Ack, AppendError, Assignment, Log, LogError, OpenError, Options, Record, Stored};
use crate::background::Background;
use crate::coupon::{Offset, PartitionNo};
use crate::telemetry::Telemetry;

pub use topic::Ensured;
pub(super) use topic::ensure;

/// Looks whether the options go together, and whether the files that they name can be read.
///
/// # Errors
/// [`OpenError::Refused`].
pub(super) fn check(address: &Address, options: &Options) -> Result<(), OpenError> {
    client_config(address, options).map(|_| ())
}

/// A broker that does not answer a question about the topic within this time is out of reach.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a `kafka://` URL points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    brokers: String,
    topic: String,
}

impl Address {
    /// Reads `kafka://BROKER:PORT[,BROKER:PORT…]/TOPIC`.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let (brokers, topic) = url.strip_prefix("kafka://")?.split_once('/')?;
        let is_broker = |broker: &str| {
            broker.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        let is_named = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        // Kafka's own bound, less what the dead-letter topic adds.
        let is_topic = (1..=200).contains(&topic.len()) && topic.bytes().all(is_named);
        let is_whole = brokers.split(',').all(is_broker) && is_topic;
        is_whole.then(|| Self { brokers: brokers.to_owned(), topic: topic.to_owned() })
    }

    /// Where records go that can never settle.
    fn dead_letters(&self) -> String {
        format!("{}.dead-letter", self.topic)
    }

    fn unreachable(&self, reason: impl Into<String>) -> OpenError {
        OpenError::Unreachable { what: format!("Kafka at {}", self.brokers), reason: reason.into() }
    }
}

/// What is known of the log's partitions.
struct Ends {
    /// The offset after the last record that is known to be durable.
    offsets: Vec<AtomicU64>,
    /// Why records appended now would not become durable.
    trouble: Mutex<Option<String>>,
}

impl Ends {
    fn reached(&self, partition: i32, end: Offset) {
        let known = usize::try_from(partition).ok().and_then(|partition| self.offsets.get(partition));
        if let Some(known) = known {
            known.fetch_max(end, Ordering::Relaxed);
        }
    }

    fn of(&self, partition: PartitionNo) -> Offset {
        self.offsets.get(partition.0 as usize).map_or(0, |end| end.load(Ordering::Relaxed))
    }
}

/// A topic of a cluster.
pub struct Kafka {
    address: Address,
    config: ClientConfig,
    group: String,
    ends: Arc<Ends>,
    producer: Producer,
    members: Mutex<Vec<JoinHandle<()>>>,
    closed: Arc<AtomicBool>,
}

impl Kafka {
    /// Connects, and verifies the topic.
    ///
    /// # Errors
    /// [`OpenError::Unreachable`] when no broker answers, [`OpenError::Refused`] when one does not want this
    /// gateway or is not to be trusted, [`OpenError::Topic`] when the topic is not there or not of the shape
    /// that the options say.
    pub(super) async fn open(
        address: Address,
        options: &Options,
        telemetry: &Telemetry,
    ) -> Result<(Self, Background), OpenError> {
        let config = client_config(&address, options)?;
        let min_insync_replicas = topic::verify(&address, &config, options).await?;
        let partitions = options.partitions as usize;
        let ends = Arc::new(Ends {
            offsets: std::iter::repeat_with(AtomicU64::default).take(partitions).collect(),
            trouble: Mutex::default(),
        });
        let closed = Arc::new(AtomicBool::new(false));
        let watch = topic::Watch::new(
            &address,
            &config,
            min_insync_replicas,
            Arc::clone(&ends),
            Arc::clone(&closed),
            telemetry.clone(),
        )?;
        let watch = tokio::task::spawn_blocking(move || watch.start())
            .await
            .map_err(|error| address.unreachable(error.to_string()))??;
        let producer = Producer::new(&address, &config, Arc::clone(&ends), telemetry.clone())?;
        let members = Mutex::default();
        let log = Self { address, config, group: options.group.clone(), ends, producer, members, closed };
        Ok((log, Background::blocking("log monitor", move || watch.run())))
    }

    async fn end(&self) {
        self.producer.flush().await;
        let members = std::mem::take(&mut *self.members.lock().unwrap_or_else(PoisonError::into_inner));
        let leave = move || members.into_iter().try_for_each(JoinHandle::join);
        if !matches!(tokio::task::spawn_blocking(leave).await, Ok(Ok(()))) {
            tracing::error!("the consumer group was not left in good order");
        }
    }
}

impl Log for Kafka {
    fn partitions(&self) -> u32 {
        u32::try_from(self.ends.offsets.len()).expect("made from a u32")
    }

    fn append(&self, partition: PartitionNo, record: Record) -> Result<Ack, AppendError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(AppendError::Closed);
        }
        self.producer.append(partition, record)
    }

    fn end_offset(&self, partition: PartitionNo) -> Offset {
        self.ends.of(partition)
    }

    fn assignments(&self) -> mpsc::Receiver<Assignment> {
        let (sender, receiver) = mpsc::channel(self.ends.offsets.len());
        match consumer::follow(&self.address, &self.config, &self.group, sender, Arc::clone(&self.closed)) {
            Ok(member) => self.members.lock().unwrap_or_else(PoisonError::into_inner).push(member),
            Err(error) => tracing::error!(%error, "nothing is settled here: a thread cannot be started"),
        }
        receiver
    }

    fn dead_letter<'a>(
        &'a self,
        partition: PartitionNo,
        stored: &'a Stored,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<(), LogError>> {
        Box::pin(async move {
            let failed = |source: AppendError| LogError { step: "dead_letter a record", source: source.into() };
            self.producer
                .dead_letter(&self.address.dead_letters(), partition, stored, reason)
                .map_err(failed)?
                .await
                .map_err(failed)?;
            Ok(())
        })
    }

    /// The topic's own retention does that.
    fn trim(&self, _: PartitionNo, _: Offset) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn ready(&self) -> Result<(), String> {
        self.ends.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.closed.store(true, Ordering::Release);
        Box::pin(self.end())
    }
}

fn during(step: &'static str) -> impl FnOnce(KafkaError) -> LogError {
    move |source| LogError { step, source: source.into() }
}

#[cfg(test)]
mod tests;
