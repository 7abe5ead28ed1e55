//! What the commands about policies share.

use std::fmt::Display;
use std::path::Path;

use crate::cli::common::Failure;

pub(super) fn failed(step: &str, path: &Path, error: &dyn Display) -> Failure {
    Failure::run(format!("{step} {}: {error}", path.display()))
}
