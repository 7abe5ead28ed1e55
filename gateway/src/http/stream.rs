//! The stream of a connection, with bounds on how long a client may keep it waiting.
//!
//! hyper bounds only the time between two requests. This stream bounds what hyper does not: the first bytes, HTTP/2's
//! preface, the headers of a request once they have begun, and a client that does not read its answers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::error::Problem;
use super::limits::{READ_TIMEOUT, WRITE_TIMEOUT};

pub(super) const TIMEOUTS: Timeouts = Timeouts { read: READ_TIMEOUT, write: WRITE_TIMEOUT };

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The preface and the head of the SETTINGS frame, which every HTTP/2 client sends at once.
const HTTP2_OPENING_BYTES: usize = PREFACE.len() + 9;

pub(super) struct Timeouts {
    /// For the first bytes, and again for the headers of each request.
    read: Duration,
    /// For a write that waits for the client to read.
    write: Duration,
}

pub(super) struct TimedStream<S> {
    stream: S,
    timeouts: &'static Timeouts,
    requests: Arc<Requests>,
    phase: Phase,
    read_timer: Timer,
    write_timer: Timer,
    /// Of a write that waits for the client to read.
    write_deadline: Option<Instant>,
}

enum Phase {
    /// The bytes received so far do not tell HTTP/1 from HTTP/2.
    Opening { received: usize, deadline: Instant },
    /// `head_deadline` is that of a request whose headers are incomplete; `begun` is how many were complete before.
    Http1 { begun: usize, head_deadline: Option<Instant> },
    /// hyper pings an idle client.
    Http2,
}

/// Counts the requests of one connection whose headers are complete.
#[derive(Default)]
pub(super) struct Requests {
    begun: AtomicUsize,
    answered: AtomicUsize,
    /// How often bytes arrived, and how often they had when the newest request began.
    reads: AtomicUsize,
    reads_before: AtomicUsize,
}

/// A request that is being answered, until it is dropped.
pub(super) struct RequestGuard(Arc<Requests>);

impl Requests {
    pub(super) fn begin(self: &Arc<Self>) -> RequestGuard {
        self.begun.fetch_add(1, Ordering::Relaxed);
        RequestGuard(Arc::clone(self))
    }

