//! A gateway of its own for each test: the real binary, in a temporary folder, on free ports.

mod admin;
mod cluster;
mod home;
pub(crate) mod machine;
mod metrics;
mod process;
mod services;
mod topic;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::client::Client;

pub(crate) use admin::{Campaign, payload};
pub(crate) use cluster::Cluster;
pub(crate) use home::{Home, hostile, hostile_guests, policy};
pub(crate) use process::{Ended, Memory, Process};
pub(crate) use services::{authority, service, services};

/// A start compiles three policies; on a busy machine that takes a while.
const START_MAX: Duration = Duration::from_secs(60);
/// Shutdown waits at most 10 s for requests, 5 s for settlement, 5 s for the log and 3 s for its readers.
const STOP_MAX: Duration = Duration::from_secs(30);
const POLL_EVERY: Duration = Duration::from_millis(10);

/// A running gateway; it ends with the test.
pub(crate) struct Gateway {
    pub(crate) home: Home,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Calls the public listener.
    pub(crate) client: Arc<Client>,
    /// Calls the admin listener.
    pub(crate) operator: Arc<Client>,
    process: Process,
    launch: Launch,
}

/// How the process is started.
#[derive(Clone, Default)]
pub(crate) struct Launch {
    variables: Vec<(String, String)>,
    file_blocks_max: Option<u64>,
    role: Option<&'static str>,
    clock_off_seconds: i64,
}

impl Launch {
    /// With `SLUICE__` before each name.
    pub(crate) fn with(variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|(name, value)| (format!("SLUICE__{name}"), (*value).to_owned()));
        Self { variables: variables.collect(), ..Self::default() }
    }

    /// `gateway` or `consumer`, instead of both.
    pub(crate) fn with_role(self, role: &'static str) -> Self {
        Self { role: Some(role), ..self }
    }

    /// Files end at so many blocks of 512 bytes, as if the disk were full.
    pub(crate) fn on_a_full_disk(file_blocks_max: u64) -> Self {
        Self { file_blocks_max: Some(file_blocks_max), ..Self::default() }
    }

    pub(crate) fn command(&self, home: &Path, arguments: &[&str]) -> Command {
        let binary = env!("CARGO_BIN_EXE_sluice");
        let mut command = match self.file_blocks_max {
            None => Command::new(binary),
            Some(blocks) => {
                let mut shell = Command::new("sh");
                // Without the trap, the first byte too many would end the process.
                shell.args(["-c", &format!("trap '' XFSZ; ulimit -Sf {blocks}; exec \"$0\" \"$@\""), binary]);
                shell
            }
        };
        command.args(arguments).current_dir(home).envs(self.variables.iter().cloned());
        if self.clock_off_seconds != 0 {
            command.env("LD_PRELOAD", clock_off()).env("CLOCK_OFF_SECONDS", self.clock_off_seconds.to_string());
        }
        command
    }
}

impl Gateway {
    /// With the defaults, but for addresses.
    pub(crate) async fn start() -> Self {
        Self::launch(Launch::default()).await
    }

    /// With keys overridden, such as `("HTTP__IN_FLIGHT_MAX", "8")`.
    pub(crate) async fn with(variables: &[(&str, &str)]) -> Self {
        Self::launch(Launch::with(variables)).await
    }

    pub(crate) async fn launch(launch: Launch) -> Self {
        Self::launch_at(free_address(), launch).await
    }

    /// With an admin listener that others than this machine may reach.
    pub(crate) async fn with_admin_at(admin: SocketAddr, variables: &[(&str, &str)]) -> Self {
        Self::launch_at(admin, Launch::with(variables)).await
    }

    async fn launch_at(admin: SocketAddr, launch: Launch) -> Self {
        let http = free_address();
        let home = Home::new(http, admin);
        let process = serve(&home, &launch).await;
        Self { http, admin, client: Client::to(http), operator: Client::to(admin), process, home, launch }
    }

