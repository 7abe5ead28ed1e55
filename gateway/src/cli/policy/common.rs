//! What the commands about policies share.

use std::fmt::Display;
use std::path::Path;

use serde_json::{Map, Value};

use crate::cli::common::Failure;

pub(super) fn object(text: &str) -> Result<Map<String, Value>, serde_json::Error> {
    serde_json::from_str(text)
}

pub(super) fn failed(step: &str, path: &Path, error: &dyn Display) -> Failure {
    Failure::run(format!("{step} {}: {error}", path.display()))
}
