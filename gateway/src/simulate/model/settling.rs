//! From durable records to outcomes.

use super::{Event, Model};
use crate::coupon::Outcome;
use crate::simulate::gateway::Gateway;
use crate::simulate::settlement::{Advanced, Committed, Record, Transaction};
use crate::simulate::tally::SettledRequest;

impl Model<'_> {
    pub(super) fn settle(&mut self) {
        for transaction in self.settlement.begin(self.events.now()) {
            for gateway in self.settling_gateways() {
                for (partition, oldest_ms) in &transaction.partitions {
                    gateway.progress.begin(*partition, *oldest_ms);
                }
            }
            self.events.schedule_after(transaction.duration, Event::Commit(Box::new(transaction)));
        }
    }

    pub(super) fn commit(&mut self, transaction: Transaction) {
        let committed = self.settlement.commit(transaction);
        for (record, outcome) in &committed.records {
            if let Some(outcome) = outcome {
                self.note_outcome(record, *outcome);
            }
        }
        self.publish(&committed);
        self.settle();
    }

    fn note_outcome(&mut self, record: &Record, outcome: Outcome) {
        let Record { arrival, shard_no, .. } = record;
        if matches!(outcome, Outcome::Rejected(_)) {
            self.admission.forget(arrival);
        }
        if self.tally.measures(arrival.campaign) {
            let (campaign, user, at) = (arrival.campaign, arrival.user, self.events.now());
            self.tally.settle(&SettledRequest { campaign, user, picked: *shard_no, outcome, at });
        }
    }

    /// Reports a commit to the gateways that settle themselves.
    fn publish(&mut self, committed: &Committed) {
        if self.system.stock_poll.is_some() {
            return;
        }
        let Committed { partitions, records, verdict } = committed;
        for (record, _) in records {
            self.gateways[record.gateway].subtract_unsettled(record.arrival.campaign, record.shard_no);
        }
        let granted = verdict.takes.iter().map(|take| take.records).sum();
        for gateway in &mut self.gateways {
            gateway.publish(verdict);
            gateway.progress.grant(granted);
            for Advanced { partition, next_offset, is_batch_done } in partitions {
                gateway.progress.catch_up(*partition, *next_offset);
                if *is_batch_done {
                    gateway.progress.finish(*partition);
                }
            }
        }
    }

    fn settling_gateways(&self) -> &[Gateway] {
        if self.system.stock_poll.is_some() { &[] } else { &self.gateways }
    }
}
