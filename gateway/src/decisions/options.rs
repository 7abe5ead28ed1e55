//! `[decisions]` of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use crate::bounded::bounded;

/// `[decisions]` of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section")]
pub struct Options {
    /// The share of the accepted requests whose decisions are recorded. 0 records none, 1 all. Which ones depends only on
    /// the request id.
    #[serde(deserialize_with = "share")]
    pub sample: f64,
    /// As `sample`, for the requests that a policy refused.
    #[serde(deserialize_with = "share")]
    pub sample_refusals: f64,
    /// The folder of the recorded decisions. Each gateway needs its own. It contains user ids, and is created with mode
    /// 0700.
    pub dir: PathBuf,
    /// The files together, in MiB. The oldest are deleted first.
    #[serde(deserialize_with = "bounded::<_, _, 1, 1_048_576>")]
    pub mib_max: u64,
    /// How long a file is kept after its last decision, in hours.
    #[serde(deserialize_with = "bounded::<_, _, 1, 8760>")]
    pub keep_hours: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { sample: 0.01, sample_refusals: 0.01, dir: "data/decisions".into(), mib_max: 256, keep_hours: 168 }
    }
}

impl Options {
    pub(super) fn bytes_max(&self) -> u64 {
        self.mib_max * 1024 * 1024
    }

    pub(super) fn keep(&self) -> Duration {
        Duration::from_hours(self.keep_hours)
    }
}

fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    let is_share = (0.0..=1.0).contains(&number);
    if is_share { Ok(number) } else { Err(D::Error::custom(format!("expected a number from 0 to 1, found {number}"))) }
}