    /// Asks it to stop, which it must do in good order; answers with what it logged.
    pub(crate) async fn stop(&mut self) -> Vec<Value> {
        self.process.signal(Signal::TERM);
        let ended = self.ended().await;
        assert_eq!(ended.code, Some(0), "{ended}");
        ended.log()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Asks it to stop, without waiting for it.
    pub(crate) fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> Ended {
        self.process.ended(STOP_MAX).await
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        self.ended().await;
    }

    /// Starts it again on the same data and the same ports.
    pub(crate) async fn start_again(&mut self) {
        self.process = serve(&self.home, &self.launch).await;
    }

    /// As [`start_again`](Self::start_again), with a clock that is so much ahead.
    pub(crate) async fn start_again_with_a_clock(&mut self, off_seconds: i64) {
        self.launch.clock_off_seconds = off_seconds;
        self.start_again().await;
        let said = self.logged("serving").pop().expect("it serves")["timestamp"].clone();
        let said: jiff::Timestamp = said.as_str().and_then(|text| text.parse().ok()).expect("a time");
        let off = said.duration_since(jiff::Timestamp::now()).as_secs() - off_seconds;
        assert!(off.abs() < 120, "its clock is not off by {off_seconds} s: {said}");
    }

    pub(crate) async fn start_again_as(&mut self, launch: Launch) {
        self.launch = launch;
        self.start_again().await;
    }

    pub(crate) fn memory(&self) -> Memory {
        self.process.memory()
    }

    /// Lifts or sets the limit on the size of its files while it runs.
    pub(crate) fn limit_files(&self, bytes_max: Option<u64>) {
        self.process.limit_files(bytes_max);
    }

    /// Lines of its log with this message.
    pub(crate) fn logged(&self, message: &str) -> Vec<Value> {
        self.process.log().into_iter().filter(|line| line["message"] == message).collect()
    }
}

/// What tells a process another time, compiled once.
fn clock_off() -> &'static Path {
    static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/harness/clock_off.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clock_off.so");
        let mut compile = Command::new("cc");
        compile.args(["-D_GNU_SOURCE", "-shared", "-fPIC", "-o"]).args([&library, &source]);
        assert!(compile.status().expect("there is a C compiler").success(), "{} compiles", source.display());
        library
    });
    &LIBRARY
}

async fn serve(home: &Home, launch: &Launch) -> Process {
    let mut arguments = vec!["serve", "--config", "sluice.toml"];
    arguments.extend(launch.role.iter().flat_map(|role| ["--role", role]));
    let mut process = Process::spawn(launch.command(home.path(), &arguments));
    let serving = async {
        loop {
            if let Some(line) = process.log().into_iter().find(|line| line["message"] == "serving") {
                return line;
            }
            if let Some(ended) = process.has_ended() {
                panic!("the gateway did not start: {ended}");
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    };
    let served = tokio::time::timeout(START_MAX, serving).await;
    let line = served.unwrap_or_else(|_| panic!("it does not serve: {:?}", process.log().last()));
    let http = if launch.role == Some("consumer") { Value::Null } else { home.http.to_string().into() };
    assert_eq!((&line["http"], &line["admin"]), (&http, &home.admin.to_string().into()));
    process
}

/// A free port below those that the kernel gives to clients: so a client that calls a gateway which
/// is down cannot take its place.
pub(crate) fn free_address() -> SocketAddr {
    const PORTS: std::ops::Range<u16> = 15_000..32_000;
    // Another test could take the port while this one waits.
    machine::share();
    let free = std::iter::repeat_with(|| SocketAddr::from(([127, 0, 0, 1], rand::random_range(PORTS))))
        .take(100)
        .find(|address| TcpListener::bind(address).is_ok());
    free.expect("one of a hundred ports is free")
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T>(what: &str, within: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    };
    tokio::time::timeout(within, asking).await.unwrap_or_else(|_| panic!("{what}: not within {within:?}"))
}
