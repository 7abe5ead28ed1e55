//! Follows the policies' folder and `sluice.toml`, so that dropping a component or editing the file is
//! all it takes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::{Pipeline, Pipelines};
use crate::background::Background;

/// Editors and compilers write in several steps; the files are looked at once they have been quiet.
const QUIET: Duration = Duration::from_millis(150);

impl Pipelines {
    /// Follows the policies' folder and, where there is one, the configuration file, which `read` reads.
    ///
    /// # Errors
    /// When the system cannot watch them.
    pub fn watch<R>(self: &Arc<Self>, folder: &Path, file: Option<(PathBuf, R)>) -> notify::Result<Background>
    where
        R: Fn() -> Result<Pipeline, String> + Send + Sync + 'static,
    {
        // One note that something happened is as good as many.
        let (notice, mut noticed) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = notice.try_send(());
            }
        })?;
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        if let Some((path, _)) = &file {
            // A file that is replaced by another one is only seen from its folder.
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            watcher.watch(parent, RecursiveMode::NonRecursive)?;
        }
        let pipelines = Arc::clone(self);
        let follow = async move {
            // Events stop when the watcher is dropped.
            let _watcher = watcher;
            while noticed.recv().await.is_some() {
                while tokio::time::timeout(QUIET, noticed.recv()).await.is_ok_and(|notice| notice.is_some()) {}
                pipelines.look(file.as_ref().map(|(_, read)| read())).await;
            }
        };
        Ok(Background::new("file watcher", follow))
    }
}
