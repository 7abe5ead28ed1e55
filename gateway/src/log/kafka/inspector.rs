//! Requests about the topic that need a consumer of their own: its identity, and what is missing at an offset.
//!
//! The identity is the metadata of an offset that a reserved consumer group commits. Brokers delete the committed
//! offsets of a topic with the topic, so a topic that is created again under its name has no identity. They also
//! delete them `offsets.retention.minutes` after the last commit, so running processes commit it again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, Message, Offset as KafkaOffset, TopicPartitionList};

use super::address::Address;
use super::broker_errors::BrokerErrors;
use crate::coupon::{LogId, Offset};
use crate::log::{Gap, LogError};

/// A request that takes longer is retried by the caller.
const REQUEST_MAX: Duration = Duration::from_secs(10);
const POLL_MAX: Duration = Duration::from_millis(100);
const COORDINATOR_RETRY_EVERY: Duration = Duration::from_millis(200);
/// The partition whose committed offset carries the identity. Every topic has it.
const IDENTITY_PARTITION: i32 = 0;

/// Connects for each request: they are rare, and an idle consumer must be polled.
pub(super) struct Inspector {
    address: Address,
    config: ClientConfig,
}

impl Inspector {
    pub(super) fn new(address: &Address, config: &ClientConfig) -> Arc<Self> {
        let mut config = config.clone();
        config
            .set("group.id", format!("{}.identity", address.topic))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest");
        Arc::new(Self { address: address.clone(), config })
    }

    /// What is missing at an offset. A record within the partition's bounds can be missing too, after a compaction.
    /// The producer is not transactional, so no control record takes an offset.
    pub(super) async fn gap(self: &Arc<Self>, partition: i32, from: Offset) -> Result<Option<Gap>, LogError> {
        self.request("look for a gap in the log", move |inspector| inspector.find_gap(partition, from)).await
    }

    pub(super) async fn identity(self: &Arc<Self>) -> Result<Option<LogId>, LogError> {
        let text = self.request("read the log's identity", Self::committed_metadata).await?;
        let parsed = text.map(|text| text.parse::<LogId>()).transpose();
        parsed.map_err(|source| LogError { step: "read the log's identity", source: source.into() })
    }

    pub(super) async fn set_identity(self: &Arc<Self>, log_id: LogId) -> Result<(), LogError> {
        self.request("store the log's identity", move |inspector| inspector.commit_metadata(&log_id.to_string())).await
    }

    async fn request<T: Send + 'static>(
        self: &Arc<Self>,
        step: &'static str,
        request: impl Fn(&Self) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, LogError> {
        let inspector = Arc::clone(self);
        match tokio::task::spawn_blocking(move || retry_while_coordinator_moves(|| request(&inspector))).await {
            Ok(answered) => answered.map_err(|source| LogError { step, source: source.into() }),
            Err(error) => Err(LogError { step, source: error.into() }),
        }
    }

    fn connect(&self) -> Result<BaseConsumer<BrokerErrors>, KafkaError> {
        BaseConsumer::from_config_and_context(&self.config, BrokerErrors::default())
    }

    fn find_gap(&self, partition: i32, from: Offset) -> Result<Option<Gap>, KafkaError> {
        let consumer = self.connect()?;
        let (start, end) = consumer.fetch_watermarks(&self.address.topic, partition, REQUEST_MAX)?;
        let (start, end) = (start.unsigned_abs(), end.unsigned_abs());
        let outside = Gap::outside(start, end, from);
        if outside.is_some() || from == end {
            return Ok(outside);
        }
        let first = self.first_record(&consumer, partition, from)?;
        Ok((first > from).then_some(Gap::Missing { from, to: first }))
    }

    /// The offset of the first record at or after `from`.
    fn first_record(
        &self,
        consumer: &BaseConsumer<BrokerErrors>,
        partition: i32,
        from: Offset,
    ) -> Result<Offset, KafkaError> {
        let mut position = TopicPartitionList::new();
        position.add_partition_offset(&self.address.topic, partition, KafkaOffset::Offset(from.cast_signed()))?;
        consumer.assign(&position)?;
        let begun = Instant::now();
        while begun.elapsed() < REQUEST_MAX {
            if let Some(message) = consumer.poll(POLL_MAX) {
                return Ok(message?.offset().unsigned_abs());
            }
        }
        Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut))
    }

    /// `None` if no identity is stored.
    fn committed_metadata(&self) -> Result<Option<String>, KafkaError> {
        let mut partition = TopicPartitionList::new();
        partition.add_partition(&self.address.topic, IDENTITY_PARTITION);
        let committed = self.connect()?.committed_offsets(partition, REQUEST_MAX)?;
        let Some(element) = committed.elements().into_iter().next() else { return Ok(None) };
        element.error()?;
        Ok(Some(element.metadata().to_owned()).filter(|text| !text.is_empty()))
    }

    fn commit_metadata(&self, text: &str) -> Result<(), KafkaError> {
        let mut offsets = TopicPartitionList::new();
        {
            let mut element = offsets.add_partition(&self.address.topic, IDENTITY_PARTITION);
            element.set_offset(KafkaOffset::Offset(0))?;
            element.set_metadata(text);
        }
        self.connect()?.commit(&offsets, CommitMode::Sync)
    }
}

/// Brokers of a cluster that starts or loses one have no coordinator of the group for some seconds.
fn retry_while_coordinator_moves<T>(request: impl Fn() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
    use RDKafkaErrorCode::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
    let begun = Instant::now();
    loop {
        let answered = request();
        let code = answered.as_ref().err().and_then(KafkaError::rdkafka_error_code);
        let is_moving = matches!(code, Some(CoordinatorLoadInProgress | CoordinatorNotAvailable | NotCoordinator));
        if !is_moving || begun.elapsed() > REQUEST_MAX {
            return answered;
        }
        std::thread::sleep(COORDINATOR_RETRY_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::super::mock::MockBroker;
    use super::*;

    #[tokio::test]
    async fn the_identity_is_stored_although_its_coordinator_moves() {
        let broker = MockBroker::start(1);
        let inspector = Inspector::new(&broker.address, &broker.config);
        let moving = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR; 2];
        broker.cluster.request_errors(RDKafkaApiKey::OffsetCommit, &moving);
        let identity = LogId::random();
        inspector.set_identity(identity).await.expect("stores");
        assert_eq!(inspector.identity().await.expect("reads"), Some(identity));
    }
}
