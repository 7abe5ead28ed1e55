//! A Redis for one test: in memory, on a free port, killed when the test ends.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENT, open, server};
use crate::counters::redis::{Redis, Server};

pub(super) struct TestServer {
    process: Child,
}

impl TestServer {
    pub(super) fn start(port: u16, arguments: &[&str]) -> Self {
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        Self { process }
    }

    /// With counters that wait long.
    pub(super) async fn with_counters() -> (Self, Redis) {
        let port = free_port();
        let server = Self::start(port, &[]);
        let counters = open_when_started(|| at(port)).await;
        (server, Redis { call_max: PATIENT, ..counters })
    }

    pub(super) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, signal).expect("a running process");
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // Fails only if the process has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A free port below the kernel's range for clients: a client could otherwise be given the port of a server that a test
/// stops and starts again.
pub(super) fn free_port() -> u16 {
    let ports = std::iter::repeat_with(|| rand::random_range(20_000..32_000)).take(100);
    let mut free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("one of a hundred ports is free")
}

pub(super) fn at(port: u16) -> Server {
    server(&format!("redis://127.0.0.1:{port}"))
}

pub(super) async fn open_when_started(server: impl Fn() -> Server) -> Redis {
    let begun = Instant::now();
    loop {
        match open(server()).await {
            Ok(counters) => return counters,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(10), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Panics with `expectation` if `condition` stays false for 5 seconds.
pub(super) async fn eventually<F: Future<Output = bool>>(expectation: &str, condition: impl Fn() -> F) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < Duration::from_secs(5), "{expectation}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
