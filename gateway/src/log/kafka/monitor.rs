//! Follows the topic: what other gateways append, and which partitions accept records.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};

use super::address::Address;
use super::metadata::MetadataClient;
use super::status::TopicStatus;
use crate::coupon::PartitionNo;
use crate::log::OpenError;
use crate::telemetry::{BrokersSeen, OffsetsSeen, ReplicasSeen, Telemetry};

/// The most that end offsets and replica state may lag behind the brokers.
const REFRESH_EVERY: Duration = Duration::from_millis(500);
const REQUEST_MAX: Duration = Duration::from_secs(2);
/// A partition that cannot be read in this many rounds in a row accepts no records. A single failure may be a busy
/// broker, or a leader that has just moved.
const UNREAD_ROUNDS_MAX: u32 = 2;

pub(super) struct Monitor {
    client: MetadataClient,
    min_insync_replicas: usize,
    status: Arc<TopicStatus>,
    closed: Arc<AtomicBool>,
    telemetry: Telemetry,
    /// By partition: the rounds in a row in which it could not be read.
    unread_rounds: Vec<Cell<u32>>,
}

/// Whether a partition accepts records, or why not.
type Checked = Result<(), Arc<str>>;

impl Monitor {
    /// Checks the partitions once. A partition that cannot be read does not keep the log from opening. Blocks.
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
        let unread_rounds = vec![Cell::new(0); status.partitions() as usize];
        let monitor = Self { client, min_insync_replicas, status, closed, telemetry, unread_rounds };
        monitor.publish(monitor.check());
        Ok(monitor)
    }

    /// Blocks until the log is closed.
    pub(super) fn run(self) {
        while !self.closed.load(Ordering::Acquire) {
            std::thread::sleep(REFRESH_EVERY);
            // Unread errors would pile up in the library.
            self.client.errors();
            self.publish(self.check());
        }
    }

    /// Checks each partition. One that lost records accepts none, also while its brokers do not answer.
    fn check(&self) -> Vec<Checked> {
        let checked = self.read();
        let partitions = (0..).map(PartitionNo);
        let lost = partitions.zip(checked).map(|(partition, checked)| match self.status.lost(partition) {
            Some(Range { start, end }) => {
                Err(format!("the brokers lost the acknowledged records [{start}, {end})").into())
            }
            None => checked,
        });
        lost.collect()
    }

    fn read(&self) -> Vec<Checked> {
        let partitions = 0..self.unread_rounds.len();
        let metadata = match self.client.topic(REQUEST_MAX) {
            Ok(metadata) => metadata,
            Err(error) => {
                self.telemetry.emit(BrokersSeen(0));
                let reason: Arc<str> = self.client.errors().reason(&error).into();
                return partitions.map(|partition| self.count_unread(partition, &reason)).collect();
            }
        };
        self.telemetry.emit(BrokersSeen(metadata.brokers().len()));
        let known = metadata.topics().iter().flat_map(MetadataTopic::partitions);
        let known: BTreeMap<_, _> = known.map(|known| (known.id().unsigned_abs() as usize, known)).collect();
        let mut unreachable = BTreeMap::new();
        partitions
            .map(|partition| match known.get(&partition) {
                Some(known) => self.check_partition(partition, known, &mut unreachable),
                None => Err("unknown to the brokers".into()),
            })
            .collect()
    }

    /// Collects the leaders that do not answer: further partitions of theirs are not asked for in this round.
    fn check_partition(
        &self,
        partition: usize,
        known: &MetadataPartition,
        unreachable: &mut BTreeMap<i32, Arc<str>>,
    ) -> Checked {
        let (leader, replicas, in_sync) = (known.leader(), known.replicas().len(), known.isr().len());
        self.telemetry.emit(ReplicasSeen { partition: known.id(), leader, replicas, in_sync });
        if leader < 0 {
            return Err("no leader".into());
        }
        let read = match unreachable.get(&leader) {
            Some(reason) => self.count_unread(partition, reason),
            None => self.read_offsets(known.id()).or_else(|error| {
                let reason: Arc<str> = self.client.errors().reason(&error).into();
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut) {
                    unreachable.insert(leader, Arc::clone(&reason));
                }
                self.count_unread(partition, &reason)
            }),
        };
        if in_sync < self.min_insync_replicas {
            return Err(format!("{in_sync} of {} in-sync replicas", self.min_insync_replicas).into());
        }
        read
    }

    fn read_offsets(&self, partition: i32) -> Result<(), KafkaError> {
        let read = || {
            let [start, end] = self.client.offsets(partition, REQUEST_MAX)?;
            self.telemetry.emit(OffsetsSeen { partition, start, end });
            Ok::<_, KafkaError>([start, end])
        };
        self.status.read_offsets(PartitionNo(partition.unsigned_abs()), read)?;
        self.unread_rounds[partition.unsigned_abs() as usize].set(0);
        Ok(())
    }

    fn count_unread(&self, partition: usize, reason: &Arc<str>) -> Checked {
        let rounds = &self.unread_rounds[partition];
        rounds.set(rounds.get().saturating_add(1));
        if rounds.get() < UNREAD_ROUNDS_MAX { Ok(()) } else { Err(Arc::clone(reason)) }
    }

    /// Logs what changed.
    fn publish(&self, checked: Vec<Checked>) {
        let (mut failed, mut recovered) = (Vec::new(), Vec::new());
        for (partition, checked) in (0..).map(PartitionNo).zip(checked) {
            let problem = checked.err();
            match (self.status.set_problem(partition, problem.clone()), problem) {
                (None, Some(reason)) => failed.push((partition.0, reason)),
                (Some(_), None) => recovered.push(partition.0),
                _ => {}
            }
        }
        if !failed.is_empty() {
            tracing::error!(partitions = ?failed, "partitions accept no records: their shards are not offered");
        }
        if !recovered.is_empty() {
            tracing::info!(partitions = ?recovered, "partitions accept records again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::mock::MockBroker;
    use super::*;

    fn start(broker: &MockBroker, min_insync_replicas: u32) -> Monitor {
        let status = Arc::clone(&broker.status);
        let closed = Arc::default();
        Monitor::start(&broker.address, &broker.config, min_insync_replicas, status, closed, Telemetry::new())
            .expect("opens")
    }

    fn problems(broker: &MockBroker) -> Vec<Option<String>> {
        let problem = |partition| broker.status.problem(PartitionNo(partition)).map(|problem| problem.to_string());
        (0..broker.status.partitions()).map(problem).collect()
    }

    #[test]
    fn a_partition_without_a_leader_is_the_only_one_that_accepts_no_records() {
        let broker = MockBroker::start(3);
        broker.set_leader(1, false);
        let monitor = start(&broker, 1);
        assert_eq!(problems(&broker), [None, Some("no leader".to_owned()), None]);
        broker.set_leader(1, true);
        monitor.publish(monitor.check());
        assert_eq!(problems(&broker), [None, None, None]);
    }

    #[test]
    fn a_broker_that_does_not_answer_once_is_only_slow() {
        let broker = MockBroker::start(2);
        let monitor = start(&broker, 1);
        broker.cluster.broker_down(1).expect("exists");
        monitor.publish(monitor.check());
        assert_eq!(problems(&broker), [None, None]);
        monitor.publish(monitor.check());
        assert!(problems(&broker).iter().all(Option::is_some), "{:?}", problems(&broker));
    }

    #[test]
    fn a_partition_that_lost_acknowledged_records_accepts_none() {
        let broker = MockBroker::start(2);
        let monitor = start(&broker, 1);
        broker.status.advance(PartitionNo(1), 5);
        monitor.publish(monitor.check());
        let lost = || Some("the brokers lost the acknowledged records [0, 5)".to_owned());
        assert_eq!(problems(&broker), [None, lost()]);
        broker.cluster.broker_down(1).expect("exists");
        monitor.publish(monitor.check());
        assert_eq!(problems(&broker), [None, lost()], "a broker that does not answer once is only slow");
    }

    #[test]
    fn a_partition_with_too_few_in_sync_replicas_accepts_no_records() {
        let broker = MockBroker::start(1);
        start(&broker, 2);
        assert_eq!(problems(&broker), [Some("1 of 2 in-sync replicas".to_owned())]);
    }
}
