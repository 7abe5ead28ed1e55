//! Appending: an idempotent producer with small queues, whose delivery reports are the acknowledgements. Each
//! partition's records go in groups, one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};

use super::batcher::{Batcher, Entered, Waiting};
use super::security::not_made;
use super::{Address, Ends, wire};
use crate::coupon::PartitionNo;
use crate::log::{Ack, AppendError, OpenError, Record, Stored};
use crate::telemetry::{RecordAcknowledged, Telemetry};

/// Records that wait for their delivery report: as many as a gateway has requests on their way.
const QUEUE_RECORDS_MAX: &str = "8192";
const QUEUE_KIB_MAX: &str = "65536";
/// A group is handed over within this time, and goes as one batch.
const LINGER_MS: &str = "2";
/// A record that is sent and not durable by then is given up, and its client answered 503; so is one that waited
/// so long to be sent. Longer than a cluster takes to replace a broker that died.
const DELIVERY_MAX: Duration = Duration::from_secs(15);
/// At shutdown no client waits any more, and what is not acknowledged may be lost.
const FLUSH_MAX: Duration = Duration::from_secs(5);
/// Whether a group gathered meanwhile is looked at in this rhythm.
const FLUSH_TURN: Duration = Duration::from_millis(100);

/// Completes acknowledgements from the producer's own thread.
#[derive(Clone)]
struct Delivery {
    topic: String,
    ends: Arc<Ends>,
    batcher: Arc<Batcher>,
    telemetry: Telemetry,
}

impl ClientContext for Delivery {}

impl ProducerContext for Delivery {
    type DeliveryOpaque = Box<Waiting>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Box<Waiting>) {
        let (message, answer, is_given_up) = match result {
            Ok(message) => {
                // The answer to an earlier attempt was lost, and the broker told only that it has the record.
                let unknown = || AppendError::Failed("the record is durable, but nobody knows where".into());
                (message, u64::try_from(message.offset()).map_err(|_| unknown()), false)
            }
            Err((error, message)) => {
                let is_given_up = error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageTimedOut);
                (message, Err(AppendError::Failed(error.to_string().into())), is_given_up)
            }
        };
        let is_ours = message.topic() == self.topic;
        if let (true, Ok(offset)) = (is_ours, &answer) {
            self.telemetry.emit(RecordAcknowledged { duration: waiting.since.elapsed() });
            self.ends.reached(message.partition(), offset + 1);
        }
        waiting.answer(answer);
        if let (true, Ok(partition)) = (is_ours, usize::try_from(message.partition())) {
            self.batcher.answered(partition, is_given_up);
        }
    }
}

pub(super) struct Producer(Arc<Inner>);

struct Inner {
    topic: String,
    config: ClientConfig,
    delivery: Delivery,
    batcher: Arc<Batcher>,
    current: ArcSwap<ThreadedProducer<Delivery>>,
}

impl Producer {
    pub(super) fn new(
        address: &Address,
        config: &ClientConfig,
        ends: Arc<Ends>,
        telemetry: Telemetry,
    ) -> Result<Self, OpenError> {
        let mut config = config.clone();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("queue.buffering.max.messages", QUEUE_RECORDS_MAX)
            .set("queue.buffering.max.kbytes", QUEUE_KIB_MAX)
            .set("linger.ms", LINGER_MS)
            .set("message.timeout.ms", DELIVERY_MAX.as_millis().to_string());
        let (batcher, freed) = Batcher::new(ends.offsets.len());
        let (topic, batcher) = (address.topic.clone(), Arc::new(batcher));
        let delivery = Delivery { topic: topic.clone(), ends, batcher: Arc::clone(&batcher), telemetry };
        let current = connect(&config, &delivery).map_err(|error| not_made(address, error))?;
        let inner = Arc::new(Inner { topic, config, delivery, batcher, current: ArcSwap::from_pointee(current) });
        let sending = Arc::downgrade(&inner);
        let send = move || {
            while let Ok(partition) = freed.recv() {
                let Some(inner) = sending.upgrade() else { return };
                inner.send_group(partition);
            }
        };
        let started = std::thread::Builder::new().name("kafka-groups".to_owned()).spawn(send);
        started.map_err(|error| OpenError::Failed { path: "kafka".to_owned(), source: error.into() })?;
        Ok(Self(inner))
    }

