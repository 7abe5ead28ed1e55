//! The compiler's process: it compiles one component within limits, and ends.
//!
//! It reads the length of the component, in 8 bytes with the lowest first, and the component from standard input, and
//! writes the compiled code to standard output. Standard input stays open meanwhile: when it closes, the gateway has
//! ended, and so does the compiler.

use std::alloc::{Layout, handle_alloc_error};
use std::io::{self, Read, Write};

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};
use wasmtime::OutOfMemory;

use super::super::engine::{self, Metering};
use super::limits::CompileLimits;

/// The exit code for a component that is not valid. Its reason is on standard error.
pub const INVALID_COMPONENT: u8 = 3;

/// On a processor that a request needs too, a tenth of the time is left for compiling.
const NICENESS: i32 = 10;
/// If the machine runs out of memory, the compiler is to be killed, and not the gateway.
const OUT_OF_MEMORY_SCORE: &str = "1000";

/// Why nothing was compiled.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("{0}")]
    Invalid(String),
    #[error("{step}: {source}")]
    Io { step: &'static str, source: io::Error },
}

/// Compiles the component on standard input to standard output.
///
/// # Errors
/// [`WorkerError`]. Past a limit, the process does not return but ends on a signal.
pub fn run_compiler(limits: CompileLimits, metering: Metering) -> Result<(), WorkerError> {
    let step = |step| move |source| WorkerError::Io { step, source };
    confine(limits).map_err(step("set the limits of the compiler"))?;
    let component = read_component().map_err(step("read the component from standard input"))?;
    std::thread::spawn(end_with_gateway);
    let code = compile(metering, &component).map_err(WorkerError::Invalid)?;
    io::stdout().write_all(&code).map_err(step("write the compiled code to standard output"))
}

/// Native code for this machine, or why the component is not valid.
pub(super) fn compile(metering: Metering, component: &[u8]) -> Result<Vec<u8>, String> {
    let compiled = engine::for_compiling(metering).and_then(|engine| engine.precompile_component(component));
    compiled.map_err(|error| match error.downcast_ref::<OutOfMemory>() {
        // As an allocation that cannot fail does it, so that the gateway sees one kind of end.
        Some(error) => {
            let layout = Layout::array::<u8>(error.requested_allocation_size());
            handle_alloc_error(layout.unwrap_or(Layout::new::<u8>()))
        }
        None => first_line(&error),
    })
}

/// The parser adds an excerpt of the bytes, line by line.
fn first_line(error: &wasmtime::Error) -> String {
    format!("{error:#}").lines().next().unwrap_or_default().to_owned()
}

fn confine(limits: CompileLimits) -> io::Result<()> {
    limit(Resource::Data, limits.memory_mib * 1024 * 1024)?;
    limit(Resource::Cpu, limits.seconds)?;
    limit(Resource::Core, 0)?;
    nice(NICENESS)?;
    // Systems without `/proc` have no score.
    let _ = std::fs::write("/proc/self/oom_score_adj", OUT_OF_MEMORY_SCORE);
    Ok(())
}

fn limit(resource: Resource, to: u64) -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(resource);
    let current = Some(maximum.map_or(to, |maximum| maximum.min(to)));
    Ok(setrlimit(resource, Rlimit { current, maximum })?)
}

fn read_component() -> io::Result<Vec<u8>> {
    let mut input = io::stdin().lock();
    let mut length = [0; 8];
    input.read_exact(&mut length)?;
    let mut component = Vec::new();
    input.take(u64::from_le_bytes(length)).read_to_end(&mut component)?;
    Ok(component)
}

fn end_with_gateway() {
    let _ = io::stdin().read(&mut [0]);
    std::process::exit(1);
}
