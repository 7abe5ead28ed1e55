//! What one hostile client does with one connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http2::frames::{
    ACK, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PING, REQUEST, frame, open, read_frame, reset_request,
    stream_of,
};

const TRICKLE_EVERY: Duration = Duration::from_millis(500);
/// All that the gateway allows on one connection.
const STREAMS: u32 = 100;
const RESETS: u32 = 1_000;
/// The setting that forbids the gateway to send any part of an answer's body.
const NO_WINDOW: &[u8] = &[0, 4, 0, 0, 0, 0];
/// `GET http://x/openapi.json`, compressed.
const LARGE_ANSWER: &[u8] = b"\x82\x86\x04\x0d/openapi.json\x01\x01x";
/// Part of a request's headers, up to the value of one.
const HEAD: &[u8] = b"GET /livez HTTP/1.1\r\nHost: x\r\nX: ";
/// Just below what the gateway holds of a request's headers.
const HELD_BYTES: usize = 60 * 1024;

#[derive(Debug, Clone, Copy)]
pub(super) enum Attack {
    Slowloris,
    Silence,
    /// Requests, one after the other, whose answers the client never reads.
    UnreadAnswers,
    /// The same over HTTP/2, by a client that answers pings.
    UnreadStreams,
    Resets,
    /// As many bytes of headers as the gateway holds, and then no more.
    HeldHeaders,
    EndlessHeaders,
    EndlessContinuations,
}

impl Attack {
    pub(super) const ALL: [Self; 8] = [
        Self::Slowloris,
        Self::Silence,
        Self::UnreadAnswers,
        Self::UnreadStreams,
        Self::Resets,
        Self::HeldHeaders,
        Self::EndlessHeaders,
        Self::EndlessContinuations,
    ];

    /// Returns when the gateway has closed the connection.
    pub(super) async fn run(self, address: SocketAddr) {
        // How it ends differs with what was sent last.
        let _ = match self {
            Self::Slowloris => trickle(address).await,
            Self::Silence => send_and_wait(address, b"").await,
            Self::UnreadAnswers => read_no_answers(address).await,
            Self::UnreadStreams => read_no_streams(address).await,
            Self::Resets => reset(address).await,
            Self::HeldHeaders => send_and_wait(address, &[HEAD, &[b'x'; HELD_BYTES]].concat()).await,
            Self::EndlessHeaders => send_headers(address).await,
            Self::EndlessContinuations => send_continuations(address).await,
        };
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("connects")
}

async fn wait_for_close(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

async fn send_and_wait(address: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    let mut stream = connect(address).await;
    stream.write_all(bytes).await?;
    wait_for_close(stream).await
}

async fn trickle(address: SocketAddr) -> io::Result<()> {
    let mut stream = connect(address).await;
    stream.write_all(HEAD).await?;
    loop {
        stream.write_all(b"y\r\nX: ").await?;
        tokio::time::sleep(TRICKLE_EVERY).await;
    }
}

async fn read_no_answers(address: SocketAddr) -> io::Result<()> {
    // A large answer: the system's buffers are full after a few of them. Many small ones would be a flood of requests.
    let requests = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(10);
    let mut stream = connect(address).await;
    loop {
        stream.write_all(requests.as_bytes()).await?;
    }
}

async fn read_no_streams(address: SocketAddr) -> io::Result<()> {
    let request = |number| frame(HEADERS, END_STREAM | END_HEADERS, stream_of(number), LARGE_ANSWER);
    let mut stream = open(address, NO_WINDOW).await;
    stream.write_all(&(0..STREAMS).flat_map(request).collect::<Vec<_>>()).await?;
    loop {
        let received = read_frame(&mut stream).await?;
        if received.kind == PING && received.flags & ACK == 0 {
            stream.write_all(&frame(PING, ACK, 0, &received.payload)).await?;
        }
    }
}

async fn reset(address: SocketAddr) -> io::Result<()> {
    let mut stream = open(address, &[]).await;
    stream.write_all(&(0..RESETS).flat_map(reset_request).collect::<Vec<_>>()).await?;
    wait_for_close(stream).await
}

async fn send_headers(address: SocketAddr) -> io::Result<()> {
    let mut stream = connect(address).await;
    stream.write_all(HEAD).await?;
    loop {
        stream.write_all(&[b'x'; 1024]).await?;
    }
}

async fn send_continuations(address: SocketAddr) -> io::Result<()> {
    // A literal header with a name of one byte.
    let header = [&[0, 1, b'a', 100], &[b'x'; 100][..]].concat();
    let more = frame(CONTINUATION, 0, 1, &header.repeat(100));
    let mut stream = open(address, &[]).await;
    stream.write_all(&frame(HEADERS, END_STREAM, 1, REQUEST)).await?;
    loop {
        stream.write_all(&more).await?;
    }
}
