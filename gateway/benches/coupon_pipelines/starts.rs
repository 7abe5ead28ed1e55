//! Starts of one gateway, and its first decisions.

use std::time::Duration;

use crate::common::distributed::Stage;
use crate::common::median;
use crate::durations::{longest, ms, timed};
use crate::gateway::Machine;

const RESTARTS: usize = 3;

pub(crate) const HEADER: [&str; 6] = [
    "MiB, restarted",
    "first start, s",
    "restart, s",
    "first decision, ms",
    "first of each coupon, ms: median",
    "longest",
];

/// A gateway that was started several times on a new machine.
pub(crate) struct Starts {
    /// The first start compiles.
    first: Duration,
    restarts_s: Vec<f64>,
    /// After a request for each coupon.
    resident_mib: Vec<f64>,
    first_decisions_ms: Vec<f64>,
    /// The first of each coupon, but for that of the gateway.
    decisions_ms: Vec<f64>,
}

impl Starts {
    /// These generations must decide about the coupons from 1.
    pub(crate) async fn measure(stage: &Stage, generations: &[u64]) -> Self {
        let machine = Machine::on(stage);
        let (first, gateway) = timed(machine.start()).await;
        drop(gateway);
        let [restarts_s, resident_mib, first_decisions_ms, decisions_ms] = [const { Vec::new() }; 4];
        let mut starts = Self { first, restarts_s, resident_mib, first_decisions_ms, decisions_ms };
        for _ in 0..RESTARTS {
            starts.restart(&machine, generations).await;
        }
        starts
    }

    async fn restart(&mut self, machine: &Machine, generations: &[u64]) {
        let (took, gateway) = timed(machine.start()).await;
        self.restarts_s.push(took.as_secs_f64());
        for (coupon, generation) in (1..).zip(generations) {
            let decided = gateway.ask(coupon).await;
            assert_eq!(decided.generation, *generation, "coupon {coupon}");
            let decisions_ms = if coupon == 1 { &mut self.first_decisions_ms } else { &mut self.decisions_ms };
            decisions_ms.push(ms(decided.took));
        }
        self.resident_mib.push(gateway.server.resident_mib() as f64);
    }

    pub(crate) fn cells(self) -> [String; 6] {
        let longest = longest(&self.decisions_ms);
        [
            median(self.resident_mib).to_string(),
            format!("{:.2}", self.first.as_secs_f64()),
            format!("{:.2}", median(self.restarts_s)),
            format!("{:.1}", median(self.first_decisions_ms)),
            format!("{:.1}", median(self.decisions_ms)),
            format!("{longest:.1}"),
        ]
    }
}
