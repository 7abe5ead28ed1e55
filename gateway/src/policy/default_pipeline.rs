//! Changes of the default pipeline, on top of the newest one in the ledger.

use super::author::Author;
use super::component::ResolvedPipeline;
use super::error::{ChangeError, NotLoaded};
use super::generation::Generation;
use super::loader::Trial;
use super::pipelines::{ATTEMPTS_MAX, Pipelines};
use super::records::{self, RecordedPipeline};
use super::scope::Scope;
use super::spec::{Pipeline, PipelinePatch};
use super::state::{Replacement, State};
use crate::counters::PerHook;
use crate::coupon::GenerationNo;
use crate::telemetry::{GenerationNotLoaded, GenerationPublished};

impl Pipelines {
    pub(super) async fn publish_earlier(
        &self,
        state: &mut State,
        author: &Author,
    ) -> Result<GenerationNo, ChangeError> {
        let earlier = state.rollback.last().cloned().ok_or(ChangeError::NoEarlierPipeline)?;
        let earlier = earlier.resolve(&*self.ledger).await?.ok_or(ChangeError::NoEarlierPipeline)?;
        let file = state.newest_file();
        let number = self.publish(state, earlier, file, author).await?;
        state.rollback.pop();
        // The rollback is newer than a file that could not be applied so far.
        state.folder.pending.clear();
        Ok(number)
    }

    /// Patches the newest pipeline, whichever process published it.
    pub(super) async fn patch(
        &self,
        state: &mut State,
        patch: &PipelinePatch,
        observed_file: Pipeline,
        author: &Author,
    ) -> Result<GenerationNo, ChangeError> {
        let mut more_attempts = 1..ATTEMPTS_MAX;
        loop {
            match self.patch_active(state, patch, observed_file.clone(), author).await {
                Err(ChangeError::Conflict) if more_attempts.next().is_some() => self.catch_up(state).await?,
                patched => return patched,
            }
        }
    }

    async fn patch_active(
        &self,
        state: &mut State,
        patch: &PipelinePatch,
        observed_file: Pipeline,
        author: &Author,
    ) -> Result<GenerationNo, ChangeError> {
        let pipeline = state.active.pipeline.patched(patch);
        pipeline.check().map_err(ChangeError::Pipeline)?;
        let components = self.resolve_changed(&mut state.folder, patch).await?;
        self.replace(state, Replacement { pipeline, components, observed_file, author: author.clone() }).await
    }

    pub(super) async fn replace(&self, state: &mut State, new: Replacement) -> Result<GenerationNo, ChangeError> {
        let kept = &state.active.components;
        let components = PerHook::from_fn(|hook| new.components[hook].as_ref().unwrap_or(&kept[hook]).clone());
        let replaced = RecordedPipeline::of(&state.active);
        let resolved = ResolvedPipeline { pipeline: new.pipeline, components };
        if self.not_loaded(Scope::Default).is_none() && state.is_active(&resolved) {
            // Against the newest generation, it might be a change.
            if self.is_behind().await? {
                return Err(ChangeError::Conflict);
            }
            self.observe(state, new.observed_file).await;
            return Ok(self.current().number());
        }
        let number = self.publish(state, resolved, new.observed_file, &new.author).await?;
        state.rollback.push(replaced);
        Ok(number)
    }

    async fn publish(
        &self,
        state: &mut State,
        resolved: ResolvedPipeline,
        observed_file: Pipeline,
        author: &Author,
    ) -> Result<GenerationNo, ChangeError> {
        let is_changed = |hook| {
            state.active.pipeline.hook(hook) != resolved.pipeline.hook(hook)
                || state.active.components[hook].digest != resolved.components[hook].digest
        };
        self.check_held(Scope::Default, PerHook::from_fn(is_changed), author.source)?;
        let number = self.newest() + 1;
        let generation = self.loader.load(number, &resolved, Trial::Run).await?;
        let observed = state.observed(observed_file.clone(), &resolved.pipeline);
        records::publish(&*self.ledger, number, &resolved, observed, author).await?;
        self.note_newest(number);
        self.activate(generation);
        let changed = state.active.changes_to(&resolved);
        state.active = resolved;
        self.observe(state, observed_file).await;
        let Author { source, who, rollout } = author;
        tracing::info!(generation = number, ?source, who, rollout, changed, "pipeline changed");
        Ok(number)
    }

    /// From now on, only a difference from this file is a change of it.
    async fn observe(&self, state: &mut State, file: Pipeline) {
        if file != state.observed_file {
            self.applied_file.store(&file, self.current().number()).await;
        }
        state.observe(file);
    }

    pub(super) fn activate(&self, generation: Generation) {
        self.loader.telemetry.emit(GenerationPublished(generation.number()));
        self.update(|generations| generations.set_default(generation));
    }

    pub(super) fn set_not_loaded(&self, not_loaded: NotLoaded) {
        self.loader.telemetry.emit(GenerationNotLoaded(not_loaded.generation));
        self.update(|generations| generations.set_not_loaded(Scope::Default, not_loaded));
    }
}
