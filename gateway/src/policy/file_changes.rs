//! Applies what changed in the policies' folder and in `sluice.toml`.
//!
//! A change counts as observed only once it was applied, so that an attempt that failed is made again when a file
//! changes.

use super::applied_file::AppliedFile;
use super::author::Author;
use super::component::ComponentBytes;
use super::error::ChangeError;
use super::options::Options;
use super::pipelines::{ATTEMPTS_MAX, Pipelines};
use super::records::Recorded;
use super::scope::Scope;
use super::spec::Pipeline;
use super::state::{Replacement, State};
use crate::counters::{Hook, PerHook};
use crate::ledger::{Ledger, LedgerError};

/// Whether trying again without another change of the files could help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    Final,
    Retry,
}

impl Attempt {
    pub(super) fn is_final(self) -> bool {
        self == Self::Final
    }

    fn and(self, other: Self) -> Self {
        if self.is_final() { other } else { self }
    }
}

impl Pipelines {
    /// What [`Pipelines::start`] takes as the file's pipeline while there is no file: the one that was applied last. A
    /// file that is gone is no order to return to the defaults; only hooks that variables set in `configured` change.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn without_file(
        configured: Pipeline,
        options: &Options,
        ledger: &dyn Ledger,
    ) -> Result<Pipeline, LedgerError> {
        let recorded = Recorded::read(ledger).await?;
        let Some(newest) = recorded.newest_first.first() else { return Ok(configured) };
        let applied = AppliedFile::new(options.applied_file.clone()).read(recorded.number).await;
        let applied = applied.unwrap_or_else(|| newest.record.observed.file.clone());
        Ok(applied.patched(&Pipeline::default().difference(&configured)))
    }

    /// `file` is the pipeline in `sluice.toml`, or why the file cannot be used; `None` if it has not changed.
    pub(super) async fn apply_file_changes(&self, file: Option<Result<Pipeline, String>>) -> Attempt {
        let mut state = self.state.lock().await;
        let components = self.apply_changed_components(&mut state).await;
        match file {
            Some(Ok(file)) => state.read_file(file),
            Some(Err(error)) => self.refuse_file(&mut state, ChangeError::File(error)),
            None => {}
        }
        components.and(self.apply_pending_file(&mut state).await)
    }

    async fn apply_changed_components(&self, state: &mut State) -> Attempt {
        let replaced = self.replace_changed_components(state).await;
        let attempt = self.finish_components(state, replaced);
        if attempt.is_final() {
            state.folder.pending.clear();
        }
        attempt
    }

    async fn replace_changed_components(&self, state: &mut State) -> Result<(), ChangeError> {
        let mut more_attempts = 1..ATTEMPTS_MAX;
        loop {
            let candidates = self.find_changed_components(state).await?;
            match self.apply_components(state, &candidates).await {
                // The newest pipeline may name other policies.
                Err(ChangeError::Conflict) if more_attempts.next().is_some() => self.catch_up(state).await?,
                applied => return applied,
            }
        }
    }

    /// The components of the active pipeline whose files have changed.
    async fn find_changed_components(&self, state: &mut State) -> Result<PerHook<Option<ComponentBytes>>, ChangeError> {
        let fed = self.registry.feed(&mut state.folder, None).await;
        self.report_refused_files(state);
        fed?;
        let mut candidates = PerHook::default();
        for (hook, active) in state.active.components.iter() {
            let policy = &state.active.pipeline.hook(hook).policy;
            if state.folder.pending.contains(policy) {
                let newest = self.registry.newest(policy).await?;
                candidates[hook] = newest.filter(|newest| newest.digest != active.digest);
            }
        }
        Ok(candidates)
    }

    /// A broken component does not keep a good one out.
    async fn apply_components(
        &self,
        state: &mut State,
        candidates: &PerHook<Option<ComponentBytes>>,
    ) -> Result<(), ChangeError> {
        let changed = candidates.iter().filter(|(_, changed)| changed.is_some());
        let hooks: Vec<Hook> = changed.map(|(hook, _)| hook).collect();
        if hooks.is_empty() {
            return Ok(());
        }
        match self.replace_components(state, candidates, &hooks).await {
            Err(error) if hooks.len() > 1 && !error.is_transient() => {
                for hook in hooks {
                    match self.replace_components(state, candidates, &[hook]).await {
                        Err(error) if error.is_transient() => return Err(error),
                        replaced => self.finish_components(state, replaced),
                    };
                }
                Ok(())
            }
            replaced => replaced,
        }
    }

    async fn replace_components(
        &self,
        state: &mut State,
        candidates: &PerHook<Option<ComponentBytes>>,
        hooks: &[Hook],
    ) -> Result<(), ChangeError> {
        let replacement = Replacement {
            pipeline: state.active.pipeline.clone(),
            components: PerHook::from_fn(|hook| candidates[hook].clone().filter(|_| hooks.contains(&hook))),
            observed_file: state.observed_file.clone(),
            author: Author::FOLDER,
        };
        let published = self.replace(state, replacement).await?;
        self.record_history(Scope::Default, &Author::FOLDER, &Ok(published));
        Ok(())
    }

    fn finish_components(&self, state: &mut State, replaced: Result<(), ChangeError>) -> Attempt {
        match replaced {
            Ok(()) => state.reported.folder = None,
            Err(error) if error.is_transient() => {
                self.refuse(&Author::FOLDER, error, &mut state.reported.folder);
                return Attempt::Retry;
            }
            // The same bytes would fail again.
            Err(error) => self.record_history(Scope::Default, &Author::FOLDER, &Err(error)),
        }
        Attempt::Final
    }

    /// A file of an active policy was meant to change the pipeline.
    fn report_refused_files(&self, state: &mut State) {
        for (name, error) in state.folder.refused.drain(..) {
            if state.active.pipeline.hooks().iter().any(|(_, spec)| spec.policy == name) {
                self.record_history(Scope::Default, &Author::FOLDER, &Err(ChangeError::Component(error)));
            } else {
                tracing::warn!(policy = name, error, "policy of the folder not registered");
            }
        }
    }

    async fn apply_pending_file(&self, state: &mut State) -> Attempt {
        let Some(file) = state.pending_file.clone() else { return Attempt::Final };
        let patch = state.observed_file.difference(&file);
        let before = self.current().number();
        match self.patch(state, &patch, file, &Author::FILE).await {
            Ok(number) => {
                if number != before {
                    self.record_history(Scope::Default, &Author::FILE, &Ok(number));
                }
                Attempt::Final
            }
            Err(error) => {
                let attempt = if error.is_transient() { Attempt::Retry } else { Attempt::Final };
                self.refuse_file(state, error);
                attempt
            }
        }
    }

    fn refuse_file(&self, state: &mut State, error: ChangeError) {
        self.refuse(&Author::FILE, error, &mut state.reported.file);
    }

    /// There is no caller to report the refusal to, so it is in the history and in the log.
    fn refuse(&self, author: &Author, error: ChangeError, reported: &mut Option<String>) {
        let text = error.to_string();
        if reported.as_ref() != Some(&text) {
            self.record_history(Scope::Default, author, &Err(error));
            *reported = Some(text);
        }
    }
}
