//! The fixtures: each test runs its own gateway, the real binary in a temporary folder on free ports.

mod admin;
mod cluster;
mod databases;
mod home;
pub(crate) mod machine;
mod metrics;
mod process;
mod services;
pub(crate) mod soak;
mod topic;
mod usage;

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
pub(crate) use databases::Databases;
pub(crate) use home::{Home, hostile, hostile_policies, policy};
pub(crate) use process::{Exit, Process};
pub(crate) use services::{authority, service, services};
pub(crate) use usage::{Memory, Resources};

/// A start compiles three policies, which takes long on a slow machine where three other tests start too.
const START_MAX: Duration = Duration::from_secs(180);
/// Shutdown waits at most 10 s for requests, 5 s for settlement, 5 s for the log and 3 s for its readers; longer on a
/// machine where a hundred other tests start.
const STOP_MAX: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(10);

/// A running process with any role; it is killed when it is dropped.
pub(crate) struct Gateway {
    pub(crate) home: Home,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// For the public listener.
    pub(crate) client: Arc<Client>,
    /// For the admin listener.
    pub(crate) operator: Arc<Client>,
    process: Process,
    launch: Launch,
}

#[derive(Clone, Default)]
pub(crate) struct Launch {
    /// Instead of the one under test.
    binary: Option<PathBuf>,
    variables: Vec<(String, String)>,
    /// What a shell runs before it becomes the binary.
    preparation: Option<String>,
    role: Option<&'static str>,
    clock_offset_seconds: i64,
    clock_speed: Option<u32>,
}

impl Launch {
    /// Environment variables without their prefix `SLUICE__`.
    pub(crate) fn with(variables: &[(&str, &str)]) -> Self {
        Self::default().and(variables)
    }

    pub(crate) fn and(mut self, variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|(name, value)| (format!("SLUICE__{name}"), (*value).to_owned()));
        self.variables.extend(variables);
        self
    }

    pub(crate) fn with_binary(self, binary: PathBuf) -> Self {
        Self { binary: Some(binary), ..self }
    }

    /// `gateway` or `consumer`, instead of both.
    pub(crate) fn with_role(self, role: &'static str) -> Self {
        Self { role: Some(role), ..self }
    }

    /// A background task panics in the process. See `background::fault_point`.
    pub(crate) fn with_panic_in(mut self, task: &str) -> Self {
        self.variables.push(("SLUICE_PANIC_IN".to_owned(), task.to_owned()));
        self
    }

    /// Limits the size of a file to blocks of 512 bytes. Writes beyond it fail as on a full disk.
    pub(crate) fn with_file_size_limit(file_blocks_max: u64) -> Self {
        // The signal for exceeding the limit ends a process that does not ignore it.
        Self::prepared(format!("trap '' XFSZ; ulimit -Sf {file_blocks_max}"))
    }

    /// Limits the files and connections that the process has open at the same time.
    pub(crate) fn with_open_files_limit(open_files_max: usize) -> Self {
        Self::prepared(format!("ulimit -n {open_files_max}"))
    }

    /// As `nohup` starts it.
    pub(crate) fn with_hangup_ignored() -> Self {
        Self::prepared("trap '' HUP".to_owned())
    }

    /// As a shell starts it, also if the tests themselves were started by `nohup`. A shell could not undo that.
    pub(crate) fn with_hangup_at_default() -> Self {
        Self::prepared("exec env --default-signal=HUP \"$0\" \"$@\"".to_owned())
    }

    fn prepared(preparation: String) -> Self {
        Self { preparation: Some(preparation), ..Self::default() }
    }

    /// A time of day that passes faster.
    pub(crate) fn with_clock_speed(self, speed: u32) -> Self {
        Self { clock_speed: Some(speed), ..self }
    }

    pub(crate) fn command(&self, home: &Path, arguments: &[&str]) -> Command {
        let binary = self.binary.as_deref().unwrap_or(Path::new(env!("CARGO_BIN_EXE_sluice")));
        let mut command = match &self.preparation {
            Some(preparation) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("{preparation}; exec \"$0\" \"$@\"")]).arg(binary);
                shell
            }
            None => Command::new(binary),
        };
        command.args(arguments).current_dir(home).envs(self.variables.iter().cloned());
        if self.clock_offset_seconds != 0 || self.clock_speed.is_some() {
            command
                .env("LD_PRELOAD", wrong_clock())
                .env("CLOCK_OFFSET_SECONDS", self.clock_offset_seconds.to_string())
                .env("CLOCK_SPEED", self.clock_speed.unwrap_or(1).to_string());
        }
        command
    }
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        Self::launch(Launch::default()).await
    }

    /// With configuration keys overridden, such as `("HTTP__IN_FLIGHT_MAX", "8")`.
    pub(crate) async fn with(variables: &[(&str, &str)]) -> Self {
        Self::launch(Launch::with(variables)).await
    }

    pub(crate) async fn launch(launch: Launch) -> Self {
        Self::launch_at(free_address(), launch).await
    }

    /// With an admin listener that other machines can reach.
    pub(crate) async fn with_admin_at(admin: SocketAddr, variables: &[(&str, &str)]) -> Self {
        Self::launch_at(admin, Launch::with(variables)).await
    }

    async fn launch_at(admin: SocketAddr, launch: Launch) -> Self {
        let http = free_address();
        let home = Home::new(http, admin);
        let process = start_and_wait(&home, &launch).await;
        Self { http, admin, client: Client::to(http), operator: Client::to(admin), process, home, launch }
    }

    /// Stops it with SIGTERM, asserts exit code 0, and returns its log.
    pub(crate) async fn stop(&mut self) -> Vec<Value> {
        self.process.signal(Signal::TERM);
        let ended = self.wait_for_exit().await;
        assert_eq!(ended.code, Some(0), "{ended}");
        ended.log()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Sends SIGTERM without waiting for the exit.
    pub(crate) fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    pub(crate) async fn wait_for_exit(&mut self) -> Exit {
        self.process.wait_for_exit(STOP_MAX).await
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        self.wait_for_exit().await;
    }

    /// Starts it on the same data and ports.
    pub(crate) async fn restart(&mut self) {
        self.process = start_and_wait(&self.home, &self.launch).await;
    }

    /// As [`restart`](Self::restart), with the process's clock moved.
    pub(crate) async fn restart_with_clock_offset(&mut self, offset_seconds: i64) {
        self.launch.clock_offset_seconds = offset_seconds;
        self.restart().await;
        let logged = self.log_lines("serving").pop().expect("it serves")["timestamp"].clone();
        let logged: jiff::Timestamp = logged.as_str().and_then(|text| text.parse().ok()).expect("a time");
        let offset = logged.duration_since(jiff::Timestamp::now()).as_secs() - offset_seconds;
        assert!(offset.abs() < 120, "the clock is not moved by {offset_seconds} s: {logged}");
    }

    pub(crate) async fn restart_as(&mut self, launch: Launch) {
        self.launch = launch;
        self.restart().await;
    }

    /// As [`restart`](Self::restart), with a background task that panics.
    pub(crate) async fn restart_with_panic_in(&mut self, task: &str) {
        self.launch = self.launch.clone().with_panic_in(task);
        self.restart().await;
    }

    pub(crate) fn memory(&self) -> Memory {
        self.process.memory()
    }

    /// From now on, [`memory`](Self::memory) reports the peak of the time since.
    pub(crate) fn reset_peak_memory(&self) {
        self.process.reset_peak();
    }

    pub(crate) fn resources(&self) -> Resources {
        self.process.resources()
    }

    /// Sets or removes the file size limit of the running process.
    pub(crate) fn limit_files(&self, bytes_max: Option<u64>) {
        self.process.limit_files(bytes_max);
    }

    /// The warnings and errors in the log.
    pub(crate) fn logged_problems(&self) -> Vec<Value> {
        let is_problem = |line: &Value| line["level"] == "WARN" || line["level"] == "ERROR";
        self.process.log().into_iter().filter(is_problem).collect()
    }

    pub(crate) fn log_lines(&self, message: &str) -> Vec<Value> {
        self.process.log().into_iter().filter(|line| line["message"] == message).collect()
    }
}

