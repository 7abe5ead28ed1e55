//! Which node serves which slot. A single Redis is a node that serves every key.

use std::sync::Arc;

use ::redis::{ErrorKind, RedisError};
use futures_util::future::join_all;

use super::link::Link;
use super::server::Server;
use super::slots::{Node, Range, SLOTS};
use crate::counters::Unavailable;

/// Stands for no node. A cluster has at most 1,000.
const NOBODY: u16 = u16::MAX;

/// Replaced as a whole, because a call needs a consistent one.
pub(super) struct Topology {
    pub(super) links: Vec<Arc<Link>>,
    /// For every slot an index in `links`. A single Redis has one slot.
    owners: Vec<u16>,
}

impl Topology {
    /// Connects to the single Redis, or to a seed of the cluster and then to all its primaries.
    ///
    /// # Errors
    /// Why the last server that was tried cannot be used, if none can.
    pub(super) async fn connect(server: &Server) -> Result<Self, (Node, RedisError)> {
        let mut failed = None;
        for seed in &server.seeds {
            let connected = if server.is_cluster {
                Self::connect_cluster(server, seed, &[]).await
            } else {
                let probe_key = server.keys.probe_key(None);
                let connected = server.connect_and_probe(seed, &probe_key).await;
                connected.map(|connection| Self::of_one(Link::new(seed.clone(), probe_key, Ok(connection))))
            };
            match connected {
                Ok(topology) => return Ok(topology),
                Err(error) => failed = Some((seed.clone(), error)),
            }
        }
        Err(failed.expect("a server has a seed"))
    }

    /// The seeds, to which the gateway tries to connect.
    pub(super) fn unreachable(server: &Server, error: &RedisError) -> Self {
        let down = |seed: &Node| {
            let probe_key = server.keys.probe_key(None);
            Arc::new(Link::new(seed.clone(), probe_key, Err(error.clone())))
        };
        let owners = if server.is_cluster { Vec::new() } else { vec![0] };
        Self { links: server.seeds.iter().map(down).collect(), owners }
    }

    fn of_one(link: Link) -> Self {
        Self { links: vec![Arc::new(link)], owners: vec![0] }
    }

    /// Asks a seed for the nodes of its cluster. `known` are links to keep.
    async fn connect_cluster(server: &Server, seed: &Node, known: &[Arc<Link>]) -> Result<Self, RedisError> {
        let connection = server.connect(seed).await?;
        let ranges = server.ranges(seed, &connection).await?;
        Self::of_ranges(server, &ranges, known).await
    }

    /// Connects to the primaries that `known` lacks.
    async fn of_ranges(server: &Server, ranges: &[Range], known: &[Arc<Link>]) -> Result<Self, RedisError> {
        let mut primaries: Vec<&Node> = Vec::new();
        let mut owners = vec![NOBODY; SLOTS.into()];
        for Range { slots, primary } in ranges {
            let index = primaries.iter().position(|known| *known == primary).unwrap_or_else(|| {
                primaries.push(primary);
                primaries.len() - 1
            });
            let owned = usize::from(*slots.start())..=usize::from(*slots.end());
            owners[owned].fill(u16::try_from(index).unwrap_or(NOBODY));
        }
        if primaries.is_empty() {
            return Err((ErrorKind::Client, "no node of the Redis Cluster serves a slot").into());
        }
        let links = join_all(primaries.into_iter().map(|node| link_to(server, node, ranges, known))).await;
        let topology = Self { links, owners };
        let unusable = |Unavailable(reason)| (ErrorKind::Client, "no primary can be used", reason).into();
        topology.reached().map_err(unusable).map(|()| topology)
    }

    /// As the nodes see it now, asking one that is up, else the seeds. `None` if nobody answers.
    pub(super) async fn read_again(&self, server: &Server) -> Option<Self> {
        for link in self.links.iter().filter(|link| link.is_up()) {
            let Ok(connection) = link.state().connection() else { continue };
            if let Ok(ranges) = server.ranges(&link.node, &connection).await
                && let Ok(topology) = Self::of_ranges(server, &ranges, &self.links).await
            {
                return Some(topology);
            }
        }
        for seed in &server.seeds {
            if let Ok(topology) = Self::connect_cluster(server, seed, &self.links).await {
                return Some(topology);
            }
        }
        None
    }

    /// The same slots, and a link to a node that may get some.
    pub(super) fn with(&self, link: Arc<Link>) -> Self {
        let links = self.links.iter().cloned().chain([link]).collect();
        Self { links, owners: self.owners.clone() }
    }

    pub(super) fn owner(&self, slot: u16) -> Option<&Arc<Link>> {
        self.links.get(usize::from(*self.owners.get(usize::from(slot))?))
    }

    pub(super) fn link(&self, node: &Node) -> Option<&Arc<Link>> {
        self.links.iter().find(|link| link.node == *node)
    }

    /// An error when no node can be reached.
    pub(super) fn reached(&self) -> Result<(), Unavailable> {
        let links = self.links.iter().map(|link| link.state().connection().map(|_| ()));
        links.reduce(Result::or).unwrap_or(Ok(()))
    }

    pub(super) fn are_all_up(&self) -> bool {
        self.links.iter().all(|link| link.is_up()) && !self.owners.is_empty() && !self.owners.contains(&NOBODY)
    }

    /// The nodes, for logs.
    pub(super) fn nodes(&self) -> String {
        let mut nodes: Vec<_> = self.links.iter().map(|link| link.node.to_string()).collect();
        nodes.sort_unstable();
        nodes.join(",")
    }
}

async fn link_to(server: &Server, node: &Node, ranges: &[Range], known: &[Arc<Link>]) -> Arc<Link> {
    let of_node = ranges.iter().filter(|range| range.primary == *node);
    let widest = of_node.max_by_key(|range| range.slots.len());
    let probe_key = server.keys.probe_key(widest.map(|range| &range.slots));
    match known.iter().find(|link| link.node == *node) {
        Some(link) => {
            link.set_probe_key(probe_key);
            Arc::clone(link)
        }
        None => Arc::new(Link::connect(server, node.clone(), probe_key).await),
    }
}
