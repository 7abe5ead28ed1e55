//! One number that grows, and what a request costs at some of its values.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;

use crate::common::crowd::Crowd;
use crate::common::distributed::Stage;
use crate::common::load::{Load, Pace};
use crate::common::{Server, median, trial};

const ROUNDS: usize = 3;
const SECONDS: u64 = 3;
/// For each point, before the first round.
const WARM_UP_SECONDS: u64 = 1;
const CONNECTIONS: usize = 64;
/// A load is over when the outcomes of its sample are there. So nearly all of its records are settled by then, and their
/// processor time counts.
const REQUESTS_PER_OUTCOME: u64 = 50;

pub(crate) struct Dimension {
    pub(crate) name: &'static str,
    /// What grows, and how.
    pub(crate) about: &'static str,
    pub(crate) points: Vec<Point>,
    /// Deleted in the end.
    pub(crate) stage: Option<Stage>,
}

pub(crate) struct Point {
    /// The value of the number.
    pub(crate) at: u64,
    /// Their processor time counts. Points may share them.
    pub(crate) servers: Rc<[Server]>,
    pub(crate) gateways: Vec<SocketAddr>,
    pub(crate) crowd: Crowd,
    pub(crate) is_settled: bool,
}

/// The results of a dimension.
#[derive(Serialize)]
pub(crate) struct Growth {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) points: Vec<Measured>,
}

/// Medians.
#[derive(Serialize)]
pub(crate) struct Measured {
    pub(crate) at: u64,
    /// The time of a request: of a second, divided by the requests that were accepted in it.
    pub(crate) wall_us: f64,
    /// Processor time of the servers for a request.
    pub(crate) cpu_us: f64,
    /// Processor time of the load generator for a request.
    pub(crate) generator_us: f64,
}

impl Dimension {
    /// In every other round, the points are measured in the opposite order.
    pub(crate) async fn measure(mut self) -> Growth {
        for point in &mut self.points {
            point.measure(trial::seconds(WARM_UP_SECONDS));
        }
        let mut rounds: Vec<Vec<Measured>> = self.points.iter().map(|_| Vec::new()).collect();
        for round in 0..trial::rounds(ROUNDS) {
            for turn in 0..self.points.len() {
                let which = if round % 2 == 0 { turn } else { self.points.len() - 1 - turn };
                rounds[which].push(self.points[which].measure(trial::seconds(SECONDS)));
            }
        }
        drop(self.points);
        if let Some(stage) = self.stage {
            stage.delete().await;
        }
        Growth {
            name: self.name,
            about: self.about,
            points: rounds.iter().map(|rounds| Measured::median(rounds)).collect(),
        }
    }
}

impl Point {
    /// One server, and its own requests.
    pub(crate) fn single(at: u64, server: Server, crowd: Crowd) -> Self {
        let servers: Rc<[Server]> = Rc::new([server]);
        Self::at(at, &servers, 1, crowd)
    }

    /// The first servers are the gateways.
    pub(crate) fn at(at: u64, servers: &Rc<[Server]>, gateways: usize, crowd: Crowd) -> Self {
        let gateways = servers.iter().take(gateways).map(|server| server.http.expect("a gateway listens")).collect();
        Self { at, servers: Rc::clone(servers), gateways, crowd, is_settled: true }
    }

    fn measure(&mut self, lasts: Duration) -> Measured {
        let used_before = self.cpu_seconds();
        let pace = Pace::Closed { connections: CONNECTIONS };
        let requests_per_outcome = if self.is_settled { REQUESTS_PER_OUTCOME } else { 0 };
        let measured = Load { gateways: &self.gateways, pace, lasts, requests_per_outcome }.send(&mut self.crowd);
        let used = self.cpu_seconds() - used_before;
        let found = Measured {
            at: self.at,
            wall_us: 1e6 / measured.per_second(),
            cpu_us: used * 1e6 / measured.responses.count() as f64,
            generator_us: measured.cost().us,
        };
        println!(
            "  {}: {:.1} µs, {:.1} µs of processor time; {}",
            found.at,
            found.wall_us,
            found.cpu_us,
            measured.cost()
        );
        found
    }

    fn cpu_seconds(&self) -> f64 {
        self.servers.iter().map(Server::cpu_seconds).sum()
    }
}

impl Measured {
    fn median(rounds: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(rounds.iter().map(figure).collect());
        Self {
            at: rounds[0].at,
            wall_us: of(|round| round.wall_us),
            cpu_us: of(|round| round.cpu_us),
            generator_us: of(|round| round.generator_us),
        }
    }
}