    pub(super) fn append(&self, partition: PartitionNo, record: Record) -> Result<Ack, AppendError> {
        let (waiting, ack) = Waiting::pair();
        let partition = partition.0 as usize;
        if let Entered::First(record, waiting) = self.0.batcher.enter(partition, record, waiting)? {
            self.0.send_record(partition, &record, waiting);
        }
        Ok(ack)
    }

    /// Sends a record that can never settle to where an operator can look at it.
    pub(super) fn dead_letter(
        &self,
        topic: &str,
        partition: PartitionNo,
        stored: &Stored,
        reason: &str,
    ) -> Result<Ack, AppendError> {
        let (waiting, ack) = Waiting::pair();
        let [from, offset] = [partition.to_string(), stored.offset.to_string()];
        let told = [("sluice_reason", reason), ("sluice_partition", &from), ("sluice_offset", &offset)];
        let headers = told.into_iter().fold(wire::headers(&stored.record.headers), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        let message = BaseRecord::with_opaque_to(topic, waiting)
            .key(&stored.record.key)
            .payload(&stored.record.value)
            .headers(headers);
        self.0.send(message).map_err(|(error, _)| error)?;
        Ok(ack)
    }

    /// Waits until every record is delivered or given up.
    pub(super) async fn flush(&self) {
        let inner = Arc::clone(&self.0);
        let flush = move || {
            let begun = Instant::now();
            while !inner.batcher.are_empty() && begun.elapsed() < FLUSH_MAX {
                // What gathered meanwhile is sent by a thread of its own.
                let _ = inner.current.load().flush(FLUSH_TURN);
                std::thread::sleep(Duration::from_millis(1));
            }
            inner.current.load().flush(FLUSH_TURN)
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(flush).await {
            tracing::warn!(%error, "some records were not delivered; nobody was told that they were");
        }
    }
}

impl Inner {
    fn send_group(&self, partition: usize) {
        for (record, waiting) in self.batcher.next_group(partition) {
            if waiting.since.elapsed() > DELIVERY_MAX {
                waiting.answer(Err(AppendError::Failed("it waited too long to be sent".into())));
                self.batcher.answered(partition, false);
            } else {
                self.send_record(partition, &record, waiting);
            }
        }
    }

    /// Sends a record of the group that is now on its way.
    fn send_record(&self, partition: usize, record: &Record, waiting: Box<Waiting>) {
        let message = BaseRecord::with_opaque_to(&self.topic, waiting)
            .partition(i32::try_from(partition).expect("as many as a u32 says"))
            .key(&record.key)
            .payload(&record.value)
            .headers(wire::headers(&record.headers));
        if let Err((error, waiting)) = self.send(message) {
            waiting.answer(Err(error));
            self.batcher.answered(partition, false);
        }
    }

    fn send(&self, message: BaseRecord<'_, String, Vec<u8>, Box<Waiting>>) -> Result<(), (AppendError, Box<Waiting>)> {
        let producer = self.current.load();
        producer.send(message).map_err(|(error, message)| {
            let error = match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => AppendError::Full,
                code => {
                    if code == Some(RDKafkaErrorCode::Fatal) {
                        self.renew(&producer);
                    }
                    AppendError::Failed(error.to_string().into())
                }
            };
            (error, message.delivery_opaque)
        })
    }

    /// Replaces a producer that will never send again: the broker no longer knows its sequence.
    fn renew(&self, broken: &Arc<ThreadedProducer<Delivery>>) {
        match connect(&self.config, &self.delivery) {
            Ok(new) => {
                let replaced = self.current.compare_and_swap(broken, Arc::new(new));
                tracing::warn!("the producer lost its sequence and was replaced");
                // The last one that lets go of it waits for its reports.
                std::thread::spawn(move || drop(replaced));
            }
            Err(error) => tracing::error!(%error, "the producer was not replaced"),
        }
    }
}

fn connect(config: &ClientConfig, delivery: &Delivery) -> Result<ThreadedProducer<Delivery>, KafkaError> {
    ThreadedProducer::from_config_and_context(config, delivery.clone())
}
