//! From durable records to outcomes.

use super::{Event, Model};
use crate::coupon::{Outcome, PartitionNo};
use crate::simulate::gateway::Gateway;
use crate::simulate::settlement::{Begun, Committed, Record};
use crate::simulate::tally::SettledRequest;

impl Model<'_> {
    pub(super) fn settle(&mut self) {
        for Begun { partition, duration, oldest_ms } in self.settlement.begin(self.events.now()) {
            for gateway in self.settling_gateways() {
                gateway.progress.begin(partition, oldest_ms);
            }
            self.events.schedule_after(duration, Event::Commit(partition));
        }
    }

    pub(super) fn commit(&mut self, partition: PartitionNo) {
        let committed = self.settlement.commit(partition);
        for (record, outcome) in &committed.records {
            if let Some(outcome) = outcome {
                self.note_outcome(record, *outcome);
            }
        }
        self.publish(partition, &committed);
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
    fn publish(&mut self, partition: PartitionNo, committed: &Committed) {
        if self.system.stock_poll.is_some() {
            return;
        }
        let Committed { next_offset, records, verdict, is_batch_done } = committed;
        for (record, _) in records {
            self.gateways[record.gateway].subtract_unsettled(record.arrival.campaign, record.shard_no);
        }
        let granted = verdict.takes.iter().map(|take| take.records).sum();
        for gateway in &mut self.gateways {
            gateway.publish(verdict);
            gateway.progress.catch_up(partition, *next_offset);
            gateway.progress.grant(granted);
            if *is_batch_done {
                gateway.progress.finish(partition);
            }
        }
    }

    fn settling_gateways(&self) -> &[Gateway] {
        if self.system.stock_poll.is_some() { &[] } else { &self.gateways }
    }
}
