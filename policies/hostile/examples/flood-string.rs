//! A user limit that rejects with a code of 64 MiB.

use serde::Deserialize;
use sluice_policy::user_limit::{Admission, Usage};
use sluice_policy::{Configuration, Measured, Rejection, Request};

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// The length of the code. The default exceeds the memory limit of the guest.
    bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { bytes: 64 * 1024 * 1024 }
    }
}

impl Configuration for Config {}

fn decide(config: &Config, request: &Request, _: &[Measured], _: &Usage) -> Admission {
    // Trial calls come from user 0. The guest passes them, so that it becomes active.
    if request.user_id == 0 {
        return Admission::Admit;
    }
    Admission::Refuse(Rejection::permanent(&"A".repeat(config.bytes)))
}

sluice_policy::export_user_limit!(Config, decide);
