//! How a replay keeps instances.

use serde::Serialize;

/// How a policy's instances are kept between decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Instances {
    /// Each decision has its own.
    Fresh,
    /// An instance decides about 1,024 requests. It takes a fraction of the time, and is closer to a gateway.
    Warm,
}
