//! What an edit of `sluice.toml` means while the process runs: a new pipeline, and options that need a restart.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::config::Config;
use crate::policy::Pipeline;

/// The file, and the options that were read from it.
pub(super) struct ConfigFile {
    path: PathBuf,
    /// What this process runs with.
    running: Config,
    /// The newest text that was valid.
    newest: Mutex<Config>,
}

impl ConfigFile {
    pub(super) fn new(path: PathBuf, running: Config) -> Self {
        Self { path, newest: Mutex::new(running.clone()), running }
    }

    /// The pipeline in a new text of the file. Logs which other sections the edit has changed.
    pub(super) fn read(&self, text: &str) -> Result<Pipeline, String> {
        let read = Config::parse(&self.path, text, std::env::vars_os()).map_err(|error| error.to_string())?;
        let sections = self.waiting_sections(&read);
        if !sections.is_empty() {
            let verb = if sections.len() == 1 { "applies" } else { "apply" };
            tracing::warn!("{} changed: {} {verb} after a restart", self.path.display(), sections.join(", "));
        }
        Ok(read.pipeline)
    }

    /// The sections that this edit has changed, and that differ from what the process runs with.
    fn waiting_sections(&self, read: &Config) -> Vec<String> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let edited = read.sections_unlike(&newest);
        *newest = read.clone();
        let waiting = read.sections_unlike(&self.running).into_iter();
        let waiting = waiting.filter(|section| *section != "pipeline" && edited.contains(section));
        waiting.map(|section| format!("[{section}]")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_that_needs_a_restart_is_named_once_for_each_edit() {
        let file = ConfigFile::new("sluice.toml".into(), Config::default());
        let edit = |text: &str| {
            let read = Config::parse(&file.path, text, []).expect("is valid");
            file.waiting_sections(&read)
        };
        assert_eq!(edit("[pipeline.shard-picker]\npolicy = \"weighted\"\n"), [""; 0], "the pipeline applies at once");
        let http = "[http]\ndrain_seconds = 3\n";
        assert_eq!(edit(http), ["[http]"]);
        assert_eq!(edit(&format!("{http}[settlement]\nbatch_records_max = 9\n")), ["[settlement]"]);
        assert_eq!(edit("[http]\ndrain_seconds = 4\n"), ["[http]"], "[settlement] is as it was again");
    }
}
