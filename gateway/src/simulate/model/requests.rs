//! From the arrival of a request to its answer.

use std::time::Duration;

use super::{Event, Model};
use crate::coupon::{PartitionNo, ShardNo};
use crate::simulate::admission::{Candidate, Code};
use crate::simulate::group_commit::Commit;
use crate::simulate::scenario::{Arrival, Attempt};
use crate::simulate::settlement::Record;

impl Model<'_> {
    pub(super) fn arrive(&mut self, arrival: Arrival) {
        self.requests += 1;
        if self.tally.measures(arrival.campaign) {
            self.tally.ask(arrival.campaign, arrival.user, arrival.at);
        }
        let gateway_no = self.random.below(self.gateways.len() as u64) as usize;
        let gateway = &mut self.gateways[gateway_no];
        gateway.begin_request();
        let is_known = || gateway.remembers(arrival.request_id) || self.settlement.ledger.remembers(arrival.request_id);
        if arrival.attempt == Attempt::Second && is_known() {
            self.repeated += 1;
            return self.answer(gateway_no, &arrival);
        }
        let mut candidate = Candidate::new(arrival, gateway_no);
        match self.admission.shape(&mut candidate, gateway) {
            Ok(Duration::ZERO) => self.place(candidate),
            Ok(delay) => self.events.schedule_after(delay, Event::Delayed(candidate)),
            Err(code) => self.refuse(&candidate, code),
        }
    }

    pub(super) fn place(&mut self, mut candidate: Candidate) {
        let gateway = &self.gateways[candidate.gateway];
        match self.admission.place(&mut candidate, gateway) {
            Ok(shard_no) => self.append(&candidate, shard_no),
            Err(code) => self.refuse(&candidate, code),
        }
    }

    fn refuse(&mut self, candidate: &Candidate, code: Code) {
        self.admission.release(candidate);
        if self.tally.measures(candidate.arrival.campaign) {
            *self.refused.entry(code).or_default() += 1;
        }
        self.answer(candidate.gateway, &candidate.arrival);
    }

    fn append(&mut self, candidate: &Candidate, shard_no: ShardNo) {
        let Candidate { arrival, gateway, .. } = *candidate;
        self.gateways[gateway].add_unsettled(arrival.campaign, shard_no);
        let coupon = self.scenario.campaigns[arrival.campaign].coupon_id;
        let partition = PartitionNo::of(coupon, shard_no, self.system.partitions);
        let commit = self.log.append(Record { arrival, gateway, shard_no, partition });
        self.await_durable(commit);
    }

    fn await_durable(&mut self, commit: Commit) {
        if commit == Commit::Begun {
            self.events.schedule_after(self.system.speed.append, Event::Durable);
        }
    }

    pub(super) fn make_durable(&mut self) {
        let (records, commit) = self.log.end();
        self.await_durable(commit);
        for record in records {
            let Record { arrival, gateway, .. } = record;
            if arrival.attempt == Attempt::First {
                self.gateways[gateway].remember(arrival.request_id);
            }
            self.settlement.add(record);
            self.answer(gateway, &arrival);
        }
        self.settle();
    }

    fn answer(&mut self, gateway: usize, arrival: &Arrival) {
        let now = self.events.now();
        self.gateways[gateway].end_request();
        if self.tally.measures(arrival.campaign) {
            self.tally.answer(now);
        }
        if arrival.attempt == Attempt::First {
            let retry = Arrival { at: now, attempt: Attempt::Second, ..*arrival };
            self.events.schedule_at(now, Event::Retry(retry));
        }
    }
}
