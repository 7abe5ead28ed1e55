//! Appends through an idempotent producer with small queues.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Header;
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};

use super::address::Address;
use super::batcher::{BATCH_RECORDS_MAX, Batcher, PendingAck, Pushed, SendCommand};
use super::broker_errors::client_creation_failed;
use super::delivery::DeliveryReports;
use super::status::TopicStatus;
use super::wire;
use crate::coupon::PartitionNo;
use crate::log::{Ack, AppendError, DeadLetter, OpenError, Record};
use crate::telemetry::Telemetry;

/// Dead letters that wait for their delivery report, in addition to a batch of each partition.
const DEAD_LETTERS_MAX: usize = 1024;
/// Room in the library's queue for a record: the largest body of a request.
const RECORD_KIB_MAX: usize = 16;
/// The library waits this long for more records of a batch. Handing a batch over takes less.
const LINGER_MS: &str = "2";
/// A record fails if it is not durable, or not even sent, within this time. It is longer than a cluster takes to
/// replace a dead broker.
const DELIVERY_MAX: Duration = Duration::from_secs(15);
/// At shutdown no client waits any more, so records that are unacknowledged by then may be lost.
const FLUSH_MAX: Duration = Duration::from_secs(5);
/// A flush returns after this time, so that batches sent meanwhile are seen.
const FLUSH_STEP: Duration = Duration::from_millis(100);

pub(super) struct Producer(Arc<Inner>);

/// Sends pending batches, on a thread of its own: a delivery report must not wait for room in the library's queue.
pub(super) struct BatchSender {
    producer: Arc<Inner>,
    commands: Receiver<SendCommand>,
}

struct Inner {
    topic: String,
    config: ClientConfig,
    reports: DeliveryReports,
    batcher: Arc<Batcher>,
    client: ArcSwap<ThreadedProducer<DeliveryReports>>,
}

impl Producer {
    pub(super) fn new(
        address: &Address,
        config: &ClientConfig,
        status: Arc<TopicStatus>,
        telemetry: Telemetry,
    ) -> Result<(Self, BatchSender), OpenError> {
        let mut config = config.clone();
        // A stuck partition keeps its own batch in the library's queue, and no room of another partition.
        let queue_records_max = status.partitions() as usize * BATCH_RECORDS_MAX + DEAD_LETTERS_MAX;
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("queue.buffering.max.messages", queue_records_max.to_string())
            .set("queue.buffering.max.kbytes", (queue_records_max * RECORD_KIB_MAX).to_string())
            .set("linger.ms", LINGER_MS)
            .set("message.timeout.ms", DELIVERY_MAX.as_millis().to_string());
        let (batcher, commands) = Batcher::new(status.partitions());
        let (topic, batcher) = (address.topic.clone(), Arc::new(batcher));
        let reports = DeliveryReports::new(topic.clone(), status, Arc::clone(&batcher), telemetry);
        let client = connect(&config, &reports).map_err(|error| client_creation_failed(address, error))?;
        let client = ArcSwap::from_pointee(client);
        let inner = Arc::new(Inner { topic, config, reports, batcher, client });
        let sender = BatchSender { producer: Arc::clone(&inner), commands };
        Ok((Self(inner), sender))
    }

    pub(super) fn append(&self, partition: PartitionNo, record: Record) -> Result<Ack, AppendError> {
        let (pending, ack) = PendingAck::pair();
        let partition = partition.0 as usize;
        if let Pushed::SendNow(record, pending) = self.0.batcher.push(partition, record, pending)? {
            self.0.send_record(partition, &record, pending);
        }
        Ok(ack)
    }

