//! The policy host: the only place that knows wasmtime.
//!
//! A policy is a component that imports nothing. Each is loaded, checked and tried off the request's
//! path; together the three of a pipeline are one immutable [`Generation`].

mod breaker;
mod generation;
mod guest;
mod native;
mod pipelines;
mod spec;
#[cfg(test)]
mod tests;
mod watch;
mod wire;

use serde::{Deserialize, Serialize};

pub use generation::{Generation, PolicyUnavailable, Quota};
pub use guest::{LoadError, inspect, pack};
pub use pipelines::{ChangeError, Pipelines, Source, StartError};
pub use spec::{HookSpec, Isolation, OnFailure, Pipeline, PipelinePatch};
pub use wire::{LimitVerdict, Load, Rejection, Request, Shaping, Shard, Usage};

/// `[policies]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The folder of the built components: the policy `random` is `random.wasm` in it.
    pub dir: std::path::PathBuf,
}

impl Options {
    /// Where the component of a policy lies.
    fn path_of(&self, policy: &str) -> std::path::PathBuf {
        self.dir.join(format!("{policy}.wasm"))
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { dir: "policies".into() }
    }
}
