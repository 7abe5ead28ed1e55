//! The nodes of Redis: finds the node for a call, and follows slots that move.
//!
//! The cluster client of the redis crate is not used: while it reads the slots again, it connects to every node and
//! makes all calls wait, so one hung node would stop the others. It also sends `ASKING` and the command in two writes,
//! between which another call may come. Here each node has a [`Link`] that fails alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::redis::{ErrorKind, FromRedisValue, RedisError, ServerErrorKind};
use arc_swap::ArcSwap;
use tokio::sync::{Mutex, Notify};

use super::commands::Call;
use super::link::{Link, is_severed};
use super::release_queue::ReleaseQueue;
use super::server::Server;
use super::slots::Node;
use super::topology::Topology;
use crate::counters::Unavailable;
use crate::telemetry::{CountersSeen, Telemetry};

/// Redirections and pauses of one call: more than fit into the longest wait of a caller.
const REDIRECTIONS_MAX: usize = 64;
/// While a slot moves, a script waits for the rest of its keys. Moving a slot with few keys takes milliseconds.
const TRY_AGAIN_DELAY: Duration = Duration::from_millis(5);

pub(super) struct Nodes {
    pub(super) server: Server,
    telemetry: Telemetry,
    pub(super) release_queue: ReleaseQueue,
    pub(super) topology: ArcSwap<Topology>,
    /// Held while the topology is replaced.
    pub(super) replacing: Mutex<()>,
    pub(super) is_outdated: AtomicBool,
    /// A connection is lost, or the topology is outdated.
    pub(super) attention: Notify,
}

impl Nodes {
    pub(super) fn new(server: Server, topology: Topology, telemetry: Telemetry) -> Self {
        let nodes = Self {
            server,
            telemetry,
            release_queue: ReleaseQueue::default(),
            topology: ArcSwap::from_pointee(topology),
            replacing: Mutex::new(()),
            is_outdated: AtomicBool::new(false),
            attention: Notify::new(),
        };
        nodes.emit_state();
        nodes
    }

    pub(super) fn owner(&self, slot: u16) -> Result<Arc<Link>, Unavailable> {
        let topology = self.topology.load();
        topology.owner(slot).cloned().ok_or_else(|| self.without_owner(&topology, slot))
    }

    /// An error when the slot's node is known to be down.
    pub(super) fn reach(&self, slot: u16) -> Result<(), Unavailable> {
        self.owner(slot)?.state().connection().map(|_| ())
    }

    fn without_owner(&self, topology: &Topology, slot: u16) -> Unavailable {
        let reason = topology.links.first().and_then(|link| link.state().connection().err());
        reason.unwrap_or_else(|| Unavailable(format!("no node of the Redis Cluster serves slot {slot}")))
    }

    /// Calls the node that serves the slot.
    pub(super) async fn send<T: FromRedisValue>(&self, call: &Call) -> Result<T, Unavailable> {
        let (mut link, mut is_asking) = (self.owner(call.slot)?, false);
        for _ in 0..REDIRECTIONS_MAX {
            let state = link.state();
            let error = match call.run(&mut state.connection()?, is_asking).await {
                Ok(answer) => {
                    state.record_success();
                    return Ok(answer);
                }
                Err(error) => error,
            };
            match self.redirection(&error, &link) {
                Some(Redirection::To { node, is_asked }) => {
                    (link, is_asking) = (self.link_to(&node).await, is_asked);
                }
                Some(Redirection::TryAgain) => {
                    tokio::time::sleep(TRY_AGAIN_DELAY).await;
                    (link, is_asking) = (self.owner(call.slot)?, false);
                }
                None => {
                    let reason = error.to_string();
                    self.mark(link.record_failure(&state, &reason, is_severed(&error)));
                    return Err(Unavailable(reason));
                }
            }
        }
        Err(Unavailable(format!("slot {} of the Redis Cluster keeps moving", call.slot)))
    }

    /// Awaits the answer to a call on that slot. A missed deadline counts as a failure of the slot's node.
    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        slot: u16,
        answer: impl Future<Output = Result<T, Unavailable>>,
    ) -> Result<T, Unavailable> {
        let owner = self.owner(slot).map(|owner| (owner.state(), owner));
        if let Ok(answer) = tokio::time::timeout(limit, answer).await {
            return answer;
        }
        let reason = format!("no answer in {} ms", limit.as_millis());
        if let Ok((state, owner)) = owner {
            self.mark(owner.record_failure(&state, &reason, false));
        }
        Err(Unavailable(reason))
    }

    /// An error when no node can be reached: while one can, requests are still measured.
    pub(super) fn ready(&self) -> Result<(), String> {
        self.topology.load().reached().map_err(|Unavailable(reason)| reason)
    }

    /// A link to a node that a redirection named. It may be down.
    async fn link_to(&self, node: &Node) -> Arc<Link> {
        if let Some(link) = self.topology.load().link(node) {
            return Arc::clone(link);
        }
        let _replacing = self.replacing.lock().await;
        let topology = self.topology.load_full();
        if let Some(link) = topology.link(node) {
            return Arc::clone(link);
        }
        let link = Arc::new(Link::connect(&self.server, node.clone(), self.server.keys.probe_key(None)).await);
        self.topology.store(Arc::new(topology.with(Arc::clone(&link))));
        link
    }

    /// Where the node says that the slot is, if it is a node of a cluster.
    fn redirection(&self, error: &RedisError, answering: &Link) -> Option<Redirection> {
        let ErrorKind::Server(kind) = error.kind() else { return None };
        let node = || Node::redirected(error.redirect_node()?.0, &answering.node);
        match kind {
            _ if !self.server.is_cluster => None,
            ServerErrorKind::Moved => {
                self.is_outdated.store(true, Ordering::Relaxed);
                self.attention.notify_one();
                Some(Redirection::To { node: node()?, is_asked: false })
            }
            ServerErrorKind::Ask => Some(Redirection::To { node: node()?, is_asked: true }),
            ServerErrorKind::TryAgain => Some(Redirection::TryAgain),
            _ => None,
        }
    }

    fn mark(&self, went_down: bool) {
        if went_down {
            self.emit_state();
            self.attention.notify_one();
        }
    }

    pub(super) fn emit_state(&self) {
        self.telemetry.emit(CountersSeen { are_up: self.topology.load().are_all_up() });
    }
}

/// The answer of a node that does not serve the slot, or not yet all of its keys.
enum Redirection {
    To { node: Node, is_asked: bool },
    TryAgain,
}
