//! A child process, its output and exit code.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;

use super::{POLL_EVERY, machine};

/// Killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// The lines of a pipe. A thread reads them, so that the writer never blocks on a full pipe.
struct Lines {
    read: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug)]
pub(crate) struct Exit {
    /// `None` after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Process {
    pub(crate) fn spawn(mut command: Command) -> Self {
        machine::share();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let stdout = Lines::of(child.stdout.take().expect("is piped"));
        let stderr = Lines::of(child.stderr.take().expect("is piped"));
        Self { child, stdout, stderr }
    }

    pub(crate) async fn run(command: Command, within: Duration) -> Exit {
        Self::spawn(command).wait_for_exit(within).await
    }

    pub(super) fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).expect("the process is there");
    }

    pub(crate) async fn wait_for_exit(&mut self, within: Duration) -> Exit {
        let waiting = async {
            loop {
                if let Some(ended) = self.try_exit() {
                    return ended;
                }
                tokio::time::sleep(POLL_EVERY).await;
            }
        };
        tokio::time::timeout(within, waiting).await.unwrap_or_else(|_| panic!("still running after {within:?}"))
    }

    pub(crate) fn try_exit(&mut self) -> Option<Exit> {
        let status = self.child.try_wait().expect("a child can be waited for")?;
        Some(Exit { code: status.code(), stdout: self.stdout.rest(), stderr: self.stderr.rest() })
    }

    pub(crate) fn log(&self) -> Vec<Value> {
        parse(&self.stdout.so_far())
    }

    pub(crate) fn limit_files(&self, bytes_max: Option<u64>) {
        let limit = Rlimit { current: bytes_max, maximum: None };
        prlimit(Some(self.id()), Resource::Fsize, limit).expect("the limit of a child can be set");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let read = Arc::new(Mutex::new(Vec::new()));
        let writes = Arc::clone(&read);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                writes.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { read, reader: Some(reader) }
    }

    fn so_far(&self) -> String {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    fn rest(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reading does not panic");
        }
        self.so_far()
    }
}

impl Exit {
    pub(crate) fn log(&self) -> Vec<Value> {
        parse(&self.stdout)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {:?}\n{}\n{}", self.code, self.stdout, self.stderr)
    }
}

fn parse(lines: &str) -> Vec<Value> {
    lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
