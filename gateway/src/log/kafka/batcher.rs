//! Sends the records of a partition in batches: while one batch is in flight, the next one collects.
//!
//! The client library also has at most one batch of a partition in flight. But while records wait, its threads poll
//! for permission to send without a pause, and on a small machine leave no processor time to the brokers.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::coupon::Offset;
use crate::log::{Ack, AckSender, AppendError, Record};

/// About a sixth of the broker's largest batch, at the size of a usual request. Larger batches are not faster.
pub(super) const BATCH_RECORDS_MAX: usize = 512;
/// Per partition: one batch. The partitions of a broker that stops answering, a third of them in a small cluster, then
/// hold at most half of the requests that a gateway has in flight by default.
const PENDING_RECORDS_MAX: usize = BATCH_RECORDS_MAX;

/// The acknowledgement that a record waits for.
pub(super) struct PendingAck {
    pub(super) since: Instant,
    sender: AckSender,
}

impl PendingAck {
    pub(super) fn pair() -> (Box<Self>, Ack) {
        let (sender, ack) = Ack::pair();
        (Box::new(Self { since: Instant::now(), sender }), ack)
    }

    pub(super) fn complete(self, result: Result<Offset, AppendError>) {
        // The client may have disconnected; its record is settled all the same.
        let _ = self.sender.send(result);
    }

    /// No caller waits for it any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.sender.is_closed()
    }
}

pub(super) type Batch = VecDeque<(Record, Box<PendingAck>)>;

/// A partition's batch in flight, and the records for the next one.
#[derive(Default)]
struct PartitionState {
    /// Records of the batch in flight that are not acknowledged.
    in_flight: usize,
    /// One of them timed out. Pending records then fail with the batch, as they have waited for as long.
    timed_out: bool,
    pending: Batch,
}

/// What the sender must do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SendCommand {
    /// The partition has pending records and no batch in flight.
    Send(usize),
    Stop,
}

pub(super) struct Batcher {
    partitions: Vec<Mutex<PartitionState>>,
    commands: Sender<SendCommand>,
}

/// What became of a pushed record.
pub(super) enum Pushed {
    /// The partition is idle: the caller sends the record as a batch of one.
    SendNow(Record, Box<PendingAck>),
    /// It waits for the batch in flight.
    Pending,
}

impl Batcher {
    /// A batcher, and the commands for the thread that sends pending batches.
    pub(super) fn new(partitions: u32) -> (Self, Receiver<SendCommand>) {
        let (commands, receiver) = channel();
        let partitions = std::iter::repeat_with(Mutex::default).take(partitions as usize).collect();
        (Self { partitions, commands }, receiver)
    }

    pub(super) fn push(&self, partition: usize, record: Record, ack: Box<PendingAck>) -> Result<Pushed, AppendError> {
        let mut state = self.lock(partition);
        if state.in_flight == 0 && state.pending.is_empty() {
            state.in_flight = 1;
            return Ok(Pushed::SendNow(record, ack));
        }
        if state.pending.len() >= PENDING_RECORDS_MAX {
            return Err(AppendError::Full);
        }
        state.pending.push_back((record, ack));
        Ok(Pushed::Pending)
    }

    /// Takes a record out of the batch in flight: it was acknowledged, failed, or could not be sent.
    pub(super) fn complete(&self, partition: usize, timed_out: bool) {
        let mut state = self.lock(partition);
        state.timed_out |= timed_out;
        state.in_flight -= 1;
        if state.in_flight > 0 {
            return;
        }
        let expired =
            if std::mem::take(&mut state.timed_out) { std::mem::take(&mut state.pending) } else { Batch::new() };
        if !state.pending.is_empty() {
            // Fails if the sender has ended, which `System` reports.
            let _ = self.commands.send(SendCommand::Send(partition));
        }
        drop(state);
        for (_, ack) in expired {
            ack.complete(Err(AppendError::NotWritten("the batch before it timed out".into())));
        }
    }

    /// Moves pending records in flight. The caller sends them.
    pub(super) fn next_batch(&self, partition: usize) -> Batch {
        let mut state = self.lock(partition);
        let records = state.pending.len().min(BATCH_RECORDS_MAX);
        state.in_flight = records;
        state.pending.drain(..records).collect()
    }