    /// Copies a record that can never settle to the dead-letter topic.
    pub(super) fn dead_letter(
        &self,
        topic: &str,
        partition: PartitionNo,
        letter: DeadLetter<'_>,
    ) -> Result<Ack, AppendError> {
        let DeadLetter { stored, reason } = letter;
        let (pending, ack) = PendingAck::pair();
        let [from, offset] = [partition.to_string(), stored.offset.to_string()];
        let origin = [("sluice_reason", reason), ("sluice_partition", &from), ("sluice_offset", &offset)];
        let headers = origin.into_iter().fold(wire::headers(&stored.record.headers), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        let message = BaseRecord::with_opaque_to(topic, pending)
            .key(&stored.record.key)
            .payload(&stored.record.value)
            .headers(headers);
        self.0.send(message).map_err(|(error, _)| error)?;
        Ok(ack)
    }

    /// Waits until every record is acknowledged or failed, for [`FLUSH_MAX`] at most.
    pub(super) async fn flush(&self) {
        let inner = Arc::clone(&self.0);
        let flush = move || {
            let begun = Instant::now();
            while !inner.batcher.is_idle() && begun.elapsed() < FLUSH_MAX {
                // A timeout is expected: the batch sender may add records meanwhile.
                let _ = inner.client.load().flush(FLUSH_STEP);
                std::thread::sleep(Duration::from_millis(1));
            }
            inner.client.load().flush(FLUSH_STEP)
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(flush).await {
            tracing::warn!(%error, "some records were not delivered before shutdown; none of them was acknowledged");
        }
    }

    /// Ends the [`BatchSender`].
    pub(super) fn stop(&self) {
        self.0.batcher.stop();
    }
}

impl BatchSender {
    /// Blocks until [`Producer::stop`].
    pub(super) fn run(self) {
        while let Ok(SendCommand::Send(partition)) = self.commands.recv() {
            self.producer.send_batch(partition);
        }
    }
}

impl Inner {
    fn send_batch(&self, partition: usize) {
        for (record, ack) in self.batcher.next_batch(partition) {
            if ack.since.elapsed() > DELIVERY_MAX {
                ack.complete(Err(AppendError::NotWritten("the record timed out before it was sent".into())));
                self.batcher.complete(partition, false);
            } else {
                self.send_record(partition, &record, ack);
            }
        }
    }

    /// Sends a record that the batcher counts as in flight.
    fn send_record(&self, partition: usize, record: &Record, ack: Box<PendingAck>) {
        let message = BaseRecord::with_opaque_to(&self.topic, ack)
            .partition(i32::try_from(partition).expect("the options bound it"))
            .key(&record.key)
            .payload(&record.value)
            .headers(wire::headers(&record.headers));
        if let Err((error, ack)) = self.send(message) {
            ack.complete(Err(error));
            self.batcher.complete(partition, false);
        }
    }

    fn send(
        &self,
        message: BaseRecord<'_, String, Vec<u8>, Box<PendingAck>>,
    ) -> Result<(), (AppendError, Box<PendingAck>)> {
        let client = self.client.load();
        client.send(message).map_err(|(error, message)| {
            let error = match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => AppendError::Full,
                code => {
                    if code == Some(RDKafkaErrorCode::Fatal) {
                        self.replace(&client);
                    }
                    AppendError::NotWritten(error.to_string().into())
                }
            };
            (error, message.delivery_opaque)
        })
    }

    /// Replaces a client that can never send again: its sequence numbers and the broker's differ.
    fn replace(&self, broken: &Arc<ThreadedProducer<DeliveryReports>>) {
        match connect(&self.config, &self.reports) {
            Ok(new) => {
                let replaced = self.client.compare_and_swap(broken, Arc::new(new));
                tracing::warn!("Kafka producer replaced after a fatal error");
                // Dropping the last reference waits for delivery reports.
                std::thread::spawn(move || drop(replaced));
            }
            Err(error) => tracing::error!(%error, "Kafka producer not replaced after a fatal error"),
        }
    }
}

fn connect(config: &ClientConfig, reports: &DeliveryReports) -> Result<ThreadedProducer<DeliveryReports>, KafkaError> {
    ThreadedProducer::from_config_and_context(config, reports.clone())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::super::mock::MockBroker;
    use super::*;
    use crate::log::Headers;

    const PARTITION: PartitionNo = PartitionNo(0);

    #[tokio::test]
    async fn records_at_an_unknown_offset_are_acknowledged_at_the_next_end_offset() {
        let broker = MockBroker::start(1);
        let (no_error, duplicate) =
            (RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR, RDKafkaRespErr::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER);
        broker.cluster.request_errors(RDKafkaApiKey::Produce, &[no_error, duplicate]);
        let status = Arc::clone(&broker.status);
        let (producer, sender) =
            Producer::new(&broker.address, &broker.config, status, Telemetry::new()).expect("connects");
        let sender = tokio::task::spawn_blocking(|| sender.run());

        let append = || {
            let record = Record { key: "104:0".into(), headers: Headers::default(), value: b"1".to_vec() };
            producer.append(PARTITION, record).expect("has room")
        };
        let first = append();
        // They wait for the first one, and are the next batch.
        let mut batch = [append(), append(), append()];
        assert_eq!(first.await.expect("durable"), 0);
        while !producer.0.batcher.is_idle() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(batch.iter_mut().all(|ack| ack.now_or_never().is_none()), "their offsets are unknown");
        assert_eq!(broker.status.read_offsets(PARTITION, || Ok::<_, ()>([0, 4])), Ok(()));
        for ack in batch {
            assert_eq!(ack.await.expect("durable"), 3);
        }
        producer.stop();
        sender.await.expect("ends");
    }
}
