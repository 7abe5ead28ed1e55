//! One connection: a TLS handshake if the listener has a certificate, then HTTP/1.1 or HTTP/2, within bounds.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use hyper::Version;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_openssl::SslStream;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::error::{self, Problem};
use super::limits::{
    HTTP2_ERRORS_MAX, HTTP2_PING_EVERY, HTTP2_RESETS_MAX, HTTP2_SEND_BYTES_MAX, HTTP2_STREAMS_MAX, READ_TIMEOUT,
    RECEIVE_BYTES_MAX,
};
use super::problem_type::OVERLOADED;
use super::stream::{Requests, TIMEOUTS, TimedStream};
use super::tls::{HandshakeError, Tls};
use crate::telemetry::{HandshakeFailed, Telemetry};

/// What a listener allows.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// The most open connections. One more is accepted when another closes. Also the most requests in progress over
    /// HTTP/2, where one connection can carry many.
    pub connections_max: usize,
    /// An HTTP/1 connection that is idle for longer is closed.
    pub keep_alive: Duration,
    /// How long shutdown waits for requests in progress.
    pub drain: Duration,
    /// A client may close its side of the connection once it has sent its request, and is answered all the same.
    /// Otherwise it has disconnected, and what it waits for is dropped.
    pub half_close: bool,
    /// What an HTTP/2 client may send before a handler reads it, for one connection.
    pub http2_window_bytes: u32,
}

/// What the connections of one listener share.
pub(super) struct Connections {
    router: Router,
    tls: Option<Tls>,
    builder: Builder<TokioExecutor>,
    /// One for each HTTP/2 request in progress.
    http2_places: Arc<Semaphore>,
    telemetry: Telemetry,
    stop: CancellationToken,
}

impl Connections {
    pub(super) fn new(
        router: Router,
        tls: Option<Tls>,
        limits: ConnectionLimits,
        telemetry: Telemetry,
        stop: CancellationToken,
    ) -> Self {
        let http2_places = Arc::new(Semaphore::new(limits.connections_max));
        Self { router, tls, builder: builder(limits), http2_places, telemetry, stop }
    }

    /// Serves one connection to its end. A handshake takes part of the time that a client has for its first bytes.
    pub(super) async fn serve(&self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        let connected_at = Instant::now();
        match &self.tls {
            None => self.exchange(stream, peer, connected_at, watcher).await,
            Some(tls) => {
                if let Some(stream) = self.shake_hands(tls, stream, peer, connected_at).await {
                    self.exchange(stream, peer, connected_at, watcher).await;
                }
            }
        }
    }

    /// Anyone can make a handshake fail, as often as they like: failures are counted, and logged only for debugging.
    async fn shake_hands(
        &self,
        tls: &Tls,
        stream: TcpStream,
        peer: SocketAddr,
        connected_at: Instant,
    ) -> Option<SslStream<TcpStream>> {
        let handshake = tokio::time::timeout_at(connected_at + READ_TIMEOUT, tls.accept(stream));
        let ended = self.stop.run_until_cancelled(handshake).await?;
        match ended.unwrap_or(Err(HandshakeError::TimedOut)) {
            Ok(stream) => return Some(stream),
            Err(HandshakeError::Closed) => {}
            Err(error) => {
                tracing::debug!(%peer, %error, "TLS handshake failed");
                self.telemetry.emit(HandshakeFailed { section: tls.section() });
            }
        }
        None
    }

    async fn exchange<S>(&self, stream: S, peer: SocketAddr, connected_at: Instant, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let requests = Arc::new(Requests::default());
        let stream = TimedStream::new(stream, Arc::clone(&requests), &TIMEOUTS, connected_at);
        let (router, http2_places) = (self.router.clone(), Arc::clone(&self.http2_places));
        let peer = Arc::new(Peer { address: peer, requests, router, http2_places });
        let service = service_fn(move |request| Arc::clone(&peer).answer(request));
        let connection = self.builder.serve_connection(TokioIo::new(stream), service).into_owned();
        // A broken connection needs no action here: the client retries.
        let _ = watcher.watch(connection).await;
    }
}

/// A client, and what answering its requests needs.
struct Peer {
    address: SocketAddr,
    requests: Arc<Requests>,
    router: Router,
    http2_places: Arc<Semaphore>,
}

impl Peer {
    async fn answer(self: Arc<Self>, mut request: hyper::Request<Incoming>) -> Result<Response, Infallible> {
        let _in_progress = self.requests.begin();
        if request.version() != Version::HTTP_2 && self.requests.is_pipelined() {
            // A client that sends thousands of requests at once would otherwise keep its worker from other clients.
            tokio::task::yield_now().await;
        }
        let _place = match self.place(request.version()) {
            Ok(place) => place,
            Err(problem) => return Ok(problem.into_response()),
        };
        if let Err(problem) = error::check_headers(request.headers()) {
            return Ok(problem.into_response());
        }
        request.extensions_mut().insert(self.address);
        // A panic would close the connection without an answer. The panic hook has printed its message.
        let answered = AssertUnwindSafe(self.router.clone().call(request)).catch_unwind().await;
        Ok(match answered {
            Ok(Ok(response)) => error::as_problem(response).await,
            Err(_) => Problem::internal().into_response(),
        })
    }

    /// HTTP/1 needs none: it has at most one request in progress for each connection.
    fn place(&self, version: Version) -> Result<Option<SemaphorePermit<'_>>, Problem> {
        if version != Version::HTTP_2 {
            return Ok(None);
        }
        let full = |_| Problem::new(OVERLOADED, "too many requests in progress: retry later");
        self.http2_places.try_acquire().map(Some).map_err(full)
    }
}

/// A client may close its side of the connection once it has sent its request, and is answered all the same.
///
/// Without `pipeline_flush`: it holds answers back while any byte of the client is unread, and lets the answers to a
/// client that reads none of them grow without bound.
fn builder(limits: ConnectionLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.keep_alive)
        .half_close(limits.half_close)
        .max_buf_size(RECEIVE_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING_EVERY)
        .keep_alive_timeout(READ_TIMEOUT)
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_pending_accept_reset_streams(HTTP2_RESETS_MAX)
        .max_local_error_reset_streams(HTTP2_ERRORS_MAX)
        .initial_stream_window_size(limits.http2_window_bytes)
        .initial_connection_window_size(limits.http2_window_bytes)
        .max_send_buf_size(HTTP2_SEND_BYTES_MAX)
        .max_header_list_size(RECEIVE_BYTES_MAX as u32);
    builder
}
