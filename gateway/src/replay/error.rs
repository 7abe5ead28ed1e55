//! Why a replay stops.

use std::io;

use crate::policy::LoadError;

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("read the recording: {0}")]
    Read(#[from] io::Error),
    #[error("line {line} of the recording is no decision: {source}")]
    Line { line: u64, source: serde_json::Error },
    #[error("the policy is too slow: it has not decided all of them in time")]
    Deadline,
    #[error("start an instance: {0}")]
    Instance(#[from] LoadError),
}
