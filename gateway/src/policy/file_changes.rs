//! Applies what changed in the policies' folder and in `sluice.toml`.
//!
//! What a file contained counts as observed only once it was applied, so that an attempt that failed is made again when
//! a file changes.

use super::component::ComponentBytes;
use super::error::ChangeError;
use super::history::Source;
use super::pipelines::Pipelines;
use super::records::Recorded;
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
    pub async fn without_file(configured: Pipeline, ledger: &dyn Ledger) -> Result<Pipeline, LedgerError> {
        let recorded = Recorded::read(ledger).await?;
        let Some(newest) = recorded.newest_first.first() else { return Ok(configured) };
        Ok(newest.record.observed.file.patched(&Pipeline::default().difference(&configured)))
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
        let candidates = self.find_changed_components(state).await;
        let hooks: Vec<Hook> =
            candidates.iter().filter(|(_, changed)| changed.is_some()).map(|(hook, _)| hook).collect();
        if hooks.is_empty() {
            return Attempt::Final;
        }
        match self.replace_components(state, &candidates, &hooks).await {
            // A broken component does not keep a good one out.
            Err(error) if hooks.len() > 1 && !error.is_transient() => {
                let mut attempt = Attempt::Final;
                for hook in hooks {
                    let replaced = self.replace_components(state, &candidates, &[hook]).await;
                    attempt = attempt.and(self.finish_components(state, &candidates, &[hook], replaced));
                }
                attempt
            }
            replaced => self.finish_components(state, &candidates, &hooks, replaced),
        }
    }

    /// The components of the active pipeline that are new in the folder.
    async fn find_changed_components(&self, state: &mut State) -> PerHook<Option<ComponentBytes>> {
        let policies = state.active.pipeline.hooks().map(|spec| spec.policy.clone());
        let mut found = match self.folder.read_each(policies).await {
            Ok(found) => found,
            Err(error) => {
                self.record_history(Source::Folder, &Err(error));
                return PerHook::default();
            }
        };
        PerHook::from_fn(|hook| match std::mem::replace(&mut found[hook], Ok(None)) {
            Ok(Some(component)) => {
                let is_active = state.active.components[hook].digest == component.digest;
                let is_new = !is_active && state.observed.folder[hook] != Some(component.digest);
                if !is_new {
                    state.observed.folder[hook] = Some(component.digest);
                    state.reported.components[hook] = None;
                }
                is_new.then_some(component)
            }
            // A component that was removed is no reason to change.
            Ok(None) => {
                state.observed.folder[hook] = None;
                None
            }
            Err(error) => {
                self.refuse(Source::Folder, error, &mut state.reported.components[hook]);
                None
            }
        })
    }

    async fn replace_components(
        &self,
        state: &mut State,
        candidates: &PerHook<Option<ComponentBytes>>,
        hooks: &[Hook],
    ) -> Result<(), ChangeError> {
        let is_replaced = |hook| hooks.contains(&hook);
        let components = PerHook::from_fn(|hook| candidates[hook].clone().filter(|_| is_replaced(hook)));
        let replacement = Replacement {
            pipeline: state.active.pipeline.clone(),
            components,
            observed_file: state.observed.file.clone(),
            source: Source::Folder,
        };
        let published = self.replace(state, replacement).await;
        if published.is_ok() {
            self.record_history(Source::Folder, &published);
            hooks.iter().for_each(|hook| state.reported.components[*hook] = None);
        }
        published.map(|_| ())
    }

    fn finish_components(
        &self,
        state: &mut State,
        candidates: &PerHook<Option<ComponentBytes>>,
        hooks: &[Hook],
        replaced: Result<(), ChangeError>,
    ) -> Attempt {
        let Err(error) = replaced else { return Attempt::Final };
        if error.is_transient() {
            self.refuse(Source::Folder, error, &mut state.reported.components[hooks[0]]);
            return Attempt::Retry;
        }
        // The same bytes would fail again.
        for hook in hooks {
            state.observed.folder[*hook] = candidates[*hook].as_ref().map(|component| component.digest);
            state.reported.components[*hook] = None;
        }
        self.record_history(Source::Folder, &Err(error));
        Attempt::Final
    }

    async fn apply_pending_file(&self, state: &mut State) -> Attempt {
        let Some(file) = state.pending_file.clone() else { return Attempt::Final };
        let patch = state.observed.file.difference(&file);
        match self.patch(state, &patch, file, Source::File).await {
            Ok(number) => {
                state.pending_file = None;
                self.record_history(Source::File, &Ok(number));
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
        self.refuse(Source::File, error, &mut state.reported.file);
    }

    /// There is no caller to report the refusal to, so it is in the history and in the log.
    fn refuse(&self, source: Source, error: ChangeError, reported: &mut Option<String>) {
        let text = error.to_string();
        if reported.as_ref() != Some(&text) {
            self.record_history(source, &Err(error));
            *reported = Some(text);
        }
    }
}
