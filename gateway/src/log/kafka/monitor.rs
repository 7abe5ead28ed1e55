//! Follows the topic: what other gateways append, and whether enough replicas are in sync.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::metadata::MetadataTopic;

use super::address::Address;
use super::metadata::MetadataClient;
use super::status::TopicStatus;
use crate::log::OpenError;
use crate::telemetry::{BrokersSeen, OffsetsSeen, ReplicasSeen, Telemetry};

/// The most that end offsets and replica state may lag behind the brokers.
const REFRESH_EVERY: Duration = Duration::from_millis(500);
const REQUEST_MAX: Duration = Duration::from_secs(2);

pub(super) struct Monitor {
    client: MetadataClient,
    min_insync_replicas: usize,
    status: Arc<TopicStatus>,
    closed: Arc<AtomicBool>,
    telemetry: Telemetry,
}

impl Monitor {
    /// Reads the end offsets once: without them, a log is not open. Blocks.
    pub(super) fn start(
        address: &Address,
        config: &ClientConfig,
        min_insync_replicas: u32,
        status: Arc<TopicStatus>,
        closed: Arc<AtomicBool>,
        telemetry: Telemetry,
    ) -> Result<Self, OpenError> {
        let client = MetadataClient::new(address, config)?;
        let min_insync_replicas = min_insync_replicas as usize;
        let monitor = Self { client, min_insync_replicas, status, closed, telemetry };
        monitor.refresh_offsets().map_err(|reason| address.unreachable(reason))?;
        Ok(monitor)
    }

    /// Blocks until the log is closed.
    pub(super) fn run(self) {
        while !self.closed.load(Ordering::Acquire) {
            std::thread::sleep(REFRESH_EVERY);
            // Unread errors would pile up in the library.
            self.client.errors();
            let (replicas, offsets) = (self.check_replicas(), self.refresh_offsets());
            let problem = replicas.and(offsets).err();
            let before = self.status.set_problem(problem.clone());
            match (before, problem) {
                (None, Some(problem)) => tracing::error!(problem, "log is not writable: rejecting requests with 503"),
                (Some(_), None) => tracing::info!("log is writable again"),
                _ => {}
            }
        }
    }

    fn refresh_offsets(&self) -> Result<(), String> {
        for partition in 0..self.status.partitions().cast_signed() {
            let [start, end] = self
                .client
                .offsets(partition, REQUEST_MAX)
                .map_err(|error| format!("partition {partition}: {}", self.client.errors().reason(&error)))?;
            self.status.report(partition, start, end);
            self.telemetry.emit(OffsetsSeen { partition, start, end });
        }
        Ok(())
    }

    fn check_replicas(&self) -> Result<(), String> {
        let metadata = self.client.topic(REQUEST_MAX).map_err(|error| {
            self.telemetry.emit(BrokersSeen(0));
            self.client.errors().reason(&error)
        })?;
        self.telemetry.emit(BrokersSeen(metadata.brokers().len()));
        let mut checked = Ok(());
        for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
            let (replicas, in_sync) = (partition.replicas().len(), partition.isr().len());
            self.telemetry.emit(ReplicasSeen {
                partition: partition.id(),
                leader: partition.leader(),
                replicas,
                in_sync,
            });
            if in_sync < self.min_insync_replicas {
                let needed = self.min_insync_replicas;
                checked = Err(format!("partition {} has {in_sync} of {needed} in-sync replicas", partition.id()));
            }
        }
        checked
    }
}
