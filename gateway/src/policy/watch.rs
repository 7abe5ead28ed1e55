//! Watches the policies' folder and `sluice.toml`: copying a component or editing the file changes the pipeline.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::pipelines::Pipelines;
use super::spec::Pipeline;
use crate::background::Background;

/// Editors and compilers write in several steps, so the files are read once nothing has changed for this long.
const QUIET: Duration = Duration::from_millis(150);

impl Pipelines {
    /// Watches the policies' folder and, if there is one, the configuration file, which `read` reads.
    ///
    /// # Errors
    /// When the operating system cannot watch them.
    pub fn watch<R>(self: &Arc<Self>, folder: &Path, file: Option<(PathBuf, R)>) -> notify::Result<Background>
    where
        R: Fn() -> Result<Pipeline, String> + Send + Sync + 'static,
    {
        // The files are read as a whole, so one pending event stands for any number.
        let (event_seen, mut events) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = event_seen.try_send(());
            }
        })?;
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        if let Some((path, _)) = &file {
            // A watch on the file itself would end when an editor replaces the file.
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            watcher.watch(parent, RecursiveMode::NonRecursive)?;
        }
        let pipelines = Arc::clone(self);
        let follow = async move {
            // Dropping the watcher would end the events.
            let _watcher = watcher;
            while events.recv().await.is_some() {
                while tokio::time::timeout(QUIET, events.recv()).await.is_ok_and(|event| event.is_some()) {}
                pipelines.apply_file_changes(file.as_ref().map(|(_, read)| read())).await;
            }
        };
        Ok(Background::new("file watcher", follow))
    }
}
