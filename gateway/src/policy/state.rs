//! What a change of the default pipeline starts from.

use super::author::Author;
use super::component::{ComponentBytes, ResolvedPipeline};
use super::folder_state::FolderState;
use super::records::{ObservedFiles, RecordedPipeline};
use super::rollback::RollbackStack;
use super::spec::Pipeline;
use crate::counters::PerHook;

/// The active default pipeline, and what is known of the files.
pub(super) struct State {
    pub(super) active: ResolvedPipeline,
    pub(super) rollback: RollbackStack<RecordedPipeline>,
    /// The pipeline of this machine's `sluice.toml` that was applied last. Only a difference from it is a change.
    pub(super) observed_file: Pipeline,
    pub(super) folder: FolderState,
    /// The pipeline of `sluice.toml`, if applying it has failed. It is tried again when a file changes, until a newer
    /// change succeeds.
    pub(super) pending_file: Option<Pipeline>,
    pub(super) reported: ReportedErrors,
}

/// The last error of the file and of the folder, so that it is reported once.
#[derive(Default)]
pub(super) struct ReportedErrors {
    pub(super) file: Option<String>,
    pub(super) folder: Option<String>,
}

/// The active pipeline with some hooks replaced.
pub(super) struct Replacement {
    pub(super) pipeline: Pipeline,
    /// Of the hooks that are replaced. The others keep theirs.
    pub(super) components: PerHook<Option<ComponentBytes>>,
    /// The pipeline of `sluice.toml` that counts as applied from then on.
    pub(super) observed_file: Pipeline,
    pub(super) author: Author,
}

impl State {
    pub(super) fn new(
        active: ResolvedPipeline,
        rollback: RollbackStack<RecordedPipeline>,
        observed_file: Pipeline,
        folder: FolderState,
    ) -> Self {
        Self { active, rollback, observed_file, folder, pending_file: None, reported: ReportedErrors::default() }
    }

    /// What the record of a generation says about the files.
    pub(super) fn observed(&self, file: Pipeline, pipeline: &Pipeline) -> ObservedFiles {
        ObservedFiles { file, folder: self.folder.digests(pipeline) }
    }

    /// Whether a pipeline and its components are the active ones.
    pub(super) fn is_active(&self, resolved: &ResolvedPipeline) -> bool {
        self.active.pipeline == resolved.pipeline && self.active.digests() == resolved.digests()
    }

    /// What counts as applied after a change by an operator: it is newer than a file that could not be applied.
    pub(super) fn newest_file(&self) -> Pipeline {
        self.pending_file.as_ref().unwrap_or(&self.observed_file).clone()
    }

    /// A new text of `sluice.toml` was read.
    pub(super) fn read_file(&mut self, file: Pipeline) {
        if self.pending_file.as_ref() != Some(&file) {
            self.reported.file = None;
        }
        self.pending_file = (file != self.observed_file).then_some(file);
    }

    /// A file was applied.
    pub(super) fn observe(&mut self, file: Pipeline) {
        self.pending_file = self.pending_file.take().filter(|pending| *pending != file);
        self.observed_file = file;
    }
}
