//! Dimensions of one process with an embedded log and ledger.

use std::rc::Rc;
use std::time::Duration;

use crate::common::backlog::{COUPON, SHARDS};
use crate::common::crowd::Crowd;
use crate::common::load::flood;
use crate::common::own_server::{OwnGateway, OwnServer};
use crate::common::{CONNECTIONS, Server, trial};
use crate::dimension::{Dimension, Point};

/// A new gateway has campaigns of its own, with lower numbers.
const FIRST_OF_MANY: u64 = 1000;
const NO_LIMIT: u32 = i32::MAX.unsigned_abs();

fn dimension(name: &'static str, about: &'static str, points: Vec<Point>) -> Dimension {
    Dimension { name, about, points, stage: None }
}

pub(crate) async fn shards() -> Dimension {
    let servers: Rc<[Server]> = Rc::new([Server::sluice("all", &[])]);
    let mut points = Vec::new();
    for (coupon, shards) in (COUPON..).zip([1, 4, 16, 64, 256]) {
        servers[0].open_campaigns(coupon..coupon + 1, shards, 1).await;
        let crowd = Crowd::new(1..u64::MAX, coupon..coupon + 1);
        points.push(Point::at(u64::from(shards), &servers, 1, crowd));
    }
    dimension("shards", "shards of the coupon, on 12 partitions", points)
}

pub(crate) async fn users() -> Dimension {
    let mut points = Vec::new();
    for users in [1, 1_000, 1_000_000, 10_000_000].map(trial::number) {
        let server = OwnServer::Gateway(OwnGateway { known_users: users, ..OwnGateway::default() }).start();
        server.open_campaigns(COUPON..COUPON + 1, SHARDS, NO_LIMIT).await;
        points.push(Point::single(users, server, Crowd::new(1..users + 1, COUPON..COUPON + 1)));
    }
    dimension("users", "users of the coupon, all of whom the counters have seen before", points)
}

pub(crate) async fn campaigns() -> Dimension {
    let mut points = Vec::new();
    for campaigns in [1, 100, 1_000, 10_000].map(trial::number) {
        let (server, coupons) = (Server::sluice("all", &[]), FIRST_OF_MANY..FIRST_OF_MANY + campaigns);
        server.open_campaigns(coupons.clone(), SHARDS, 1).await;
        points.push(Point::single(campaigns, server, Crowd::new(1..u64::MAX, coupons)));
    }
    dimension("campaigns", "campaigns of 12 shards, requested in turn", points)
}

pub(crate) async fn partitions() -> Dimension {
    const MOST: u32 = 96;
    let mut points = Vec::new();
    for partitions in [12, 24, 48, MOST] {
        let server = Server::sluice("all", &[("LOG__PARTITIONS", &partitions.to_string())]);
        server.open_campaigns(COUPON..COUPON + 1, MOST, 1).await;
        points.push(Point::single(u64::from(partitions), server, Crowd::strangers()));
    }
    dimension("partitions", "partitions of the log, for a coupon of 96 shards", points)
}

pub(crate) async fn backlog() -> Dimension {
    let mut points = Vec::new();
    for records in [0, 10_000, 100_000, 1_000_000].map(trial::number) {
        let (server, mut crowd) = (Server::sluice("gateway", &[]), Crowd::strangers());
        server.open_campaign().await;
        let (http, mut waiting) = (server.http.expect("it listens"), 0);
        while waiting < records {
            waiting += flood(http, CONNECTIONS, Duration::from_millis(100), &mut crowd).responses.count();
        }
        points.push(Point { is_settled: false, ..Point::single(records, server, crowd) });
    }
    let about = "records that wait when the first round begins. Nothing is settled; the rounds add their own records";
    dimension("backlog", about, points)
}

pub(crate) async fn workers() -> Dimension {
    let mut points = Vec::new();
    for workers in [1, 2, 3, 4] {
        let server = OwnServer::Gateway(OwnGateway { workers: Some(workers), ..OwnGateway::default() }).start();
        server.open_campaign().await;
        points.push(Point::single(workers as u64, server, Crowd::strangers()));
    }
    dimension("workers", "threads of the runtime", points)
}
