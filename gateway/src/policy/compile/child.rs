//! Runs the compiler in a process of its own, and bounds it.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};

use super::super::engine::Metering;
use super::super::error::{CompileError, LoadError};
use super::artifact::{ARTIFACT_BYTES_MAX, Artifact};
use super::limits::CompileLimits;
use super::worker::INVALID_COMPONENT;

/// A message is one line; the rest of a crash report is not shown.
const MESSAGE_BYTES_MAX: u64 = 4096;
/// What Rust prints before it ends a process that is denied memory.
const OUT_OF_MEMORY: &str = "memory allocation of";

/// Compiles a component. Dropping the future kills the process.
pub(super) async fn compile(
    program: &Path,
    limits: CompileLimits,
    metering: Metering,
    component: &[u8],
) -> Result<Artifact, LoadError> {
    let mut child = command(program, limits, metering).spawn().map_err(CompileError::start)?;
    let finished = tokio::time::timeout(limits.wall_time(), converse(&mut child, component)).await;
    let Ok(finished) = finished else { return Err(CompileError::WallTime(limits.wall_seconds()).into()) };
    let Output { status, code, message } = finished.map_err(CompileError::start)?;
    if code.len() > ARTIFACT_BYTES_MAX {
        return Err(CompileError::TooLarge { mib_max: ARTIFACT_BYTES_MAX / 1024 / 1024 }.into());
    }
    if status.success() { Ok(Artifact::from_compiler(code)) } else { Err(failure(status, &message, limits)) }
}

fn command(program: &Path, limits: CompileLimits, metering: Metering) -> Command {
    let mut command = Command::new(program);
    command
        .arg("compile-policy")
        .args(["--memory-mib", &limits.memory_mib.to_string()])
        .args(["--seconds", &limits.seconds.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if metering == Metering::Fuel {
        command.arg("--fuel");
    }
    command
}

struct Output {
    status: ExitStatus,
    code: Vec<u8>,
    message: String,
}

async fn converse(child: &mut Child, component: &[u8]) -> io::Result<Output> {
    let mut stdin = child.stdin.take().expect("is piped");
    let stdout = child.stdout.take().expect("is piped");
    let stderr = child.stderr.take().expect("is piped");
    let mut code = Vec::new();
    let mut stdout = stdout.take(ARTIFACT_BYTES_MAX as u64 + 1);
    // A process that ends early reads no more, and its exit status says why.
    let (_, read) = tokio::join!(send(&mut stdin, component), stdout.read_to_end(&mut code));
    read?;
    if code.len() > ARTIFACT_BYTES_MAX {
        child.start_kill()?;
    }
    let mut message = Vec::new();
    stderr.take(MESSAGE_BYTES_MAX).read_to_end(&mut message).await?;
    let status = child.wait().await?;
    // Until here: the compiler ends when its standard input closes.
    drop(stdin);
    Ok(Output { status, code, message: String::from_utf8_lossy(&message).into_owned() })
}

async fn send(stdin: &mut ChildStdin, component: &[u8]) -> io::Result<()> {
    stdin.write_all(&(component.len() as u64).to_le_bytes()).await?;
    stdin.write_all(component).await?;
    stdin.flush().await
}

fn failure(status: ExitStatus, message: &str, limits: CompileLimits) -> LoadError {
    let is_signal = |signal: Signal| status.signal() == Some(signal.as_raw());
    if status.code() == Some(INVALID_COMPONENT.into()) {
        let reason = message.trim().trim_start_matches("sluice: ");
        return LoadError::Invalid(reason.to_owned());
    }
    if is_signal(Signal::XCPU) {
        return CompileError::ProcessorTime(limits.seconds).into();
    }
    if is_signal(Signal::ABORT) && message.contains(OUT_OF_MEMORY) {
        return CompileError::Memory { mib_max: limits.memory_mib }.into();
    }
    let message = message.lines().find(|line| !line.is_empty()).unwrap_or("without a message").to_owned();
    CompileError::Crashed { status, message }.into()
}
