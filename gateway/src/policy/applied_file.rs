//! The pipeline of `sluice.toml` that this machine has applied, kept from one start to the next.
//!
//! Machines on one ledger may have different files, so what one has applied is its own knowledge. Compared with the
//! file of another machine, a file would count as edited at every restart.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::spec::Pipeline;
use super::tasks::blocking;
use crate::coupon::GenerationNo;
use crate::regular_file;

/// A pipeline takes a few kilobytes.
const BYTES_MAX: usize = 1024 * 1024;
/// The configuration of a policy may be confidential.
const FOR_THE_OWNER: u32 = 0o600;

pub(super) struct AppliedFile {
    /// `None`: nothing is read or written.
    path: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    /// The newest generation at that time.
    generation: GenerationNo,
    pipeline: Pipeline,
}

impl AppliedFile {
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self { path }
    }

    /// `None` if nothing is stored, or if it is from another ledger: one whose `newest` generation is older. A ledger
    /// that was restored from a backup is another one.
    pub(super) async fn read(&self, newest: GenerationNo) -> Option<Pipeline> {
        let path = self.path.clone()?;
        let file = path.display().to_string();
        match blocking(move || read(&path)).await {
            Ok(stored) => Some(stored).filter(|stored| stored.generation <= newest).map(|stored| stored.pipeline),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(file, %error, "applied pipeline not read; sluice.toml is compared with the ledger instead");
                None
            }
        }
    }

    /// Without it, the next start compares with the newest generation instead.
    pub(super) async fn store(&self, pipeline: &Pipeline, generation: GenerationNo) {
        let Some(path) = self.path.clone() else { return };
        let file = path.display().to_string();
        let stored = Stored { generation, pipeline: pipeline.clone() };
        if let Err(error) = blocking(move || write(&path, &stored)).await {
            tracing::warn!(file, %error, "applied pipeline not stored; the next start compares sluice.toml with the ledger");
        }
    }
}

fn read(path: &Path) -> io::Result<Stored> {
    Ok(serde_json::from_slice(&regular_file::read(path, BYTES_MAX)?)?)
}

/// The file appears complete or not at all.
fn write(path: &Path, stored: &Stored) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Another process may store the same file.
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = File::options().write(true).create(true).truncate(true).mode(FOR_THE_OWNER).open(&new)?;
    file.write_all(&serde_json::to_vec(stored)?)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_stored_is_read_unless_the_ledger_is_older_than_that() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let applied = AppliedFile::new(Some(folder.path().join("data/applied.json")));
        assert_eq!(applied.read(9).await, None);
        let mut pipeline = Pipeline::default();
        pipeline.shard_picker.policy = "weighted".to_owned();
        applied.store(&Pipeline::default(), 2).await;
        applied.store(&pipeline, 3).await;
        assert_eq!(applied.read(2).await, None, "restored from a backup");
        assert_eq!(applied.read(3).await, Some(pipeline));
    }

    #[tokio::test]
    async fn a_damaged_file_counts_as_none_and_is_replaced() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("applied.json");
        std::fs::write(&path, b"{\"generation\": 1").expect("writes");
        let applied = AppliedFile::new(Some(path));
        assert_eq!(applied.read(9).await, None);
        applied.store(&Pipeline::default(), 1).await;
        assert_eq!(applied.read(9).await, Some(Pipeline::default()));
    }
}
