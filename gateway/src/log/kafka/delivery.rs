//! Completes acknowledgements from delivery reports, on the client library's thread.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::ProducerContext;

use super::batcher::{Batcher, PendingAck};
use super::status::{EndWaiter, TopicStatus};
use crate::coupon::{Offset, PartitionNo};
use crate::log::AppendError;
use crate::telemetry::{RecordAcknowledged, Telemetry};

#[derive(Clone)]
pub(super) struct DeliveryReports {
    topic: String,
    status: Arc<TopicStatus>,
    batcher: Arc<Batcher>,
    telemetry: Telemetry,
    /// By partition.
    offsets: Arc<[Mutex<ReportedOffsets>]>,
}

impl DeliveryReports {
    pub(super) fn new(topic: String, status: Arc<TopicStatus>, batcher: Arc<Batcher>, telemetry: Telemetry) -> Self {
        let offsets = (0..status.partitions()).map(|_| Mutex::default()).collect();
        Self { topic, status, batcher, telemetry, offsets }
    }

    /// A record is durable. If its offset is unknown, its acknowledgement waits for the next end offset: the record is
    /// before it.
    fn acknowledge(&self, partition: PartitionNo, reported: i64, ack: Box<PendingAck>) {
        self.telemetry.emit(RecordAcknowledged { duration: ack.since.elapsed() });
        match self.locate(partition, reported) {
            Some(offset) => {
                self.status.advance(partition, offset + 1);
                ack.complete(Ok(offset));
            }
            None => self.status.await_end(partition, EndWaiter::Record(ack)),
        }
    }

    fn locate(&self, partition: PartitionNo, reported: i64) -> Option<Offset> {
        let offsets = &self.offsets[partition.0 as usize];
        offsets.lock().unwrap_or_else(PoisonError::into_inner).locate(reported)
    }
}

impl ClientContext for DeliveryReports {}

impl ProducerContext for DeliveryReports {
    type DeliveryOpaque = Box<PendingAck>;

    fn delivery(&self, report: &DeliveryResult<'_>, ack: Box<PendingAck>) {
        let (message, error) = match report {
            Ok(message) => (message, None),
            Err((error, message)) => (message, Some(error)),
        };
        let is_dead_letter = message.topic() != self.topic;
        let partition = PartitionNo(message.partition().unsigned_abs());
        match error {
            Some(error) => ack.complete(Err(AppendError::Failed(error.to_string().into()))),
            // Nobody uses the offset of a dead letter.
            None if is_dead_letter => ack.complete(Ok(message.offset().unsigned_abs())),
            None => self.acknowledge(partition, message.offset(), ack),
        }
        if !is_dead_letter {
            let code = error.and_then(KafkaError::rdkafka_error_code);
            self.batcher.complete(partition.0 as usize, code == Some(RDKafkaErrorCode::MessageTimedOut));
        }
    }
}

/// Tells the offsets in delivery reports from invented ones. If the response to a batch was lost, the library sends
/// the batch again; the broker responds that it is a duplicate, without an offset. The library then reports the records
/// of the batch as durable at -1, 0, 1, …
#[derive(Default)]
struct ReportedOffsets {
    /// The next offset that the library would invent. After such a batch, the partition's real offsets are higher.
    next_invented: Option<i64>,
}

impl ReportedOffsets {
    fn locate(&mut self, reported: i64) -> Option<Offset> {
        let offset = Offset::try_from(reported).ok().filter(|_| self.next_invented != Some(reported));
        self.next_invented = if offset.is_none() { Some(reported + 1) } else { None };
        offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offsets_of_a_duplicate_batch_are_unknown() {
        let mut offsets = ReportedOffsets::default();
        let reported = [7, -1, 0, 1, 11, 12, -1, -1, 0, 15];
        let located = reported.map(|reported| offsets.locate(reported));
        assert_eq!(located, [Some(7), None, None, None, Some(11), Some(12), None, None, None, Some(15)]);
    }
}
