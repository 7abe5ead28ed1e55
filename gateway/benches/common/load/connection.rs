//! One connection, with one request under way at most.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use super::answer::Answer;

const ANSWER_BYTES_MAX: usize = 8192;

pub(super) struct Connection {
    gateway: SocketAddr,
    pub(super) socket: TcpStream,
    /// Whether no request is under way.
    pub(super) is_idle: bool,
    /// When the request under way was due.
    pub(super) due: Instant,
    /// The request under way.
    request: Vec<u8>,
    answer: Vec<u8>,
    received: usize,
}

impl Connection {
    pub(super) fn open(gateway: SocketAddr) -> Self {
        let socket = TcpStream::connect(gateway).expect("connects");
        socket.set_nodelay(true).expect("no delay");
        socket.set_nonblocking(true).expect("does not block");
        let answer = vec![0; ANSWER_BYTES_MAX];
        Self { gateway, socket, is_idle: true, due: Instant::now(), request: Vec::new(), answer, received: 0 }
    }

    pub(super) fn reopen(&mut self) {
        *self = Self::open(self.gateway);
    }

    /// Sends the request that `write` writes.
    pub(super) fn send(&mut self, due: Instant, write: impl FnOnce(&mut Vec<u8>)) {
        self.due = due;
        self.is_idle = false;
        self.received = 0;
        self.request.clear();
        write(&mut self.request);
        // Only one request is under way, so it fits the socket's buffer.
        self.socket.write_all(&self.request).expect("is sent");
    }

    /// Reads what has arrived. `None` while a part of the answer is missing.
    pub(super) fn receive(&mut self) -> Option<Answer<'_>> {
        let read = self.socket.read(&mut self.answer[self.received..]).expect("is read");
        assert!(read > 0, "the connection was closed, or the answer is longer than {ANSWER_BYTES_MAX} bytes");
        self.received += read;
        let answer = Answer::parse(&self.answer[..self.received]);
        self.is_idle = answer.is_some();
        answer
    }
}
