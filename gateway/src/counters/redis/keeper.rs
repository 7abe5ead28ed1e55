//! The background task of the counters: keeps the connections up, the topology current and the queue of releases empty.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;

use super::nodes::Nodes;

/// Delay before the first attempt to reconnect. Doubles with every failed attempt.
const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(100);
/// Bounds the time until the gateway notices that a node is back.
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(1);
/// Detects a lost connection while no request arrives.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// No client waits for a flush.
const FLUSH_MAX: Duration = Duration::from_secs(1);

pub(super) async fn keep(nodes: Arc<Nodes>) {
    let mut delay = RECONNECT_DELAY_MIN;
    loop {
        let are_up = nodes.topology.load().are_all_up();
        tokio::select! {
            () = tokio::time::sleep(if are_up { PROBE_INTERVAL } else { delay }) => {}
            // A slot that moves needs no haste, because calls are redirected, and a lost node may be back soon.
            () = nodes.attention.notified() => tokio::time::sleep(RECONNECT_DELAY_MIN).await,
        }
        delay = if are_up { RECONNECT_DELAY_MIN } else { (delay * 2).min(RECONNECT_DELAY_MAX) };
        tokio::join!(tend_links(&nodes), read_topology(&nodes));
        nodes.emit_state();
        flush(&nodes).await;
    }
}

async fn tend_links(nodes: &Nodes) {
    let topology = nodes.topology.load_full();
    join_all(topology.links.iter().map(|link| link.tend(&nodes.server))).await;
}

/// Reads again which node serves which slot, if that may have changed.
async fn read_topology(nodes: &Nodes) {
    let is_outdated = nodes.is_outdated.swap(false, Ordering::Relaxed) || !nodes.topology.load().are_all_up();
    if !nodes.server.is_cluster || !is_outdated {
        return;
    }
    let _replacing = nodes.replacing.lock().await;
    let before = nodes.topology.load_full();
    let Some(topology) = before.read_again(&nodes.server).await else { return };
    if topology.nodes() != before.nodes() {
        tracing::info!(before = before.nodes(), nodes = topology.nodes(), "primaries of the redis cluster changed");
    }
    nodes.topology.store(Arc::new(topology));
}

/// Sends the queued releases until the queue is empty or a node fails.
async fn flush(nodes: &Nodes) {
    loop {
        let batch = nodes.release_queue.take_batch();
        let releases = batch.len();
        if releases == 0 {
            return;
        }
        if let Err((failed, _)) = nodes.undo(FLUSH_MAX, batch).await {
            nodes.release_queue.put_back(failed);
            return;
        }
        tracing::info!(releases, "flushed queued releases");
    }
}
