//! Serving a router: connections are bounded, slow clients are disconnected, and shutdown waits for answers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::error::{self, Problem};
use super::limits::READ_TIMEOUT;
use super::stream::{Requests, TIMEOUTS, TimedStream};

/// Larger than the limit on headers, so that headers beyond the limit are read to their end and answered 431. With a
/// smaller buffer, hyper would close the connection.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// After a failed accept. The usual cause is that no file descriptors are left; other connections get time to close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections that wait to be accepted. A client beyond it tries again within a second.
const BACKLOG_MAX: u32 = 1024;

/// The time between two pings to an HTTP/2 client, which is disconnected if it does not answer within [`READ_TIMEOUT`].
const HTTP2_PING_EVERY: Duration = Duration::from_secs(20);

/// What a listener allows.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// The most open connections. One more is accepted when another closes.
    pub connections_max: usize,
    /// An HTTP/1 connection that is idle for longer is closed.
    pub keep_alive: Duration,
    /// How long shutdown waits for requests in progress.
    pub drain: Duration,
    /// A client may close its side of the connection once it has sent its request, and is answered all the same.
    /// Otherwise it has disconnected, and what it waits for is dropped.
    pub half_close: bool,
}

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
    /// Lets clients connect. They are answered once the listener serves.
    ///
    /// # Errors
    /// When another process reserved the address at the same moment, and listens already.
    pub fn listen(self) -> std::io::Result<Bound> {
        Ok(Bound { listener: self.socket.listen(BACKLOG_MAX)?, address: self.address })
    }
}

/// A listener that does not serve yet.
pub struct Bound {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl Bound {
    /// Serves until `stop` is cancelled. Then waits for requests in progress.
    pub async fn serve(self, router: Router, limits: ConnectionLimits, stop: CancellationToken) {
        let graceful = GracefulShutdown::new();
        let permits = Arc::new(Semaphore::new(limits.connections_max));
        let builder = builder(limits);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.accept(&permits) => accepted,
            };
            let Some((stream, peer, permit)) = accepted else { continue };
            let (router, requests) = (router.clone(), Arc::new(Requests::default()));
            let stream = TokioIo::new(TimedStream::new(stream, Arc::clone(&requests), &TIMEOUTS));
            let service = service_fn(move |request| answer(router.clone(), peer, Arc::clone(&requests), request));
            let connection = graceful.watch(builder.serve_connection(stream, service).into_owned());
            tokio::spawn(async move {
                // A broken connection needs no action here: the client retries.
                let _ = connection.await;
                drop(permit);
            });
        }
        drop(self.listener);
        let drain = limits.drain;
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
    requests: Arc<Requests>,
    mut request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    let _in_progress = requests.begin();
    if let Err(problem) = error::check_headers(request.headers()) {
        return Ok(problem.into_response());
    }
    request.extensions_mut().insert(peer);
    // A panic would close the connection without an answer. The panic hook has printed its message.
    let answered = AssertUnwindSafe(router.call(request)).catch_unwind().await;
    Ok(match answered {
        Ok(Ok(response)) => error::as_problem(response).await,
        Err(_) => Problem::internal().into_response(),
    })
}

/// Without `pipeline_flush`: it holds answers back while any byte of the client is unread, and lets the answers to a
/// client that reads none of them grow without bound.
fn builder(limits: ConnectionLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.keep_alive)
        .half_close(limits.half_close)
        .max_buf_size(BUFFER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING_EVERY)
        .keep_alive_timeout(READ_TIMEOUT)
        // The headers are then answered 431 like those of HTTP/1.
        .max_header_list_size(BUFFER_BYTES_MAX as u32);
    builder
}
