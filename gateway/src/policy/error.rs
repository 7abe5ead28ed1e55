//! Why a component cannot be used, and why a change of the pipeline fails.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;

use super::signature::SignatureError;
use crate::counters::Hook;
use crate::coupon::GenerationNo;
use crate::ledger::LedgerError;

/// Why a component cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    #[error("expected at most {bytes_max} bytes, found {found}")]
    TooLarge { bytes_max: usize, found: usize },
    #[error("expected a component, found a core module: convert it with `sluice policy pack`")]
    Module,
    #[error("not a WebAssembly component: build it with `policies/build`")]
    NotWebAssembly,
    /// Cut off or damaged.
    #[error("not a valid component: {0}")]
    Invalid(String),
    #[error("compile the component: {0}")]
    Compile(#[from] CompileError),
    #[error("the component needs more than an instance may have: {0}")]
    Limits(String),
    #[error(
        "a policy must not import anything: {0}; build it for wasm32-unknown-unknown, and take the time and randomness \
         from the request"
    )]
    Imports(String),
    /// An interface of the contract in a version that the gateway does not run.
    #[error(
        "expected version 0.2.0 or 0.1.0 of sluice:policy, found `{0}`: build the policy with the policies/sdk of this \
         gateway, or install the gateway that the policy was built for"
    )]
    Version(String),
    /// Another hook's world, or none at all.
    #[error("expected the world {expected} of sluice:policy: {found}")]
    World { expected: &'static str, found: String },
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// In the policy's own words.
    #[error("the policy refuses its configuration: {0}")]
    Config(String),
    /// While it was instantiated, configured or given a trial request.
    #[error("the policy failed its trial: {0}")]
    Trial(String),
    #[error(
        "a decision costs {fuel} units of fuel, and budget_fuel is {budget}: make the policy cheaper, or raise the budget"
    )]
    OverBudget { fuel: u64, budget: u64 },
    /// Other instances, such as those of the generation that is being replaced, have taken it.
    #[error("no room for another instance: {0}")]
    Capacity(String),
    #[error("start WebAssembly, which reserves 2 TiB of addresses: {0}; lift the process's limit (`ulimit -v`)")]
    Engine(String),
}

/// Why a component was not compiled.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CompileError {
    #[error(
        "it takes more than {mib_max} MiB of memory: split its large functions, or raise \
         policies.compile_memory_mib_max"
    )]
    Memory { mib_max: u64 },
    /// In seconds.
    #[error(
        "it takes more than {0} s of processor time: split its large functions, or raise policies.compile_seconds_max"
    )]
    ProcessorTime(u64),
    /// In seconds.
    #[error(
        "it takes more than {0} s, because the machine is busy: try again later, or raise policies.compile_seconds_max"
    )]
    WallTime(u64),
    #[error("its code takes more than {mib_max} MiB: make the component smaller")]
    TooLarge { mib_max: usize },
    #[error("the compiler ended with {status}: {message}")]
    Crashed { status: ExitStatus, message: String },
    #[error("run the compiler: {0}; allow this process to start its own program")]
    Start(Arc<std::io::Error>),
    #[error("the gateway is stopping")]
    Stopping,
}

impl CompileError {
    pub(super) fn start(error: std::io::Error) -> Self {
        Self::Start(Arc::new(error))
    }
}

impl LoadError {
    /// Whether compiling the component again would fail in the same way.
    pub(super) fn is_of_the_component(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::Limits(_) => true,
            Self::Compile(error) => matches!(
                error,
                CompileError::Memory { .. } | CompileError::ProcessorTime(_) | CompileError::TooLarge { .. }
            ),
            _ => false,
        }
    }

    fn is_transient(&self) -> bool {
        matches!(self, Self::Compile(CompileError::Start(_) | CompileError::Stopping) | Self::Capacity(_))
    }
}

/// Why a change was refused. The active generation still decides.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error("{0}")]
    Pipeline(String),
    #[error("read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error(
        "read {}: {source}; build the policies with `policies/build`, or set policies.dir to their folder",
        path.display()
    )]
    NotFound { path: PathBuf, source: std::io::Error },
    #[error("{} is not a WebAssembly component: build it with `policies/build`", .0.display())]
    NotWebAssembly(PathBuf),
    /// A file of the folder.
    #[error("{}: {error}", path.display())]
    UnusableFile { path: PathBuf, error: LoadError },
    /// The newest file of a policy cannot be used.
    #[error("{0}")]
    Component(String),
    #[error("the policy `{name}` is unknown: upload it, or copy it to {}", path.display())]
    UnknownPolicy { name: String, path: PathBuf },
    #[error("the policy `{name}` has no version that begins with {digits}: `sluice policy list` prints its versions")]
    UnknownVersion { name: String, digits: String },
    #[error("{found} versions of the policy `{name}` begin with {digits}: give more digits")]
    AmbiguousVersion { name: String, digits: String, found: usize },
    #[error("{} is another version than {digits}: get that one, or name the policy without a digest", path.display())]
    OtherVersion { path: PathBuf, digits: String },
    #[error("the component {digest} in the ledger is missing or damaged: upload the policy again")]
    Damaged { digest: String },
    /// `sluice.toml` cannot be read.
    #[error("{0}")]
    File(String),
    #[error("{}: {error}", hook.as_str())]
    Load { hook: Hook, error: LoadError },
    #[error(transparent)]
    Upload(#[from] LoadError),
    #[error("no earlier pipeline is recorded: set the pipeline with PUT instead")]
    NoEarlierPipeline,
    /// The record of a generation cannot be read, or lacks a component.
    #[error("the record in the ledger is incomplete: publish the pipeline again")]
    IncompleteRecord,
    #[error("read or record the pipeline: {0}")]
    Ledger(#[from] LedgerError),
    /// Another process recorded the same generation number first.
    #[error("pipeline changed concurrently: read it again and retry")]
    Conflict,
    #[error("rollout {rollout} is changing the {}: promote or abort it first", hook.as_str())]
    Held { hook: Hook, rollout: u64 },
    #[error("the change did not finish: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl ChangeError {
    /// Whether the same change may succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Ledger(_) | Self::Conflict | Self::Held { .. } => true,
            Self::Load { error, .. } | Self::Upload(error) => error.is_transient(),
            _ => false,
        }
    }

    /// Whether the gateway stopped before the change was made.
    pub(crate) fn is_stopping(&self) -> bool {
        let (Self::Load { error, .. } | Self::Upload(error)) = self else { return false };
        matches!(error, LoadError::Compile(CompileError::Stopping))
    }

    pub(super) fn load(hook: Hook) -> impl FnOnce(LoadError) -> Self {
        move |error| Self::Load { hook, error }
    }
}

/// Why there is no first generation.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StartError(#[from] ChangeError);

/// A generation in the ledger that is newer than the active one, and why it cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotLoaded {
    pub generation: GenerationNo,
    pub error: String,
}
