//! HTTP/2 clients that misuse what one connection may carry. They write frames by hand.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Gateway, machine};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const ENHANCE_YOUR_CALM: u32 = 11;
const CLOSED_WITHIN: Duration = Duration::from_secs(20);
/// Before the gateway looks at any of them, this is more than it allows.
const RESETS: u32 = 40;

/// The kinds of frames.
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `GET http://x/`, compressed.
const REQUEST: &[u8] = b"\x82\x86\x84\x01\x01x";

struct Frame {
    kind: u8,
    payload: Vec<u8>,
}

impl Frame {
    /// The big-endian number at this position.
    fn number(&self, position: usize) -> u32 {
        u32::from_be_bytes(self.payload[position..position + 4].try_into().expect("four bytes"))
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A request, and its reset.
fn reset_request(number: u32) -> Vec<u8> {
    const CANCEL: [u8; 4] = 8_u32.to_be_bytes();
    let stream = 2 * number + 1;
    [frame(HEADERS, END_STREAM | END_HEADERS, stream, REQUEST), frame(RST_STREAM, 0, stream, &CANCEL)].concat()
}

async fn open(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.set_nodelay(true).expect("a TCP option");
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.expect("writes");
    stream
}

async fn read_frame(stream: &mut TcpStream) -> std::io::Result<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await?;
    Ok(Frame { kind: head[3], payload })
}

/// The frames until the gateway closes the connection.
async fn read_to_the_end(stream: &mut TcpStream) -> Vec<Frame> {
    let mut frames = Vec::new();
    let reading = async {
        while let Ok(frame) = read_frame(stream).await {
            frames.push(frame);
        }
    };
    tokio::time::timeout(CLOSED_WITHIN, reading).await.expect("the connection is closed");
    frames
}

fn assert_calmed(frames: &[Frame]) {
    let go_away = frames.iter().rfind(|frame| frame.kind == GO_AWAY).expect("the gateway says goodbye");
    assert_eq!(go_away.number(4), ENHANCE_YOUR_CALM);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_how_much_one_connection_may_carry() {
    const STREAMS_MAX: u16 = 3;
    const WINDOW: u16 = 4;
    const HEADER_BYTES_MAX: u16 = 6;
    let gateway = Gateway::start().await;
    for (address, window) in [(gateway.http, 65_535), (gateway.admin, 1024 * 1024)] {
        let mut stream = open(address).await;
        let settings = read_frame(&mut stream).await.expect("settings");
        assert_eq!(settings.kind, SETTINGS);
        let value = |name: u16| {
            let found = settings.payload.chunks(6).find(|setting| setting[..2] == name.to_be_bytes());
            found.map(|setting| u32::from_be_bytes(setting[2..].try_into().expect("four bytes")))
        };
        assert_eq!(value(STREAMS_MAX), Some(100), "{address}");
        assert_eq!(value(WINDOW), Some(window), "{address}");
        assert_eq!(value(HEADER_BYTES_MAX), Some(64 * 1024), "{address}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_resets_closes_its_connection() {
    let gateway = Gateway::start().await;
    for address in [gateway.http, gateway.admin] {
        let mut stream = open(address).await;
        let flood: Vec<u8> = (0..RESETS).flat_map(reset_request).collect();
        stream.write_all(&flood).await.expect("writes");
        assert_calmed(&read_to_the_end(&mut stream).await);
    }
    let problems = gateway.logged_problems();
    assert!(problems.is_empty(), "{problems:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_an_end_close_their_connection() {
    let gateway = Gateway::start().await;
    let mut stream = open(gateway.http).await;
    stream.write_all(&frame(HEADERS, END_STREAM, 1, REQUEST)).await.expect("writes");
    let more = frame(CONTINUATION, 0, 1, b"");
    // Fails as soon as the gateway has had enough.
    let sending = async { while stream.write_all(&more).await.is_ok() {} };
    tokio::time::timeout(CLOSED_WITHIN, sending).await.expect("the connection is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_flat_under_floods_of_resets_and_other_clients_are_answered() {
    const GROWTH_MAX: u64 = 20 * 1024 * 1024;
    const FLOODS: usize = 1_000;
    machine::exclusive();
    let gateway = Gateway::start().await;
    let flood: Vec<u8> = (0..1_000).flat_map(reset_request).collect();
    let before = gateway.memory().now;
    for _ in 0..FLOODS {
        let mut stream = open(gateway.http).await;
        // The gateway may close the connection before it has read all.
        let _ = stream.write_all(&flood).await;
        read_to_the_end(&mut stream).await;
    }
    let answer = gateway.client.get("/readyz").await;
    assert_eq!(answer.status, 200, "{answer}");
    let grown = gateway.memory().peak.saturating_sub(before);
    assert!(grown < GROWTH_MAX, "memory grew by {grown} bytes");
}

/// The gateway looks at each request before its reset arrives, so that it cannot tell the client from one that changes
/// its mind. Such a client has only one request in progress at a time.
#[tokio::test(flavor = "multi_thread")]
async fn resets_one_after_the_other_leave_nothing_behind() {
    const GROWTH_MAX: u64 = 10 * 1024 * 1024;
    const REQUESTS: u32 = 20_000;
    machine::exclusive();
    let gateway = Gateway::start().await;
    let before = gateway.memory().now;
    let mut stream = open(gateway.http).await;
    for number in 0..REQUESTS {
        let ping = frame(PING, 0, 0, &[0; 8]);
        stream.write_all(&[reset_request(number), ping].concat()).await.expect("the connection stays open");
        while read_frame(&mut stream).await.expect("the connection stays open").kind != PING {}
    }
    let grown = gateway.memory().peak.saturating_sub(before);
    assert!(grown < GROWTH_MAX, "memory grew by {grown} bytes");
}