    pub(super) fn is_idle(&self) -> bool {
        (0..self.partitions.len())
            .map(|partition| self.lock(partition))
            .all(|state| state.in_flight == 0 && state.pending.is_empty())
    }

    /// Ends the sender. Records that are still pending are dropped with their acknowledgements.
    pub(super) fn stop(&self) {
        // Fails if the sender has ended.
        let _ = self.commands.send(SendCommand::Stop);
    }

    fn lock(&self, partition: usize) -> MutexGuard<'_, PartitionState> {
        self.partitions[partition].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Headers;

    fn record(key: usize) -> Record {
        Record { key: key.to_string(), headers: Headers::default(), value: Vec::new() }
    }

    /// Pushes records 0, 1, 2, … to partition 0. Only the first is sent at once.
    fn push(batcher: &Batcher, records: usize) -> Vec<Ack> {
        let push = |key| {
            let (pending, ack) = PendingAck::pair();
            let pushed = batcher.push(0, record(key), pending).expect("there is room");
            assert_eq!(matches!(pushed, Pushed::SendNow(..)), key == 0);
            ack
        };
        (0..records).map(push).collect()
    }

    fn keys(batch: &Batch) -> Vec<usize> {
        batch.iter().map(|(record, _)| record.key.parse().expect("a number")).collect()
    }

    #[test]
    fn pending_records_are_sent_in_order_once_the_batch_in_flight_is_complete() {
        let (batcher, commands) = Batcher::new(2);
        let _acks = push(&batcher, 1 + BATCH_RECORDS_MAX);
        assert!(commands.try_recv().is_err(), "the first record is in flight");
        batcher.complete(0, false);
        assert_eq!(commands.try_recv(), Ok(SendCommand::Send(0)));
        let batch = batcher.next_batch(0);
        assert_eq!(keys(&batch), (1..=BATCH_RECORDS_MAX).collect::<Vec<_>>());
        let (pending, _ack) = PendingAck::pair();
        assert!(matches!(batcher.push(0, record(1 + BATCH_RECORDS_MAX), pending), Ok(Pushed::Pending)));
        for _ in 0..BATCH_RECORDS_MAX {
            assert!(commands.try_recv().is_err(), "the batch is not complete");
            batcher.complete(0, false);
        }
        assert_eq!(commands.try_recv(), Ok(SendCommand::Send(0)));
        assert_eq!(keys(&batcher.next_batch(0)), [1 + BATCH_RECORDS_MAX]);
        assert!(!batcher.is_idle());
        batcher.complete(0, false);
        assert!(batcher.is_idle() && commands.try_recv().is_err());
    }

    #[test]
    fn a_timeout_fails_the_pending_records_at_once() {
        let (batcher, commands) = Batcher::new(1);
        let mut acks = push(&batcher, 3);
        batcher.complete(0, true);
        assert!(commands.try_recv().is_err() && batcher.is_idle());
        for ack in acks.drain(1..) {
            let result = futures_util::FutureExt::now_or_never(ack).expect("is completed");
            assert!(matches!(result, Err(AppendError::NotWritten(_))), "{result:?}");
        }
    }

    #[test]
    fn a_full_partition_leaves_the_others_their_room() {
        let (batcher, _commands) = Batcher::new(2);
        let _acks = push(&batcher, 1 + PENDING_RECORDS_MAX);
        let push = |partition| batcher.push(partition, record(0), PendingAck::pair().0);
        assert!(matches!(push(0), Err(AppendError::Full)));
        assert!(matches!(push(1), Ok(Pushed::SendNow(..))));
        for _ in 0..PENDING_RECORDS_MAX {
            assert!(matches!(push(1), Ok(Pushed::Pending)));
        }
        assert!(matches!(push(1), Err(AppendError::Full)));
        batcher.complete(0, false);
        batcher.next_batch(0);
        assert!(matches!(push(0), Ok(Pushed::Pending)));
    }

    #[test]
    fn stopping_ends_the_sender() {
        let (batcher, commands) = Batcher::new(1);
        batcher.stop();
        assert_eq!(commands.recv(), Ok(SendCommand::Stop));
    }
}
