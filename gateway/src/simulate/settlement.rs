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
use crate::settlement::{Exhausted, Item, Verdict, settle, share, union};

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
    ready: Vec<PartitionNo>,
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
}

/// Open until it commits.
pub(super) struct Transaction {
    pub(super) duration: Duration,
    /// Each with the arrival of the oldest record of its batch.
    pub(super) partitions: Vec<(PartitionNo, UnixMs)>,
    verdict: Verdict,
    locks: Locks,
}

/// A transaction that committed.
pub(super) struct Committed {
    pub(super) partitions: Vec<Advanced>,
    /// Each record, with its outcome unless it had one before.
    pub(super) records: Vec<(Record, Option<Outcome>)>,
    pub(super) verdict: Verdict,
}

/// A partition of a transaction that committed.
pub(super) struct Advanced {
    pub(super) partition: PartitionNo,
    pub(super) next_offset: Offset,
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
            ready: Vec::new(),
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
            self.ready.push(partition_no);
        }
    }

    /// Reads new batches, and begins every transaction that need not wait for another one.
    pub(super) fn begin(&mut self, now: Duration) -> Vec<Transaction> {
        (0..self.system.partitions).map(PartitionNo).for_each(|partition| self.read(partition));
        let (mut begun, mut blocked) = (Vec::new(), Vec::new());
        while self.open < self.system.transactions_max && !self.ready.is_empty() {
            let next = self.next();
            match self.try_begin(&next, now) {
                Some(transaction) => begun.push(transaction),
                None => blocked.extend(next),
            }
        }
        blocked.append(&mut self.ready);
        self.ready = blocked;
        begun
    }

    /// The partitions of the next transaction: those that wait share it if there is one transaction at a time.
    fn next(&mut self) -> Vec<PartitionNo> {
        let mut ready = std::mem::take(&mut self.ready);
        let records_max = self.system.batch_records_max;
        let (next, later) = if self.system.transactions_max == 1 {
            share(ready, records_max, |partition| self.partitions[partition.0 as usize].batch.len())
        } else {
            let later = ready.split_off(1);
            (ready, later)
        };
        self.ready = later;
        next
    }

    fn try_begin(&mut self, partitions: &[PartitionNo], now: Duration) -> Option<Transaction> {
        let batches: Vec<Vec<Item>> = partitions.iter().map(|partition| self.items(*partition)).collect();
        let wanted = partitions.iter().zip(&batches);
        let wanted = wanted.map(|(partition, items)| self.partitions[partition.0 as usize].exhausted.wanted(items));
        let items: Vec<&Item> = batches.iter().flatten().collect();
        let (facts, locks) = self.ledger.lock(&union(wanted), &items)?;
        let verdict = settle(&items, facts, virtual_ms(now));
        self.ledger.decide(&verdict);
        let mut oldest = Vec::new();
        for &partition_no in partitions {
            let batch = &self.partitions[partition_no.0 as usize].batch;
            let sent_twice = |record: &&Record| record.arrival.attempt != Attempt::Only;
            for record in batch.iter().take(verdict.decided_of(partition_no)).filter(sent_twice) {
                self.ledger.remember(record.arrival.request_id);
            }
            oldest.push((partition_no, batch.front().map_or(0, |record| virtual_ms(record.arrival.at))));
        }
        let duration = self.duration(partitions, verdict.decided.values().sum());
        self.open += 1;
        Some(Transaction { duration, partitions: oldest, verdict, locks })
    }

    /// The slow partition slows the transaction that it shares.
    fn duration(&self, partitions: &[PartitionNo], records: usize) -> Duration {
        let duration = self.system.speed.settlement(records);
        let slow = PartitionNo::of(self.campaigns[0].coupon_id, ShardNo(0), self.system.partitions);
        if partitions.contains(&slow) { duration.mul_f64(self.system.slow_partition) } else { duration }
    }

    /// Ends an open transaction.
    pub(super) fn commit(&mut self, transaction: Transaction) -> Committed {
        let Transaction { partitions, verdict, locks, .. } = transaction;
        self.ledger.commit(locks);
        let mut records = Vec::new();
        let advance = |(partition, _)| self.advance(partition, &verdict, &mut records);
        let partitions = partitions.into_iter().map(advance).collect();
        self.open -= 1;
        Committed { partitions, records, verdict }
    }

    /// Advances a partition behind the records that a verdict decided.
    fn advance(
        &mut self,
        partition_no: PartitionNo,
        verdict: &Verdict,
        records: &mut Vec<(Record, Option<Outcome>)>,
    ) -> Advanced {
        let partition = &mut self.partitions[partition_no.0 as usize];
        let decided = verdict.decided_of(partition_no);
        let mut settled = verdict.settled_of(partition_no).peekable();
        let mut outcome_at = |at| settled.next_if(|next| next.offset == at).map(|settled| settled.outcome);
        let at_offsets = (partition.next_offset..).zip(partition.batch.drain(..decided));
        records.extend(at_offsets.map(|(offset, record)| (record, outcome_at(offset))));
        partition.next_offset += decided as Offset;
        partition.exhausted.remember(verdict, partition_no);
        let (next_offset, is_batch_done) = (partition.next_offset, partition.batch.is_empty());
        if !is_batch_done {
            self.ready.push(partition_no);
        }
        self.lag_records -= decided as u64;
        self.ledger.advance(partition_no, next_offset);
        Advanced { partition: partition_no, next_offset, is_batch_done }
    }

    /// The batch of a partition, as the log would deliver it.
    fn items(&self, partition_no: PartitionNo) -> Vec<Item> {
        let partition = &self.partitions[partition_no.0 as usize];
        let records = (partition.next_offset..).zip(&partition.batch);
        records.map(|(offset, record)| item(&self.campaigns, offset, record)).collect()
    }

    fn partition(&mut self, partition: PartitionNo) -> &mut Partition {
        &mut self.partitions[partition.0 as usize]
    }
}

fn item(campaigns: &[NewCampaign], offset: Offset, record: &Record) -> Item {
    let Record { arrival, shard_no, partition, .. } = *record;
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
    Item { partition, offset, request_id: arrival.request_id, content: Ok(accepted) }
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
