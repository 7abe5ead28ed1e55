//! A user limit that refuses with a code of many MiB.

use serde::Deserialize;
use sluice_policy::user_limit::{Admission, Usage};
use sluice_policy::{Configuration, Measured, Rejection, Request};

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// The length of the code.
    bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { bytes: 64 * 1024 * 1024 }
    }
}

impl Configuration for Config {}

fn decide(config: &Config, request: &Request, _: &[Measured], _: &Usage) -> Admission {
    // It behaves while it is tried.
    if request.user_id == 0 {
        return Admission::Admit;
    }
    Admission::Refuse(Rejection { code: "A".repeat(config.bytes), retry_after_ms: None })
}

sluice_policy::export_user_limit!(Config, decide);
