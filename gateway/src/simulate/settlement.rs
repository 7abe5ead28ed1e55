//! Settlement of a simulation: partitions, their batches, and the transactions that are open.

use std::collections::VecDeque;
use std::time::Duration;

use super::ledger::{Locks, SimulatedLedger};
use super::scenario::{Arrival, Attempt};
use super::system::System;
use super::virtual_time::virtual_ms;
use crate::coupon::{
    Accepted, Arm, CampaignCounts, IssueRequest, NewCampaign, Offset, Outcome, PartitionNo, ShardNo, Terms, UnixMs,
};
use crate::settlement::{Exhausted, Item, Verdict, settle};

/// An accepted request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) arrival: Arrival,
    pub(super) gateway: usize,
    pub(super) shard_no: ShardNo,
    pub(super) partition: PartitionNo,
}

pub(super) struct Settlement {
    pub(super) ledger: SimulatedLedger,
    campaigns: Vec<NewCampaign>,
    system: System,
    partitions: Vec<Partition>,
    /// With a batch that waits for its transaction, longest first.
    ready: VecDeque<PartitionNo>,
    open: u32,
    lag_records: u64,
    peak_lag_records: u64,
}

#[derive(Default)]
struct Partition {
    /// Durable, and in no batch yet.
    waiting: VecDeque<Record>,
    end_offset: Offset,
    /// The first offset that is not settled.
    next_offset: Offset,
    batch: VecDeque<Record>,
    exhausted: Exhausted,
    transaction: Option<Transaction>,
}

/// Open until it commits.
struct Transaction {
    verdict: Verdict,
    locks: Locks,
}

/// A transaction that began.
pub(super) struct Begun {
    pub(super) partition: PartitionNo,
    pub(super) duration: Duration,
    /// Arrival of the oldest record of its batch.
    pub(super) oldest_ms: UnixMs,
}

/// A transaction that committed.
pub(super) struct Committed {
    pub(super) next_offset: Offset,
    /// Each record, with its outcome unless it had one before.
    pub(super) records: Vec<(Record, Option<Outcome>)>,
    pub(super) verdict: Verdict,
    /// Whether the batch has no more records.
    pub(super) is_batch_done: bool,
}

impl Settlement {
    pub(super) fn new(campaigns: &[NewCampaign], system: &System) -> Self {
        Self {
            ledger: SimulatedLedger::new(campaigns, system.partitions),
            campaigns: campaigns.to_vec(),
            system: system.clone(),
            partitions: (0..system.partitions).map(|_| Partition::default()).collect(),
            ready: VecDeque::new(),
            open: 0,
            lag_records: 0,
            peak_lag_records: 0,
        }
    }

    pub(super) fn peak_lag_records(&self) -> u64 {
        self.peak_lag_records
    }

    pub(super) fn end_offset(&self, partition: PartitionNo) -> Offset {
        self.partitions[partition.0 as usize].end_offset
    }

    /// The record is durable.
    pub(super) fn add(&mut self, record: Record) {
        let partition = self.partition(record.partition);
        partition.waiting.push_back(record);
        partition.end_offset += 1;
        self.lag_records += 1;
        self.peak_lag_records = self.peak_lag_records.max(self.lag_records);
    }

    /// Reads the next batch of a partition that has none.
    fn read(&mut self, partition_no: PartitionNo) {
        let records_max = self.system.batch_records_max as usize;
        let partition = self.partition(partition_no);
        if partition.batch.is_empty() && !partition.waiting.is_empty() {
            let records = partition.waiting.len().min(records_max);
            partition.batch.extend(partition.waiting.drain(..records));
            self.ready.push_back(partition_no);
        }
    }

    /// Reads new batches, and begins every transaction that need not wait for another one.
    pub(super) fn begin(&mut self, now: Duration) -> Vec<Begun> {
        (0..self.system.partitions).map(PartitionNo).for_each(|partition| self.read(partition));
        let ready = std::mem::take(&mut self.ready);
        let mut begun = Vec::new();
        for partition in ready {
            match self.try_begin(partition, now) {
                Some(transaction) => begun.push(transaction),
                None => self.ready.push_back(partition),
            }
        }
        begun
    }

