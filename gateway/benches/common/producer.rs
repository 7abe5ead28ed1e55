//! A bare producer: what the brokers themselves need for the same records.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};

use super::backlog::SHARDS;
use super::crowd::Crowd;
use super::distributed::BROKERS;
use super::load::{Measured, Pace, Schedule};

/// Half of librdkafka's own queue.
const IN_FLIGHT_MAX: usize = 50_000;
/// No delivery takes as long.
const STALLED: Duration = Duration::from_secs(60);

pub(crate) struct BareProducer {
    producer: ThreadedProducer<Deliveries>,
    delivered: Receiver<Delivery>,
    topic: String,
}

struct Delivery {
    due: Instant,
    at: Instant,
}

/// Passes on each delivery.
struct Deliveries {
    began: Instant,
    sender: Sender<Delivery>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    /// When the record was due, in nanoseconds since the producer began.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, due: usize) {
        result.as_ref().expect("is durable");
        let due = self.began + Duration::from_nanos(due as u64);
        // The benchmark may be over.
        let _ = self.sender.send(Delivery { due, at: Instant::now() });
    }
}

impl BareProducer {
    pub(crate) fn new(topic: &str) -> Self {
        let (sender, delivered) = channel();
        // The settings that affect durability and batching are the gateway's; the rest are defaults.
        let producer = ClientConfig::new()
            .set("bootstrap.servers", BROKERS)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "2")
            .create_with_context(Deliveries { began: Instant::now(), sender })
            .expect("a producer");
        Self { producer, delivered, topic: topic.to_owned() }
    }

    /// Appends the bodies that the crowd would send, and waits until all are durable.
    pub(crate) fn produce(&self, pace: Pace, lasts: Duration, crowd: &mut Crowd) -> Measured {
        let in_flight_max = match pace {
            Pace::Closed { connections } => connections,
            Pace::Open { .. } => IN_FLIGHT_MAX,
        };
        let (mut in_flight, mut body) = (0, Vec::new());
        let (mut measured, mut schedule) = (Measured::begin(), Schedule::new(pace, lasts));
        loop {
            while in_flight < in_flight_max
                && let Some(due) = schedule.take()
            {
                body.clear();
                let user = crowd.write_next(&mut body);
                self.send(user, &body, due);
                measured.delays.record(due.elapsed());
                in_flight += 1;
            }
            let until_next = schedule.until_next();
            if until_next.is_none() && in_flight == 0 {
                measured.end();
                return measured;
            }
            for Delivery { due, at } in self.wait(until_next.filter(|_| in_flight < in_flight_max)) {
                measured.answered(due, at);
                in_flight -= 1;
            }
        }
    }

    fn send(&self, user: u64, body: &[u8], due: Instant) {
        let partition = user % u64::from(SHARDS);
        let due = due.duration_since(self.producer.context().began).as_nanos();
        let key = format!("7:{partition}");
        let record = BaseRecord::with_opaque_to(&self.topic, usize::try_from(due).expect("short"))
            .partition(i32::try_from(partition).expect("a partition"))
            .key(&key)
            .payload(body);
        self.producer.send(record).map_err(|(error, _)| error).expect("has room");
    }

    /// The deliveries that have happened, or after a wait the next ones; none if the timeout comes first.
    fn wait(&self, timeout: Option<Duration>) -> impl Iterator<Item = Delivery> {
        let next = self.delivered.recv_timeout(timeout.unwrap_or(STALLED)).ok();
        assert!(timeout.is_some() || next.is_some(), "nothing was delivered for {STALLED:?}");
        next.into_iter().chain(self.delivered.try_iter())
    }
}
