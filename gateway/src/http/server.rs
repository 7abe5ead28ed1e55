//! Serving a router: connections are bounded, and shutdown waits for answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::connection::{ConnectionLimits, Connections};
use super::tls::Tls;
use crate::background::Background;
use crate::telemetry::Telemetry;

/// After a failed accept. The usual cause is that no file descriptors are left; other connections get time to close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections that wait to be accepted. A client beyond it tries again within a second.
const BACKLOG_MAX: u32 = 1024;

/// An address that no other process can listen on. Connections are refused until [`Reserved::listen`].
pub struct Reserved {
    socket: TcpSocket,
    /// The actual address, also when port 0 was configured.
    pub address: SocketAddr,
}

/// Reserves an address. Port 0 takes a free port.
///
/// # Errors
/// When the address is in use, or does not belong to this machine.
pub fn reserve(address: SocketAddr) -> std::io::Result<Reserved> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // The last connections of an earlier process may still be closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let address = socket.local_addr()?;
    Ok(Reserved { socket, address })
}

impl Reserved {
    /// Lets clients connect, with TLS if given. They are answered once the listener serves.
    ///
    /// # Errors
    /// When another process reserved the address at the same moment, and listens already.
    pub fn listen(self, tls: Option<Tls>) -> std::io::Result<Bound> {
        Ok(Bound { listener: self.socket.listen(BACKLOG_MAX)?, address: self.address, tls })
    }
}

/// A listener that does not serve yet.
pub struct Bound {
    listener: TcpListener,
    pub address: SocketAddr,
    tls: Option<Tls>,
}

impl Bound {
    /// Keeps the certificate current. `None` without TLS.
    #[must_use]
    pub fn watch_certificate(&self, telemetry: &Telemetry) -> Option<Background> {
        self.tls.as_ref().map(|tls| tls.watch(telemetry))
    }

    /// Serves until `stop` is cancelled. Then waits for requests in progress.
    pub async fn serve(self, router: Router, limits: ConnectionLimits, telemetry: Telemetry, stop: CancellationToken) {
        let Self { listener, tls, .. } = self;
        let graceful = GracefulShutdown::new();
        let permits = Arc::new(Semaphore::new(limits.connections_max));
        let connections = Arc::new(Connections::new(router, tls, limits, telemetry, stop.clone()));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = accept(&listener, &permits) => accepted,
            };
            let Some((stream, peer, permit)) = accepted else { continue };
            let (connections, watcher) = (Arc::clone(&connections), graceful.watcher());
            tokio::spawn(async move {
                connections.serve(stream, peer, watcher).await;
                drop(permit);
            });
        }
        drop(listener);
        let drain = limits.drain;
        if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
            tracing::warn!(?drain, "closed connections whose requests did not finish in time");
        }
    }
}

/// Waits for a free permit, then for a connection.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Answers fit in one packet: waiting for more data only delays them.
            let _ = stream.set_nodelay(true);
            Some((stream, peer, permit))
        }
        Err(error) => {
            tracing::warn!(%error, "connection not accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
