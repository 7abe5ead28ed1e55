//! The event loop: what happens at each point of virtual time.

mod requests;
mod settling;

use std::collections::BTreeMap;

use super::admission::{Admission, Candidate, Code};
use super::event_queue::EventQueue;
use super::gateway::Gateway;
use super::group_commit::GroupCommit;
use super::prediction::Prediction;
use super::random::{Random, Use};
use super::scenario::{Arrival, Scenario};
use super::settlement::{Settlement, Transaction};
use super::system::System;
use super::tally::Tally;
use crate::admission::SAMPLE_EVERY;
use crate::policy::OfflinePipeline;

pub(super) struct Model<'a> {
    scenario: &'a Scenario,
    system: &'a System,
    arrivals: Box<dyn Iterator<Item = Arrival> + 'a>,
    events: EventQueue<Event>,
    /// Scheduled samples and polls. They end when nothing else is scheduled.
    timers: usize,
    random: Random,
    gateways: Vec<Gateway>,
    admission: Admission<'a>,
    log: GroupCommit,
    settlement: Settlement,
    tally: Tally,
    requests: u64,
    repeated: u64,
    refused: BTreeMap<Code, u64>,
}

enum Event {
    /// The next request of the scenario arrives.
    Arrival(Arrival),
    /// A client sends a request again.
    Retry(Arrival),
    /// The delay of the rate shaper is over.
    Delayed(Candidate),
    /// The log made a group of records durable.
    Durable,
    /// A transaction commits.
    Commit(Box<Transaction>),
    Timer(Timer),
}

#[derive(Clone, Copy)]
enum Timer {
    /// Gateways sample their load.
    Sample,
    /// Gateways read the stock.
    Poll,
}

impl<'a> Model<'a> {
    pub(super) fn new(
        scenario: &'a Scenario,
        system: &'a System,
        policies: &'a mut OfflinePipeline,
        seed: u64,
    ) -> Self {
        let campaigns = &scenario.campaigns;
        Self {
            scenario,
            system,
            arrivals: scenario.arrivals(seed),
            events: EventQueue::new(),
            timers: 0,
            random: Random::new(seed, Use::Gateways),
            gateways: (0..system.gateways).map(|_| Gateway::new(campaigns, system)).collect(),
            admission: Admission::new(policies, campaigns),
            log: GroupCommit::default(),
            settlement: Settlement::new(campaigns, system),
            tally: Tally::new(scenario.measured(), campaigns.first().map_or(1, |campaign| campaign.shards)),
            requests: 0,
            repeated: 0,
            refused: BTreeMap::new(),
        }
    }

    /// Runs until everything is settled. `progress` gets the number of requests so far.
    pub(super) fn run(mut self, mut progress: impl FnMut(u64)) -> Prediction {
        self.schedule_arrival();
        self.schedule_timer(Timer::Sample);
        self.schedule_timer(Timer::Poll);
        while let Some(event) = self.events.next() {
            self.handle(event);
            progress(self.requests);
        }
        self.predict()
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrival(arrival) => {
                self.schedule_arrival();
                self.arrive(arrival);
            }
            Event::Retry(arrival) => self.arrive(arrival),
            Event::Delayed(candidate) => self.place(candidate),
            Event::Durable => self.make_durable(),
            Event::Commit(transaction) => self.commit(*transaction),
            Event::Timer(timer) => self.tick(timer),
        }
    }

    fn schedule_arrival(&mut self) {
        if let Some(arrival) = self.arrivals.next() {
            self.events.schedule_at(arrival.at, Event::Arrival(arrival));
        }
    }

    fn schedule_timer(&mut self, timer: Timer) {
        let interval = match timer {
            Timer::Sample => Some(SAMPLE_EVERY),
            Timer::Poll => self.system.stock_poll,
        };
        if let Some(interval) = interval {
            self.events.schedule_after(interval, Event::Timer(timer));
            self.timers += 1;
        }
    }

    fn tick(&mut self, timer: Timer) {
        self.timers -= 1;
        let (settlement, now) = (&self.settlement, self.events.now());
        let end_offset = |partition| settlement.end_offset(partition);
        for gateway in &mut self.gateways {
            match timer {
                Timer::Sample => gateway.sample(now, end_offset),
                Timer::Poll => gateway.poll(&settlement.ledger, end_offset),
            }
        }
        if self.events.len() > self.timers {
            self.schedule_timer(timer);
        }
    }

    fn predict(self) -> Prediction {
        let measured = &self.scenario.campaigns[..self.scenario.measured()];
        Prediction {
            requests: self.requests,
            repeated: self.repeated,
            refused: self.refused.into_iter().map(|(code, count)| (code.into_owned(), count)).collect(),
            unsold_coupons: measured.iter().map(|new| self.settlement.ledger.remaining(new.coupon_id)).sum(),
            peak_lag_records: self.settlement.peak_lag_records(),
            policy_failures: self.admission.policy_failures(),
            outcomes: self.tally.outcomes(),
        }
    }
}
