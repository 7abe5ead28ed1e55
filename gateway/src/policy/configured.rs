//! Which version of a policy decides, and on what.

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use crate::counters::Measure;

/// A version of a policy with its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfiguredPolicy {
    pub policy: String,
    pub digest: Digest,
    /// What it declared: the meaning of the numbers that it decides on.
    pub measures: Vec<Measure>,
}
