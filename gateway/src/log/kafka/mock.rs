//! A Kafka cluster in this process.

use std::sync::Arc;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::address::Address;
use super::security::client_config;
use super::status::TopicStatus;
use crate::log::Options;

const TOPIC: &str = "coupon-issue";

/// One broker, which has every partition.
pub(super) struct MockBroker {
    pub(super) cluster: MockCluster<'static, DefaultProducerContext>,
    pub(super) address: Address,
    pub(super) config: ClientConfig,
    pub(super) status: Arc<TopicStatus>,
}

impl MockBroker {
    pub(super) fn start(partitions: u32) -> Self {
        let cluster = MockCluster::new(1).expect("starts");
        cluster.create_topic(TOPIC, partitions.cast_signed(), 1).expect("creates the topic");
        let url = format!("kafka://{}/{TOPIC}", cluster.bootstrap_servers());
        let address = Address::parse(&url).expect("a URL");
        let config = client_config(&address, &Options::default()).expect("a configuration");
        Self { cluster, address, config, status: Arc::new(TopicStatus::new(partitions)) }
    }

    /// The leader of a partition dies, or comes back.
    pub(super) fn set_leader(&self, partition: i32, is_alive: bool) {
        self.cluster.partition_leader(TOPIC, partition, is_alive.then_some(1)).expect("the partition exists");
    }
}
