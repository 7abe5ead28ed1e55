//! HTTP/2 clients that misuse what one connection may carry.

pub(crate) mod frames;

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{Gateway, machine};
use frames::{
    CONTINUATION, END_STREAM, Frame, GO_AWAY, HEADERS, PING, REQUEST, SETTINGS, frame, open, read_frame, reset_request,
};

const ENHANCE_YOUR_CALM: u32 = 11;
const CLOSED_WITHIN: Duration = Duration::from_secs(20);
/// Before the gateway looks at any of them, this is more than it allows.
const RESETS: u32 = 40;

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
        let mut stream = open(address, &[]).await;
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
        let mut stream = open(address, &[]).await;
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
    let mut stream = open(gateway.http, &[]).await;
    stream.write_all(&frame(HEADERS, END_STREAM, 1, REQUEST)).await.expect("writes");
    let more = frame(CONTINUATION, 0, 1, b"");
    // Fails as soon as the gateway has had enough.
    let sending = async { while stream.write_all(&more).await.is_ok() {} };
    tokio::time::timeout(CLOSED_WITHIN, sending).await.expect("the connection is closed");
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
    let mut stream = open(gateway.http, &[]).await;
    for number in 0..REQUESTS {
        let ping = frame(PING, 0, 0, &[0; 8]);
        stream.write_all(&[reset_request(number), ping].concat()).await.expect("the connection stays open");
        while read_frame(&mut stream).await.expect("the connection stays open").kind != PING {}
    }
    let grown = gateway.memory().peak.saturating_sub(before);
    assert!(grown < GROWTH_MAX, "memory grew by {grown} bytes");
}