    /// Whether the newest request arrived together with the one before it. Asked once for each request.
    pub(super) fn is_pipelined(&self) -> bool {
        let reads = self.reads.load(Ordering::Relaxed);
        self.reads_before.swap(reads, Ordering::Relaxed) == reads
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    fn are_answered(&self) -> bool {
        self.begun() == self.answered.load(Ordering::Relaxed)
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.answered.fetch_add(1, Ordering::Relaxed);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TimedStream<S> {
    /// `connected_at`: when the client connected, which may have been before a handshake.
    pub(super) fn new(stream: S, requests: Arc<Requests>, timeouts: &'static Timeouts, connected_at: Instant) -> Self {
        let phase = Phase::Opening { received: 0, deadline: connected_at + timeouts.read };
        let (read_timer, write_timer) = (Timer::default(), Timer::default());
        Self { stream, timeouts, requests, phase, read_timer, write_timer, write_deadline: None }
    }

    fn received(&mut self, bytes: &[u8]) {
        self.requests.reads.fetch_add(1, Ordering::Relaxed);
        self.phase.forget_complete_head(&self.requests);
        let head_deadline_now = || Instant::now() + self.timeouts.read;
        match &mut self.phase {
            Phase::Opening { received, .. } => {
                let is_http2 = PREFACE.iter().skip(*received).zip(bytes).all(|(expected, byte)| expected == byte);
                *received += bytes.len();
                if !is_http2 {
                    self.phase = Phase::Http1 { begun: 0, head_deadline: Some(head_deadline_now()) };
                } else if *received >= HTTP2_OPENING_BYTES {
                    self.phase = Phase::Http2;
                }
            }
            // While a request is being answered, the bytes are its body.
            Phase::Http1 { head_deadline, .. } if self.requests.are_answered() => {
                head_deadline.get_or_insert_with(head_deadline_now);
            }
            Phase::Http1 { .. } | Phase::Http2 => {}
        }
    }

    fn poll_read_deadline(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.phase.forget_complete_head(&self.requests);
        let Some(deadline) = self.phase.deadline() else { return Poll::Pending };
        ready!(self.read_timer.poll(deadline, context));
        if matches!(self.phase, Phase::Http1 { .. }) {
            self.send_last(&Problem::timed_out("headers were"), context);
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// The last answer of the connection. It is small, and sent only as far as it can be sent at once.
    fn send_last(&mut self, problem: &Problem, context: &mut Context<'_>) {
        let _ = Pin::new(&mut self.stream).poll_write(context, &problem.to_http1());
    }

    /// Puts problem details in the place of an error that hyper writes for a request that it cannot parse.
    fn explain_error(&mut self, written: &[u8], context: &mut Context<'_>) -> bool {
        let error = match self.phase {
            Phase::Http1 { .. } => error_without_body(written),
            Phase::Opening { .. } | Phase::Http2 => None,
        };
        if let Some(status) = error {
            self.send_last(&Problem::unreadable(status), context);
        }
        error.is_some()
    }

    fn poll_written<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_deadline = None;
            return written;
        }
        let deadline = *self.write_deadline.get_or_insert_with(|| Instant::now() + self.timeouts.write);
        ready!(self.write_timer.poll(deadline, context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Phase {
    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Opening { deadline, .. } => Some(*deadline),
            Self::Http1 { head_deadline, .. } => *head_deadline,
            Self::Http2 => None,
        }
    }

    fn forget_complete_head(&mut self, requests: &Requests) {
        if let Self::Http1 { begun, head_deadline } = self
            && *begun != requests.begun()
        {
            (*begun, *head_deadline) = (requests.begun(), None);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TimedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Pending => self.poll_read_deadline(context),
            read => {
                // At the end of the stream there is nothing to record.
                if buffer.filled().len() > before {
                    self.received(&buffer.filled()[before..]);
                }
                read
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TimedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.explain_error(bytes, context) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.poll_written(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [bytes] = slices
            && self.explain_error(bytes, context)
        {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.poll_written(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.poll_written(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut_down = Pin::new(&mut self.stream).poll_shutdown(context);
        self.poll_written(shut_down, context)
    }
}

/// The status of an error that hyper has written by itself: every error of a handler has a body.
fn error_without_body(written: &[u8]) -> Option<StatusCode> {
    let head = std::str::from_utf8(written).ok()?.strip_prefix("HTTP/1.1 4")?;
    let status = format!("4{}", head.get(..2)?).parse().ok()?;
    head.contains("\r\ncontent-length: 0\r\n").then_some(status)
}

/// Started only when there is something to wait for, and used again: most requests arrive in one piece.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    fn poll(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const SHORT: Timeouts = Timeouts { read: Duration::from_millis(200), write: Duration::from_millis(200) };

    fn pair() -> (DuplexStream, TimedStream<DuplexStream>, Arc<Requests>) {
        let (client, server) = duplex(1024);
        let requests = Arc::new(Requests::default());
        (client, TimedStream::new(server, Arc::clone(&requests), &SHORT, Instant::now()), requests)
    }

    /// Reads until an error or the end; answers with how long that took.
    async fn read_to_the_end(stream: &mut TimedStream<DuplexStream>) -> (Duration, Option<io::ErrorKind>) {
        let begun = Instant::now();
        let ended = stream.read_to_end(&mut Vec::new()).await;
        (begun.elapsed(), ended.err().map(|error| error.kind()))
    }

    #[tokio::test]
    async fn a_client_that_sends_nothing_or_part_of_a_preface_is_disconnected() {
        for opening in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM", PREFACE] {
            let (mut client, mut stream, _requests) = pair();
            client.write_all(opening).await.expect("writes");
            let (waited, ended) = read_to_the_end(&mut stream).await;
            assert_eq!(ended, Some(io::ErrorKind::TimedOut), "{opening:?}");
            assert!(waited > SHORT.read / 2, "{opening:?}: {waited:?}");
        }
    }

    #[tokio::test]
    async fn headers_that_trickle_in_are_answered_408_after_the_timeout() {
        let (mut client, mut stream, _requests) = pair();
        let sending = tokio::spawn(async move {
            for byte in b"GET /livez HTTP/1.1\r\nHost: x" {
                if client.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(SHORT.read / 10).await;
            }
            let mut answer = String::new();
            let _ = client.read_to_string(&mut answer).await;
            answer
        });
        assert_eq!(read_to_the_end(&mut stream).await.1, Some(io::ErrorKind::TimedOut));
        drop(stream);
        let answer = sending.await.expect("ends");
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
        assert!(answer.contains("\"reason\":\"TIMEOUT\""), "{answer}");
    }

    #[tokio::test]
    async fn a_request_in_progress_and_the_time_after_it_are_left_to_hyper() {
        let (mut client, mut stream, requests) = pair();
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("writes");
        let mut buffer = [0; 64];
        assert_eq!(stream.read(&mut buffer).await.expect("reads"), 18);
        let guard = requests.begin();
        client.write_all(b"a body").await.expect("writes");
        assert_eq!(stream.read(&mut buffer).await.expect("reads"), 6);
        assert!(tokio::time::timeout(3 * SHORT.read, stream.read(&mut buffer)).await.is_err());
        drop(guard);
        assert!(tokio::time::timeout(3 * SHORT.read, stream.read(&mut buffer)).await.is_err());
    }

    #[tokio::test]
    async fn a_request_that_arrives_together_with_another_is_pipelined() {
        let (mut client, mut stream, requests) = pair();
        let mut buffer = [0; 64];
        client.write_all(b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n").await.expect("writes");
        assert_eq!(stream.read(&mut buffer).await.expect("reads"), 36);
        assert_eq!([requests.is_pipelined(), requests.is_pipelined()], [false, true]);
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("writes");
        assert_eq!(stream.read(&mut buffer).await.expect("reads"), 18);
        assert!(!requests.is_pipelined());
    }

    #[test]
    fn an_error_that_hyper_writes_is_told_from_other_answers() {
        let error = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(error_without_body(error), Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        let empty = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        let problem = Problem::timed_out("headers were").to_http1();
        for other in [&empty[..], &problem, b"", b"HTTP/1.1 4", b"\xff"] {
            assert_eq!(error_without_body(other), None);
        }
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_its_answers_is_disconnected() {
        let (_client, mut stream, _requests) = pair();
        let error = stream.write_all(&[0; 4096]).await.expect_err("is disconnected");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
