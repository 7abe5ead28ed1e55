//! The frames of HTTP/2, written and read by hand.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The kinds of frames.
pub(crate) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GO_AWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// `GET http://x/`, compressed.
pub(crate) const REQUEST: &[u8] = b"\x82\x86\x84\x01\x01x";

pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The big-endian number at this position.
    pub(crate) fn number(&self, position: usize) -> u32 {
        u32::from_be_bytes(self.payload[position..position + 4].try_into().expect("four bytes"))
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The number of the stream of a connection's request, counted from 0.
pub(crate) fn stream_of(request: u32) -> u32 {
    2 * request + 1
}

/// A request, and its reset.
pub(crate) fn reset_request(number: u32) -> Vec<u8> {
    const CANCEL: [u8; 4] = 8_u32.to_be_bytes();
    let stream = stream_of(number);
    [frame(HEADERS, END_STREAM | END_HEADERS, stream, REQUEST), frame(RST_STREAM, 0, stream, &CANCEL)].concat()
}

/// Connects and sends the preface with these settings.
pub(crate) async fn open(address: SocketAddr, settings: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.set_nodelay(true).expect("a TCP option");
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).await.expect("writes");
    stream
}

pub(crate) async fn read_frame(stream: &mut TcpStream) -> std::io::Result<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await?;
    Ok(Frame { kind: head[3], flags: head[4], payload })
}
