//! A client that asks the brokers about the topic.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;

use super::address::Address;
use super::broker_errors::{BrokerErrors, client_creation_failed};
use crate::coupon::Offset;
use crate::log::OpenError;

/// After this time the library disconnects from a broker that does not answer, and asks another one. By default that
/// takes a minute, in which it may ask the same one again and again.
const BROKER_ANSWERS_WITHIN_MS: &str = "1500";
/// The library delivers errors only when polled. Those that it has, it delivers within this time.
const POLL_MAX: Duration = Duration::from_millis(50);

/// Never consumes: only a consumer can ask for both metadata and offsets.
pub(super) struct MetadataClient {
    client: BaseConsumer<BrokerErrors>,
    topic: String,
}

impl MetadataClient {
    pub(super) fn new(address: &Address, config: &ClientConfig) -> Result<Self, OpenError> {
        let mut config = config.clone();
        // `BrokerErrors` reads closed connections from the library's log, whatever this process logs.
        config.set_log_level(RDKafkaLogLevel::Info);
        config.set("socket.timeout.ms", BROKER_ANSWERS_WITHIN_MS);
        let client = BaseConsumer::from_config_and_context(&config, BrokerErrors::default())
            .map_err(|error| client_creation_failed(address, error))?;
        Ok(Self { client, topic: address.topic.clone() })
    }

    pub(super) fn topic(&self, timeout: Duration) -> Result<Metadata, KafkaError> {
        self.client.fetch_metadata(Some(&self.topic), timeout)
    }

    /// The offset of a partition's first record, and the one after its last.
    pub(super) fn offsets(&self, partition: i32, timeout: Duration) -> Result<[Offset; 2], KafkaError> {
        let (start, end) = self.client.fetch_watermarks(&self.topic, partition, timeout)?;
        Ok([start, end].map(i64::unsigned_abs))
    }

    /// What the library has reported since the last call.
    pub(super) fn errors(&self) -> &BrokerErrors {
        while self.client.poll(POLL_MAX).is_some() {}
        self.client.context()
    }
}
