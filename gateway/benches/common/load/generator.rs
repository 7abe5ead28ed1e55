//! The loop of the generator's thread.

use std::collections::VecDeque;
use std::io::Write;
use std::mem;
use std::num::NonZeroU64;
use std::time::Instant;

use super::outcomes::{self, Outcomes};
use super::sockets::Sockets;
use super::{Crowd, Load, Measured, Schedule};

pub(super) fn run(load: &Load<'_>, crowd: &mut Crowd) -> Measured {
    // The kernel may otherwise wake a thread 50 µs late.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).expect("sets");
    let askers = load.pace.connections();
    let watchers = if load.requests_per_outcome > 0 { outcomes::CONNECTIONS } else { 0 };
    let mut generator = Generator {
        crowd,
        sockets: Sockets::connect(load.gateways, askers + watchers),
        askers,
        idle: (0..askers).collect(),
        outcomes: Outcomes::new(askers..askers + watchers, load.requests_per_outcome),
        in_flight: 0,
        body: Vec::new(),
        ready: Vec::new(),
        measured: Measured::begin(),
        schedule: Schedule::new(load.pace, load.lasts),
    };
    while generator.turn() {}
    generator.measured.end();
    generator.measured
}

struct Generator<'a> {
    schedule: Schedule,
    crowd: &'a mut Crowd,
    sockets: Sockets,
    /// The first connections ask for coupons, the others for outcomes.
    askers: usize,
    idle: VecDeque<usize>,
    outcomes: Outcomes,
    in_flight: usize,
    body: Vec<u8>,
    ready: Vec<usize>,
    measured: Measured,
}

impl Generator<'_> {
    /// Sends what is due, then waits for answers or for the next due time. Returns whether there is more to do.
    fn turn(&mut self) -> bool {
        self.send_due();
        let until_next = self.schedule.until_next();
        if until_next.is_none() && self.in_flight == 0 {
            return false;
        }
        // Without an idle connection, nothing can be sent before an answer arrives.
        let timeout = until_next.filter(|_| !self.idle.is_empty());
        let mut ready = mem::take(&mut self.ready);
        self.sockets.wait(timeout, &mut ready);
        for number in ready.drain(..) {
            if self.sockets.reopen_if_idle(number) {
                continue;
            }
            if number < self.askers { self.receive_answer(number) } else { self.receive_outcome(number) }
        }
        self.ready = ready;
        true
    }

    fn send_due(&mut self) {
        while let Some(number) = self.idle.pop_front() {
            let Some(due) = self.schedule.take() else {
                self.idle.push_front(number);
                break;
            };
            self.body.clear();
            self.crowd.write_next(&mut self.body);
            let body = &self.body;
            self.sockets[number].send(due, |request| write_issue(request, body));
            self.measured.delays.record(due.elapsed());
            self.in_flight += 1;
        }
        while let Some((number, awaited)) = self.outcomes.next() {
            self.sockets[number].send(awaited.due, |request| write_status(request, &awaited.status_url));
            self.in_flight += 1;
        }
    }

    fn receive_answer(&mut self, number: usize) {
        let connection = &mut self.sockets[number];
        let due = connection.due;
        let Some(answer) = connection.receive() else { return };
        assert_eq!(answer.status, 202, "{}", answer.body);
        self.outcomes.accept(due, answer.location);
        self.measured.answered(due, Instant::now());
        self.idle.push_back(number);
        self.in_flight -= 1;
    }

    fn receive_outcome(&mut self, number: usize) {
        let connection = &mut self.sockets[number];
        let due = connection.due;
        let Some(answer) = connection.receive() else { return };
        assert!(answer.body.contains(r#""status":"ISSUED""#), "{} {}", answer.status, answer.body);
        self.measured.outcomes.record(due.elapsed());
        self.outcomes.idle.push_back(number);
        self.in_flight -= 1;
    }
}

fn write_issue(request: &mut Vec<u8>, body: &[u8]) {
    let length = body.len();
    write!(
        request,
        "POST /coupon/issue HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
    .expect("memory takes it");
    request.extend_from_slice(body);
}

fn write_status(request: &mut Vec<u8>, status_url: &str) {
    write!(request, "GET {status_url}&wait=30s HTTP/1.1\r\nHost: x\r\n\r\n").expect("memory takes it");
}
