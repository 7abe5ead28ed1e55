//! A Redis of a test's own, on a free port, in memory, that ends with the test.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{open, server};
use crate::counters::redis::{Redis, Server};

pub(super) struct Throwaway {
    process: Child,
}

impl Throwaway {
    pub(super) fn start(port: u16, arguments: &[&str]) -> Self {
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        Self { process }
    }

    /// With a connection to it.
    pub(super) async fn with_counters() -> (Self, Redis) {
        let port = free_port();
        let throwaway = Self::start(port, &[]);
        let counters = opened(|| at(port)).await;
        (throwaway, counters)
    }

    pub(super) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, signal).expect("it runs");
    }
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        // One that has ended is as gone as it should be.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

pub(super) fn at(port: u16) -> Server {
    server(&format!("redis://127.0.0.1:{port}"))
}

/// A server takes a moment to start.
pub(super) async fn opened(server: impl Fn() -> Server) -> Redis {
    let begun = Instant::now();
    loop {
        match open(server()).await {
            Ok(counters) => return counters,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(10), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for what should be so before long.
pub(super) async fn soon<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(5), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