/// The preloaded library that changes a process's clock, compiled once per run.
fn wrong_clock() -> &'static Path {
    static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/harness/wrong_clock.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wrong_clock.so");
        let mut compile = Command::new("cc");
        compile.args(["-D_GNU_SOURCE", "-shared", "-fPIC", "-o"]).args([&library, &source]);
        assert!(compile.status().expect("there is a C compiler").success(), "{} compiles", source.display());
        library
    });
    &LIBRARY
}

async fn start_and_wait(home: &Home, launch: &Launch) -> Process {
    let mut arguments = vec!["serve"];
    arguments.extend(launch.role.iter().flat_map(|role| ["--role", role]));
    let mut process = Process::spawn(launch.command(home.path(), &arguments));
    let is_serving = |line: &Value| line["message"] == "serving";
    let serving = async {
        loop {
            if let Some(line) = process.log().into_iter().find(is_serving) {
                return line;
            }
            if let Some(ended) = process.try_exit() {
                // A process whose task panics may have served and ended since the log was read.
                let served = ended.log().into_iter().find(is_serving);
                return served.unwrap_or_else(|| panic!("the gateway did not start: {ended}"));
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

/// A free port below the kernel's range for clients. A client that connects to a stopped gateway could otherwise be given
/// that very port, and the gateway could not restart.
pub(crate) fn free_address() -> SocketAddr {
    const PORTS: std::ops::Range<u16> = 15_000..32_000;
    // Another test could take the port while this one waits.
    machine::share();
    let free = std::iter::repeat_with(|| SocketAddr::from(([127, 0, 0, 1], rand::random_range(PORTS))))
        .take(100)
        .find(|address| TcpListener::bind(address).is_ok());
    free.expect("one of a hundred ports is free")
}

/// Polls until the probe returns a value.
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
