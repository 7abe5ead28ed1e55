//! Serving a router: connections are bounded, slow clients are disconnected, and shutdown waits for answers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::error;
use super::limits::READ_TIMEOUT;

/// Larger than the limit on headers, so that headers beyond the limit are read to their end and answered 431. With a
/// smaller buffer, hyper would close the connection.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// After a failed accept. The usual cause is that no file descriptors are left; other connections get time to close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound listener that does not accept connections yet.
pub struct Bound {
    listener: TcpListener,
    /// The actual address, also when port 0 was configured.
    pub address: SocketAddr,
}

/// Binds a listener. Port 0 takes a free port.
///
/// # Errors
/// When the address is in use, or does not belong to this machine.
pub async fn bind(address: SocketAddr) -> std::io::Result<Bound> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    Ok(Bound { listener, address })
}

impl Bound {
    /// Serves until `stop` is cancelled. Then waits up to `drain` for requests in progress.
    pub async fn serve(self, router: Router, connections_max: usize, stop: CancellationToken, drain: Duration) {
        let graceful = GracefulShutdown::new();
        let permits = Arc::new(Semaphore::new(connections_max));
        let builder = builder();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.accept(&permits) => accepted,
            };
            let Some((stream, peer, permit)) = accepted else { continue };
            let router = router.clone();
            let service = service_fn(move |request| answer(router.clone(), peer, request));
            let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                // A broken connection needs no action here: the client retries.
                let _ = connection.await;
                drop(permit);
            });
        }
        drop(self.listener);
        if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
            tracing::warn!(?drain, "closed connections whose requests did not finish in time");
        }
    }

    /// Waits for a free permit, then for a connection.
    async fn accept(&self, permits: &Arc<Semaphore>) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let permit = Arc::clone(permits).acquire_owned().await.ok()?;
        match self.listener.accept().await {
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
}

async fn answer(
    mut router: Router,
    peer: SocketAddr,
    mut request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    if let Err(problem) = error::check_headers(request.headers()) {
        return Ok(problem.into_response());
    }
    request.extensions_mut().insert(peer);
    router.call(request).await
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .pipeline_flush(true);
    builder
}
