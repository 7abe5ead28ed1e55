//! `[policies]` of the configuration.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::compile::limits::CompileLimits;
use super::signature::TrustedKeys;
use crate::bounded::bounded;

/// `[policies]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section")]
pub struct Options {
    /// The folder of the built components: the policy `random` is `random.wasm` in it. Each is registered in the ledger
    /// once, for all gateways.
    pub dir: PathBuf,
    /// The folder of compiled components, so that a restart compiles nothing. It is created with mode 0700 and used only
    /// while it belongs to this user alone. Files that were not used for longest are deleted.
    pub cache_dir: Option<PathBuf>,
    /// The file in which this machine keeps the pipeline of `sluice.toml` that it applied last, so that a restart changes
    /// nothing although other machines on the ledger have other files. Processes on one machine that read different
    /// files need one each.
    pub applied_file: Option<PathBuf>,
    /// Public keys, as `sluice policy keygen` prints them. If there is one, a component without a valid signature by one
    /// of them is rejected, wherever it comes from: the folder, an upload, or the ledger. Give all gateways on a ledger
    /// the same list.
    pub trusted_keys: TrustedKeys,
    /// The memory of all policy instances together. An instance has at most 16 MiB, and a policy has two instances a
    /// processor and four more. Past it, a change of the pipeline is rejected and a policy call that needs more memory
    /// fails.
    #[serde(deserialize_with = "bounded::<_, _, 16, 65_536>")]
    pub memory_mib_max: usize,
    /// The memory for compiling a component, which a process of its own does. A component that needs more is rejected.
    #[serde(deserialize_with = "bounded::<_, _, 64, 65_536>")]
    pub compile_memory_mib_max: u64,
    /// The processor time for compiling a component. On a busy machine it may take ten times as long. A component that
    /// needs more is rejected.
    #[serde(deserialize_with = "bounded::<_, _, 1, 3600>")]
    pub compile_seconds_max: u64,
    /// The native defaults decide on the policies' measures: what WebAssembly costs in a benchmark.
    #[serde(skip)]
    pub native: bool,
    #[serde(skip)]
    pub compiler: CompilerProgram,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dir: "policies".into(),
            cache_dir: Some("data/compiled".into()),
            applied_file: Some("data/applied.json".into()),
            trusted_keys: TrustedKeys::default(),
            memory_mib_max: 192,
            compile_memory_mib_max: 512,
            compile_seconds_max: 60,
            native: false,
            compiler: CompilerProgram::default(),
        }
    }
}

impl Options {
    pub(super) fn compile_limits(&self) -> CompileLimits {
        CompileLimits { memory_mib: self.compile_memory_mib_max, seconds: self.compile_seconds_max }
    }

    /// For a command that writes nothing.
    #[must_use]
    pub fn read_only(&self) -> Self {
        Self { cache_dir: None, applied_file: None, ..self.clone() }
    }
}

/// The program that compiles components, in a process of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CompilerProgram {
    /// The running program, which is `sluice`.
    #[default]
    Running,
    /// Another `sluice`: the running program is a test or a benchmark.
    Other(PathBuf),
    /// This process, without limits: a unit test has no `sluice`.
    #[cfg(test)]
    InProcess,
}
