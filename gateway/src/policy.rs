//! The policy host: the only place that knows wasmtime.
//!
//! A policy is a component that imports nothing. Each is loaded, checked and tried off the request's path; the three
//! of a pipeline form one immutable [`Generation`].

mod breaker;
mod budget;
mod compile;
mod component;
mod decider;
mod digest;
mod engine;
mod error;
mod file_changes;
mod folder;
mod follow;
mod generation;
mod history;
mod inspect;
mod instance;
mod loader;
mod native;
mod pack;
mod pipelines;
mod pool;
mod records;
mod regular_file;
mod reserved;
mod snapshot;
mod spec;
mod start;
mod state;
mod tasks;
#[cfg(test)]
mod tests;
mod watch;
mod wire;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use decider::PolicyUnavailable;
pub use digest::{Digest, InvalidDigest};
pub use error::{ChangeError, LoadError, NotLoaded, StartError};
pub use folder::{ListedPolicy, UploadedPolicy};
pub use generation::{Generation, Quota};
pub use history::{HistoryEntry, Source};
pub use inspect::{Inspection, inspect};
pub use pack::pack;
pub use pipelines::Pipelines;
pub use spec::{HookPatch, HookSpec, Isolation, OnFailure, Pipeline, PipelinePatch};
pub use watch::WatchedFile;
pub use wire::{LimitVerdict, Load, Rejection, Request, Shaping, Shard, Usage};

/// `[policies]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section")]
pub struct Options {
    /// The folder of the built components: the policy `random` is `random.wasm` in it.
    pub dir: PathBuf,
    /// The native defaults decide on the policies' measures: what WebAssembly costs in a benchmark.
    #[serde(skip)]
    pub native: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { dir: "policies".into(), native: false }
    }
}
