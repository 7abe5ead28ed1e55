//! Counters in Redis 6 or later (or Valkey), shared by several gateways. One script takes all measures whose keys are on
//! one slot, so every counter is atomic. A single Redis takes everything for a hook with one call. In a Redis Cluster
//! the calls to several slots go out at once, so it is one round trip there too; `keys` says what is on which slot.
//!
//! Windows and buckets use the arrival times that the gateways measured. Redis's clock only expires unused keys, and
//! corrects a gateway whose clock is off. Data that Redis loses makes counts lower, never higher: also at a failover,
//! because a replica lacks the last writes of its primary.
//!
//! While a node of a cluster is down, only requests fail that need its slots. So do, for as long as a slot moves, those
//! that use several of its keys, unless the slot has moved within the time that a request waits.

mod address;
mod commands;
mod keeper;
mod keys;
mod left_counts;
mod link;
mod nodes;
mod release;
mod release_queue;
mod reservation;
mod reserve_call;
mod server;
mod slots;
#[cfg(test)]
mod tests;
mod topology;
mod undo;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::FutureExt;

use self::nodes::Nodes;
use self::release::{REQUESTS_PER_CALL, Release};
use self::topology::Topology;
use super::{Added, Answer, Counters, Hook, Measure, OpenError, Reserved, Subject, Unavailable};
use crate::background::Background;
use crate::coupon::{Fingerprint, RequestId};
use crate::telemetry::{CountersMissed, Telemetry};

pub use self::server::Server;

/// A round trip within a data centre takes less than a millisecond. Until an outage is detected, a request may wait this
/// long for each of its three hooks.
const CALL_MAX: Duration = Duration::from_millis(50);
/// Settlement forgets many requests at once, and no client waits for it.
const FORGET_MAX: Duration = Duration::from_secs(1);

pub struct Redis {
    nodes: Arc<Nodes>,
    telemetry: Telemetry,
    /// [`CALL_MAX`], but in tests on a busy machine.
    call_max: Duration,
}

impl Redis {
    /// Connects. The background task keeps the connections up.
    ///
    /// # Errors
    /// [`OpenError`] when authentication fails, the certificate is not trusted or Redis is unreachable.
    pub async fn open(server: Server, telemetry: &Telemetry) -> Result<(Self, Background), OpenError> {
        match Topology::connect(&server).await {
            Ok(topology) => Ok(Self::new(server, topology, telemetry)),
            Err((node, error)) => Err(server
                .permanent_error(&node, &error)
                .await
                .unwrap_or_else(|| OpenError::Unreachable { server: node.to_string(), reason: error.to_string() })),
        }
    }

    /// Connects, or leaves it to the background task if Redis is unreachable.
    ///
    /// # Errors
    /// [`OpenError`] when authentication fails or the certificate is not trusted.
    pub async fn open_or_retry(server: Server, telemetry: &Telemetry) -> Result<(Self, Background), OpenError> {
        let topology = match Topology::connect(&server).await {
            Ok(topology) => topology,
            Err((node, error)) => {
                if let Some(permanent) = server.permanent_error(&node, &error).await {
                    return Err(permanent);
                }
                tracing::warn!(server = %node, %error, "redis unreachable, starting without counters");
                Topology::unreachable(&server, &error)
            }
        };
        Ok(Self::new(server, topology, telemetry))
    }

    fn new(server: Server, topology: Topology, telemetry: &Telemetry) -> (Self, Background) {
        let nodes = Arc::new(Nodes::new(server, topology, telemetry.clone()));
        let keeper = Background::new("counters connection", keeper::keep(Arc::clone(&nodes)));
        (Self { nodes, telemetry: telemetry.clone(), call_max: CALL_MAX }, keeper)
    }

    fn missed<T>(&self, answer: Result<T, Unavailable>) -> Result<T, Unavailable> {
        answer.inspect_err(|_| self.telemetry.emit(CountersMissed))
    }
}

impl Counters for Redis {
    fn reserve<'a>(&'a self, hook: Hook, measures: &'a [Measure], subject: &'a Subject) -> Answer<'a, Reserved> {
        let reserve =
            async move { self.missed(reservation::reserve(&self.nodes, self.call_max, hook, measures, subject).await) };
        Answer::Right(reserve.boxed())
    }

    fn release<'a>(&'a self, subject: &'a Subject, added: &'a [Added<'a>]) -> Answer<'a, ()> {
        let release = async move {
            let releases = Release::of_added(&self.nodes.server.keys, subject, added);
            let Err((failed, error)) = self.nodes.undo(self.call_max, releases).await else { return Ok(()) };
            let missed = self.missed(Err(error));
            if self.nodes.queue(failed) { Ok(()) } else { missed }
        };
        Answer::Right(release.boxed())
    }

    fn key_holder(&self, fingerprint: Fingerprint) -> Answer<'_, Option<RequestId>> {
        let key_holder = async move {
            let call = self.nodes.server.keys.holder(fingerprint);
            let answer = self.nodes.within(self.call_max, call.slot, self.nodes.send(&call)).await;
            let holder: Option<Vec<u8>> = self.missed(answer)?;
            // The attempts that hold the key follow the id.
            Ok(holder.and_then(|value| value.first_chunk::<16>().copied()).map(RequestId::from))
        };
        Answer::Right(key_holder.boxed())
    }

    fn forget<'a>(&'a self, rejected: &'a [Subject]) -> Answer<'a, ()> {
        let forget = async move {
            let keys = &self.nodes.server.keys;
            for rejected in rejected.chunks(REQUESTS_PER_CALL) {
                let releases = rejected.iter().flat_map(|subject| Release::of_rejected(keys, subject)).collect();
                let undone = self.nodes.undo(FORGET_MAX, releases).await;
                self.missed(undone.map_err(|(_, error)| error))?;
            }
            Ok(())
        };
        Answer::Right(forget.boxed())
    }

    fn ready(&self) -> Result<(), String> {
        self.nodes.ready()
    }
}