    fn try_begin(&mut self, partition_no: PartitionNo, now: Duration) -> Option<Begun> {
        if self.open == self.system.transactions_max {
            return None;
        }
        let partition = &mut self.partitions[partition_no.0 as usize];
        let items = items(&self.campaigns, partition);
        let (facts, locks) = self.ledger.lock(&partition.exhausted.wanted(&items), &items)?;
        let verdict = settle(partition_no, &items, facts, virtual_ms(now));
        self.ledger.decide(&verdict);
        let sent_twice = |record: &&Record| record.arrival.attempt != Attempt::Only;
        for record in partition.batch.iter().take(verdict.decided).filter(sent_twice) {
            self.ledger.remember(record.arrival.request_id);
        }
        let oldest_ms = partition.batch.front().map_or(0, |record| virtual_ms(record.arrival.at));
        let duration = self.system.speed.settlement(verdict.decided);
        partition.transaction = Some(Transaction { verdict, locks });
        self.open += 1;
        Some(Begun { partition: partition_no, duration: self.slowed(partition_no, duration), oldest_ms })
    }

    fn slowed(&self, partition: PartitionNo, duration: Duration) -> Duration {
        let slow = PartitionNo::of(self.campaigns[0].coupon_id, ShardNo(0), self.system.partitions);
        if partition == slow { duration.mul_f64(self.system.slow_partition) } else { duration }
    }

    /// Ends the open transaction of a partition.
    pub(super) fn commit(&mut self, partition_no: PartitionNo) -> Committed {
        let partition = &mut self.partitions[partition_no.0 as usize];
        let Transaction { verdict, locks } = partition.transaction.take().expect("its transaction is open");
        let first_offset = partition.next_offset;
        partition.next_offset += verdict.decided as Offset;
        let next_offset = partition.next_offset;
        self.ledger.commit(partition_no, next_offset, locks);
        partition.exhausted.remember(&verdict);
        let mut settled = verdict.settled.iter().peekable();
        let decided = (first_offset..).zip(partition.batch.drain(..verdict.decided));
        let records = decided
            .map(|(offset, record)| (record, settled.next_if(|next| next.offset == offset).map(|next| next.outcome)))
            .collect();
        let is_batch_done = partition.batch.is_empty();
        self.open -= 1;
        self.lag_records -= verdict.decided as u64;
        if !is_batch_done {
            self.ready.push_back(partition_no);
        }
        Committed { next_offset, records, verdict, is_batch_done }
    }

    fn partition(&mut self, partition: PartitionNo) -> &mut Partition {
        &mut self.partitions[partition.0 as usize]
    }
}

/// The batch of a partition, as the log would deliver it.
fn items(campaigns: &[NewCampaign], partition: &Partition) -> Vec<Item> {
    let item = |(offset, record): (Offset, &Record)| {
        let Record { arrival, shard_no, .. } = *record;
        let campaign = &campaigns[arrival.campaign];
        let request = IssueRequest {
            user_id: arrival.user,
            coupon_id: campaign.coupon_id,
            policy_id: campaign.policy_id,
            terms: terms(),
        };
        let accepted = Accepted {
            request_id: arrival.request_id,
            arrived_at_ms: virtual_ms(arrival.at),
            shard_no,
            generation: 0,
            arm: Arm::Active,
            fingerprint: None,
            campaign_counts: CampaignCounts::default(),
            request,
        };
        Item { offset, request_id: arrival.request_id, content: Ok(accepted) }
    };
    (partition.next_offset..).zip(&partition.batch).map(item).collect()
}

/// No decision depends on them.
fn terms() -> Terms {
    Terms {
        type_snapshot: String::new(),
        discount_rate_snapshot: None,
        discount_amount_snapshot: None,
        minimum_order_amount_snapshot: None,
        usage_period_snapshot: None,
        expired_at: None,
    }
}
