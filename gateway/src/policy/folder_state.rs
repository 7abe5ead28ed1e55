//! What this process last saw in the folder. Other machines may have other files, so nothing of it is shared.

use std::collections::{BTreeMap, BTreeSet};

use super::digest::Digest;
use super::snapshot::ComponentStamp;
use super::spec::Pipeline;
use crate::counters::PerHook;
use crate::coupon::UnixMs;

#[derive(Default)]
pub(super) struct FolderState {
    files: BTreeMap<String, SeenFile>,
    /// The whole folder was read. From then on, a file that differs was changed while this process runs.
    is_read: bool,
    recorded: RecordedFiles,
    /// Policies with a changed file whose version is not applied yet.
    pub(super) pending: BTreeSet<String>,
    /// Name and error of files that were found to be no policy, until they are reported.
    pub(super) refused: Vec<(String, String)>,
}

struct SeenFile {
    stamp: ComponentStamp,
    /// The digest, or why the file cannot be used.
    content: Result<Digest, String>,
    /// When it was changed; `None` if that was before this process started.
    changed_at_ms: Option<UnixMs>,
}

/// The files that a generation's record names: those that were seen when it was published.
#[derive(Default)]
pub(super) struct RecordedFiles {
    digests: BTreeMap<String, Option<Digest>>,
    /// Only this machine publishes on an embedded ledger.
    are_own: bool,
}

impl RecordedFiles {
    pub(super) fn new(pipeline: &Pipeline, folder: PerHook<Option<Digest>>, are_own: bool) -> Self {
        let names = <[_; 3]>::from(pipeline.hooks().map(|spec| spec.policy.clone()));
        Self { digests: names.into_iter().zip(<[_; 3]>::from(folder)).collect(), are_own }
    }
}

impl FolderState {
    pub(super) fn new(recorded: RecordedFiles) -> Self {
        Self { recorded, ..Self::default() }
    }

    /// Whether a file must be read: its metadata differ from those seen last.
    pub(super) fn differs(&self, name: &str, stamp: &ComponentStamp) -> bool {
        self.files.get(name).is_none_or(|seen| seen.stamp != *stamp)
    }

    /// Whether somebody changed a file since it was seen last, also between two runs if that is known.
    pub(super) fn is_changed(&self, name: &str, content: &Result<Digest, String>) -> bool {
        let recorded = self.recorded.digests.get(name).filter(|_| self.recorded.are_own);
        match self.files.get(name) {
            Some(seen) => seen.content != *content,
            None => self.is_read || recorded.is_some_and(|recorded| recorded.as_ref() != content.as_ref().ok()),
        }
    }

    /// Whether a file was there when the newest generation was published: it is no reason to change that one.
    pub(super) fn is_recorded(&self, name: &str, digest: Digest) -> bool {
        self.recorded.digests.get(name) == Some(&Some(digest))
    }

    pub(super) fn see(
        &mut self,
        name: String,
        stamp: ComponentStamp,
        content: Result<Digest, String>,
        changed_at_ms: Option<UnixMs>,
    ) {
        if let Err(error) = &content {
            self.refused.push((name.clone(), error.clone()));
        }
        self.files.insert(name, SeenFile { stamp, content, changed_at_ms });
    }

    /// The whole folder was read. A usable file that is gone is remembered: it is no change if it comes back.
    pub(super) fn finish(&mut self, exists: impl Fn(&str) -> bool) {
        self.forget_errors(|name| !exists(name));
        self.is_read = true;
    }

    /// These files are gone.
    pub(super) fn forget_errors(&mut self, is_gone: impl Fn(&str) -> bool) {
        self.files.retain(|name, seen| seen.content.is_ok() || !is_gone(name));
    }

    /// Why a policy's file cannot be used, if it was changed after the newest version was registered.
    pub(super) fn error_since(&self, name: &str, registered_at_ms: Option<UnixMs>) -> Option<&str> {
        let seen = self.files.get(name)?;
        let is_newer = registered_at_ms.is_none_or(|registered| seen.changed_at_ms.is_some_and(|at| at > registered));
        seen.content.as_ref().err().filter(|_| is_newer).map(String::as_str)
    }

    /// Name and error of each file that is no policy.
    pub(super) fn unusable(&self) -> Vec<(String, String)> {
        let error = |(name, seen): (&String, &SeenFile)| Some((name.clone(), seen.content.as_ref().err()?.clone()));
        self.files.iter().filter_map(error).collect()
    }

    /// The digest of the file of each policy of a pipeline.
    pub(super) fn digests(&self, pipeline: &Pipeline) -> PerHook<Option<Digest>> {
        let digest = |name: &str| self.files.get(name)?.content.as_ref().ok().copied();
        pipeline.hooks().map(|spec| digest(&spec.policy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a process sees that starts with this file, after a generation was published with another one.
    fn is_changed(are_own: bool, recorded: Option<Digest>, found: &[u8]) -> bool {
        let folder = PerHook { shard_picker: recorded, ..PerHook::default() };
        let state = FolderState::new(RecordedFiles::new(&Pipeline::default(), folder, are_own));
        state.is_changed("random", &Ok(Digest::of(found)))
    }

    #[test]
    fn only_the_record_of_this_machine_tells_what_changed_while_the_process_was_stopped() {
        let old = Some(Digest::of(b"old"));
        assert!(is_changed(true, old, b"new") && is_changed(true, None, b"new"));
        assert!(!is_changed(true, old, b"old"));
        assert!(!is_changed(false, old, b"new"));
    }

    #[test]
    fn a_file_that_appears_or_differs_after_the_folder_was_read_has_changed() {
        let stamp = ComponentStamp::take(std::path::Path::new(".")).expect("exists");
        let mut state = FolderState::default();
        assert!(!state.is_changed("one", &Ok(Digest::of(b"1"))));
        state.see("one".to_owned(), stamp, Ok(Digest::of(b"1")), None);
        state.finish(|_| true);
        assert!(!state.is_changed("one", &Ok(Digest::of(b"1"))));
        assert!(state.is_changed("one", &Ok(Digest::of(b"2"))));
        assert!(state.is_changed("two", &Ok(Digest::of(b"2"))));
        state.finish(|_| false);
        assert!(!state.is_changed("one", &Ok(Digest::of(b"1"))), "a file that comes back unchanged");
    }
}
