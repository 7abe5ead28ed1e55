//! Appending: an idempotent producer with small queues, whose delivery reports are the acknowledgements.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};

use super::security::not_made;
use super::{Address, Ends, wire};
use crate::coupon::PartitionNo;
use crate::log::{Ack, AckSender, AppendError, OpenError, Record, Stored};
use crate::telemetry::{RecordAcknowledged, emit};

/// Records that wait for their delivery report: as many as a gateway has requests on their way.
const QUEUE_RECORDS_MAX: &str = "8192";
const QUEUE_KIB_MAX: &str = "65536";
/// A record waits so long for others to share its request with.
const LINGER_MS: &str = "2";
/// A record that is not durable by then is given up, and its client answered 503.
/// Longer than a cluster takes to replace a broker that died.
const DELIVERY_TIMEOUT_MS: &str = "15000";
/// At shutdown every record is delivered or given up by then.
const FLUSH_MAX: Duration = Duration::from_secs(16);

/// Somebody who waits for a record to become durable.
pub(super) struct Waiting {
    since: Instant,
    answer: AckSender,
}

impl Waiting {
    fn pair() -> (Box<Self>, Ack) {
        let (answer, ack) = Ack::pair();
        (Box::new(Self { since: Instant::now(), answer }), ack)
    }
}

/// Completes acknowledgements from the producer's own thread.
struct Delivery {
    topic: String,
    ends: Arc<Ends>,
}

impl ClientContext for Delivery {}

impl ProducerContext for Delivery {
    type DeliveryOpaque = Box<Waiting>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Box<Waiting>) {
        let answer = match result {
            Ok(message) => match u64::try_from(message.offset()) {
                Ok(offset) => {
                    if message.topic() == self.topic {
                        self.ends.reached(message.partition(), offset + 1);
                    }
                    emit(RecordAcknowledged { duration: waiting.since.elapsed() });
                    Ok(offset)
                }
                // The answer to an earlier attempt was lost, and the broker told only that it has the record.
                Err(_) => Err(AppendError::Failed("the record is durable, but nobody knows where".into())),
            },
            Err((error, _)) => Err(AppendError::Failed(error.to_string().into())),
        };
        // A client that is gone needs no answer; its record is settled all the same.
        let _ = waiting.answer.send(answer);
    }
}

pub(super) struct Producer {
    topic: String,
    config: ClientConfig,
    ends: Arc<Ends>,
    current: ArcSwap<ThreadedProducer<Delivery>>,
}

impl Producer {
    pub(super) fn new(address: &Address, config: &ClientConfig, ends: Arc<Ends>) -> Result<Self, OpenError> {
        let mut config = config.clone();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("queue.buffering.max.messages", QUEUE_RECORDS_MAX)
            .set("queue.buffering.max.kbytes", QUEUE_KIB_MAX)
            .set("linger.ms", LINGER_MS)
            .set("message.timeout.ms", DELIVERY_TIMEOUT_MS);
        let topic = address.topic.clone();
        let current = connect(&topic, &config, &ends).map_err(|error| not_made(address, error))?;
        Ok(Self { topic, config, ends, current: ArcSwap::from_pointee(current) })
    }

    pub(super) fn append(&self, partition: PartitionNo, record: &Record) -> Result<Ack, AppendError> {
        let (waiting, ack) = Waiting::pair();
        let message = BaseRecord::with_opaque_to(&self.topic, waiting)
            .partition(partition.0.cast_signed())
            .key(&record.key)
            .payload(&record.value)
            .headers(wire::headers(&record.headers));
        self.send(message)?;
        Ok(ack)
    }

    /// Sends a record that can never settle to where an operator can look at it.
    pub(super) fn bury(
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
        self.send(message)?;
        Ok(ack)
    }

    fn send(&self, message: BaseRecord<'_, String, Vec<u8>, Box<Waiting>>) -> Result<(), AppendError> {
        let producer = self.current.load();
        producer.send(message).map_err(|(error, _)| match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => AppendError::Full,
            code => {
                if code == Some(RDKafkaErrorCode::Fatal) {
                    self.renew(&producer);
                }
                AppendError::Failed(error.to_string().into())
            }
        })
    }

    /// Replaces a producer that will never send again: the broker no longer knows its sequence.
    fn renew(&self, broken: &Arc<ThreadedProducer<Delivery>>) {
        match connect(&self.topic, &self.config, &self.ends) {
            Ok(new) => {
                let replaced = self.current.compare_and_swap(broken, Arc::new(new));
                tracing::warn!("the producer lost its sequence and was replaced");
                // The last one that lets go of it waits for its reports.
                std::thread::spawn(move || drop(replaced));
            }
            Err(error) => tracing::error!(%error, "the producer was not replaced"),
        }
    }

    /// Waits until every record is delivered or given up.
    pub(super) async fn flush(&self) {
        let producer = self.current.load_full();
        let flushed = tokio::task::spawn_blocking(move || producer.flush(FLUSH_MAX)).await;
        if let Ok(Err(error)) = flushed {
            tracing::warn!(%error, "some records were not delivered; their clients were told so");
        }
    }
}

fn connect(topic: &str, config: &ClientConfig, ends: &Arc<Ends>) -> Result<ThreadedProducer<Delivery>, KafkaError> {
    let delivery = Delivery { topic: topic.to_owned(), ends: Arc::clone(ends) };
    ThreadedProducer::from_config_and_context(config, delivery)
}
