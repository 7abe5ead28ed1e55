//! Dimensions of several processes on Kafka, MariaDB and Redis.

use std::rc::Rc;

use crate::common::Server;
use crate::common::crowd::Crowd;
use crate::common::distributed::{COUNTERS, Stage};
use crate::dimension::{Dimension, Point};

const MOST: usize = 4;

pub(crate) async fn gateways() -> Dimension {
    let stage = Stage::create().await;
    let variables = stage.variables(None);
    let mut variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    variables.push(COUNTERS);
    let mut servers: Vec<_> = (0..MOST).map(|_| Server::sluice("gateway", &variables)).collect();
    servers.push(Server::sluice("consumer", &variables));
    let servers: Rc<[Server]> = servers.into();
    servers[0].open_campaign().await;
    let points = [1, 2, MOST].map(|gateways| Point::at(gateways as u64, &servers, gateways, Crowd::newcomers()));
    let about = "gateways that share the requests, on Kafka, MariaDB and Redis, with one consumer";
    Dimension { name: "gateways", about, points: points.into(), stage: Some(stage) }
}
