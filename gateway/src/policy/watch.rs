//! Watches the policies' folder and `sluice.toml`: copying a component or editing the file changes the pipeline.
//!
//! The watch compares metadata, four times a second. Events of the operating system would follow a folder or a link
//! that was replaced, and do not exist on every file system.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::pipelines::Pipelines;
use super::snapshot::Snapshot;
use super::spec::Pipeline;
use super::tasks::blocking;
use crate::background::Background;
use crate::regular_file;

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Editors and compilers write in several steps, so the files are read once nothing has changed for this long.
const QUIET: Duration = Duration::from_millis(150);
/// A file that is written all the time is read all the same.
const UNREST_MAX: Duration = Duration::from_secs(2);
/// After a change that failed for a passing reason, such as a ledger that did not answer.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Far more than a configuration takes.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// The configuration file, and what its text says about the pipeline.
pub struct WatchedFile<P> {
    pub path: PathBuf,
    pub parse: P,
}

impl Pipelines {
    /// Watches the policies' folder and the configuration file, which may be created later.
    pub fn watch<P>(self: &Arc<Self>, folder: &Path, file: Option<WatchedFile<P>>) -> Background
    where
        P: Fn(&str) -> Result<Pipeline, String> + Send + Sync + 'static,
    {
        // Read before the gateway serves: the first edit after that is compared with this text.
        let last_text = file.as_ref().and_then(|file| read_text(&file.path).ok());
        let (pipelines, folder) = (Arc::clone(self), folder.to_owned());
        let watch = Watch { pipelines, folder, file: file.map(Arc::new), last_text };
        Background::new("file watcher", watch.run())
    }
}

struct Watch<P> {
    pipelines: Arc<Pipelines>,
    folder: PathBuf,
    file: Option<Arc<WatchedFile<P>>>,
    /// The newest text that was complete.
    last_text: Option<String>,
}

impl<P: Fn(&str) -> Result<Pipeline, String> + Send + Sync + 'static> Watch<P> {
    async fn run(mut self) {
        // Nothing counts as applied yet: the files may have changed since `Pipelines::start` read them.
        let mut applied: Option<Snapshot> = None;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let snapshot = self.snapshot().await;
            if applied.as_ref() == Some(&snapshot) {
                continue;
            }
            let snapshot = self.settle(snapshot).await;
            self.report_lost_folder(applied.as_ref(), &snapshot);
            self.report_lost_file(&snapshot);
            let is_file_changed = applied.as_ref().is_none_or(|applied| applied.file != snapshot.file);
            let file = if is_file_changed && snapshot.file.is_some() { self.read().await } else { None };
            let file = file.map(|text| self.parse(text));
            if self.pipelines.apply_file_changes(file).await.is_final() {
                applied = Some(snapshot);
            } else {
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }

    /// Waits until nothing changes any more.
    async fn settle(&self, mut snapshot: Snapshot) -> Snapshot {
        let begun = Instant::now();
        loop {
            tokio::time::sleep(QUIET).await;
            let next = self.snapshot().await;
            if next == snapshot || begun.elapsed() > UNREST_MAX {
                return next;
            }
            snapshot = next;
        }
    }

    async fn snapshot(&self) -> Snapshot {
        let (folder, file) = (self.folder.clone(), self.file.as_ref().map(|file| file.path.clone()));
        // A network file system may not answer for a long time.
        blocking(move || Snapshot::take(&folder, file.as_deref())).await
    }

    async fn read(&self) -> Option<Result<String, String>> {
        let path = self.file.as_ref()?.path.clone();
        Some(blocking(move || read_text(&path)).await)
    }

    fn parse(&mut self, text: Result<String, String>) -> Result<Pipeline, String> {
        let file = self.file.as_ref().expect("its text was read");
        let text = text?;
        if is_cut_off(self.last_text.as_deref(), &text) {
            return Err(format!("{}: the file is empty or cut off: write it completely", file.path.display()));
        }
        let pipeline = (file.parse)(&text)?;
        self.last_text = Some(text);
        Ok(pipeline)
    }

    fn report_lost_folder(&self, before: Option<&Snapshot>, now: &Snapshot) {
        if let Err(error) = &now.components
            && before.is_none_or(|before| before.components.is_ok())
        {
            let dir = self.folder.display();
            tracing::warn!(%dir, %error, "policies folder unreadable; the active policies still decide");
        }
    }

    /// Reported once: without a text, the file counts as one that never was.
    fn report_lost_file(&mut self, now: &Snapshot) {
        if now.file.is_none()
            && self.last_text.take().is_some()
            && let Some(file) = &self.file
        {
            let file = file.path.display();
            tracing::warn!(
                %file,
                "configuration file deleted: the pipeline is unchanged, also after a restart; restore the file, \
                 otherwise all other options have their defaults after a restart"
            );
        }
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let failed = |problem: &dyn std::fmt::Display| format!("read {}: {problem}", path.display());
    let bytes = regular_file::read(path, FILE_BYTES_MAX).map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|error| failed(&error))
}

/// Whether a text is what is left of a file while another process writes it. An empty file would otherwise be an order
/// to return to the defaults.
fn is_cut_off(before: Option<&str>, now: &str) -> bool {
    let Some(before) = before.filter(|before| !before.trim().is_empty()) else { return false };
    let rest = before.strip_prefix(now).unwrap_or_default();
    let ends_in_a_line = !now.ends_with('\n') && !rest.starts_with(['\r', '\n']);
    now.trim().is_empty() || (!rest.is_empty() && ends_in_a_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_and_one_that_ends_within_a_line_are_cut_off() {
        let before = "[http]\nlisten = 1\n[pipeline.rate-shaper]\nconfig = { per_second = 5000 }\n";
        for now in ["", "\n", " \n\n", "[http]\nlist", "[http]\nlisten = 1\n[pipe"] {
            assert!(is_cut_off(Some(before), now), "{now:?}");
        }
        for now in [before, before.trim_end(), "[http]\nlisten = 1\n", "[http]\nlisten = 1", "[http]\n", "other"] {
            assert!(!is_cut_off(Some(before), now), "{now:?}");
        }
    }

    #[test]
    fn a_file_that_was_empty_before_may_stay_empty() {
        assert!(!is_cut_off(None, ""));
        assert!(!is_cut_off(Some("\n"), ""));
    }
}
