//! The policy host: the only place that knows wasmtime.
//!
//! A policy is a component that imports nothing. Each is loaded, checked and tried off the request's path; the three
//! of a pipeline form one immutable [`Generation`].

mod applied_file;
mod battery;
mod bench;
mod breaker;
mod budget;
mod check;
mod compile;
mod component;
mod configured;
mod contract;
mod deadline;
mod decider;
mod digest;
mod engine;
mod error;
mod failure;
mod failure_report;
mod file_changes;
mod folder;
mod folder_feed;
mod folder_state;
mod follow;
mod fuel_budget;
mod generation;
mod history;
mod host;
mod inspect;
mod instance;
mod loader;
mod memory_budget;
mod native;
mod offline;
mod options;
mod owned_context;
mod pack;
mod pipelines;
mod pool;
mod records;
mod registry;
mod reserved;
mod slots;
mod snapshot;
mod spec;
mod start;
mod state;
mod tasks;
#[cfg(test)]
mod tests;
mod trial;
mod watch;
mod wire;

pub use bench::{BenchRow, bench};
pub use compile::limits::CompileLimits;
pub use compile::worker::{INVALID_COMPONENT, WorkerError, run_compiler};
pub use configured::ConfiguredPolicy;
pub use decider::{Decided, PolicyUnavailable};
pub use digest::{Digest, InvalidDigest};
pub use engine::Metering;
pub use error::{ChangeError, CompileError, LoadError, NotLoaded, StartError};
pub use failure_report::FailureReport;
pub use generation::{Generation, Quota};
pub use history::{HistoryEntry, Source};
pub use inspect::{Inspection, inspect};
pub use offline::{CallCost, MeteredCall, MeteredInstance, MeteredPolicy, OfflineHost, OfflinePipeline};
pub use options::{CompilerProgram, Options};
pub use owned_context::OwnedContext;
pub use pack::pack;
pub use pipelines::Pipelines;
pub use registry::{ListedPolicy, UploadedPolicy};
pub use reserved::RESERVED_CODES;
pub use spec::{HookPatch, HookSpec, Isolation, OnFailure, Pipeline, PipelinePatch};
pub use watch::WatchedFile;
pub use wire::{LimitVerdict, Load, Rejection, Request, Shaping, Shard, Usage, is_code};
