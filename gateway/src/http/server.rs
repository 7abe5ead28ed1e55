//! Serving a router: connections are bounded, slow clients are cut, shutdown lets answers finish.

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

use super::{READ_TIMEOUT, error};

/// What is read of a request before its headers must have ended: room enough to read headers that are
/// beyond their bound to the end, and answer them instead of breaking off.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// After a failed accept (mostly: no file descriptors left) others get time to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listener that is bound and not served yet.
pub struct Bound {
    listener: TcpListener,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Binds a listener.
///
/// # Errors
/// When the address is taken, or not of this machine.
pub async fn bind(address: SocketAddr) -> std::io::Result<Bound> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    Ok(Bound { listener, address })
}

impl Bound {
    /// Serves until `stop` is cancelled; then lets requests under way finish, for `drain` at most.
    pub async fn serve(self, router: Router, connections_max: usize, stop: CancellationToken, drain: Duration) {
        let graceful = GracefulShutdown::new();
        let places = Arc::new(Semaphore::new(connections_max));
        let builder = builder();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.accept(&places) => accepted,
            };
            let Some((stream, peer, place)) = accepted else { continue };
            let router = router.clone();
            let service = service_fn(move |request| answer(router.clone(), peer, request));
            let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                // A connection that breaks is the client's affair.
                let _ = connection.await;
                drop(place);
            });
        }
        drop(self.listener);
        if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
            tracing::warn!(?drain, "some requests did not end in time and are cut");
        }
    }

    /// The next connection, once there is a place for it.
    async fn accept(&self, places: &Arc<Semaphore>) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let place = Arc::clone(places).acquire_owned().await.ok()?;
        match self.listener.accept().await {
            Ok((stream, peer)) => {
                // Answers are small: waiting to fill a packet only delays them.
                let _ = stream.set_nodelay(true);
                Some((stream, peer, place))
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
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
    if let Err(problem) = error::bound_headers(request.headers()) {
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
