//! Changing the pipeline: resolve the components, load them, try them, record the generation, activate it. If a step
//! fails, nothing has changed.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::Mutex;

use super::applied_file::AppliedFile;
use super::component::{ComponentBytes, ResolvedPipeline};
use super::error::{ChangeError, NotLoaded};
use super::folder_state::FolderState;
use super::generation::Generation;
use super::history::{History, HistoryEntry, Source};
use super::loader::{Loader, Trial};
use super::records::{self, RecordedPipeline};
use super::registry::{ListedPolicy, Registry, UploadedPolicy};
use super::spec::{Pipeline, PipelinePatch};
use super::state::{Replacement, State};
use super::tasks::run_detached;
use crate::counters::PerHook;
use crate::coupon::GenerationNo;
use crate::ledger::Ledger;
use crate::telemetry::{GenerationNotLoaded, GenerationPublished, GenerationRefused};

/// A change is made on top of the newest generation. Another process may publish one at the same moment, again and again.
pub(super) const ATTEMPTS_MAX: usize = 10;

/// The active generation, and the service that changes it.
pub struct Pipelines {
    pub(super) loader: Loader,
    pub(super) registry: Registry,
    pub(super) ledger: Arc<dyn Ledger>,
    applied_file: AppliedFile,
    current: ArcSwap<Generation>,
    /// The newest generation in the ledger, while it cannot be loaded.
    not_loaded: ArcSwapOption<NotLoaded>,
    /// Locked by a change: changes are applied one after the other.
    pub(super) state: Mutex<State>,
    pub(super) history: History,
}

impl Pipelines {
    pub(super) fn new(
        loader: Loader,
        registry: Registry,
        ledger: Arc<dyn Ledger>,
        applied_file: AppliedFile,
        first: Generation,
        state: State,
        history: History,
    ) -> Self {
        loader.telemetry.emit(GenerationPublished(first.number()));
        Self {
            loader,
            registry,
            ledger,
            applied_file,
            current: ArcSwap::from_pointee(first),
            not_loaded: ArcSwapOption::empty(),
            state: Mutex::new(state),
            history,
        }
    }

    /// The generation that decides.
    #[must_use]
    pub fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// The newest generation in the ledger and why it cannot be loaded, if the active one is older.
    #[must_use]
    pub fn not_loaded(&self) -> Option<Arc<NotLoaded>> {
        self.not_loaded.load_full()
    }

    /// The newest changes, newest first, and those that this process refused.
    #[must_use]
    pub fn history(&self) -> Vec<HistoryEntry> {
        self.history.entries()
    }

    /// The versions of all policies, newest first, and the files of this machine's folder that are no policies.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn list(&self) -> Result<Vec<ListedPolicy>, ChangeError> {
        self.registry.list().await
    }

    /// Registers a component as the newest version of a policy, for all gateways on the ledger. It decides only once a
    /// pipeline names it.
    ///
    /// # Errors
    /// Why it is no policy.
    pub async fn upload(&self, name: &str, bytes: Vec<u8>) -> Result<UploadedPolicy, ChangeError> {
        self.registry.upload(name, bytes).await
    }

    /// Changes the hooks that the patch gives. A hook whose policy it names gets the newest version of that policy. All
    /// others keep their components, even if there are newer ones. If nothing differs from the active pipeline, the
    /// answer is its number.
    ///
    /// # Errors
    /// [`ChangeError`]; then nothing has changed.
    pub async fn change(self: &Arc<Self>, patch: PipelinePatch, source: Source) -> Result<GenerationNo, ChangeError> {
        // Compiling takes long and changes nothing. So it ends when the client disconnects, and holds up no other change.
        let compiled = self.compile_changed(&patch).await;
        let this = Arc::clone(self);
        run_detached(async move {
            let mut state = this.state.lock().await;
            let file = state.newest_file();
            let before = this.current().number();
            let published = match compiled {
                Ok(()) => this.patch(&mut state, &patch, file, source).await,
                Err(error) => Err(error),
            };
            if !matches!(published, Ok(number) if number == before) {
                this.record_history(source, &published);
            }
            published
        })
        .await
    }

    /// Compiles what the change will load.
    async fn compile_changed(&self, patch: &PipelinePatch) -> Result<(), ChangeError> {
        let pipeline = self.current().pipeline().patched(patch);
        pipeline.check().map_err(ChangeError::Pipeline)?;
        let components = self.resolve_changed(&mut self.state.lock().await.folder, patch).await?;
        for (hook, component) in components.iter() {
            if let Some(component) = component {
                self.loader.host.compile(component).await.map_err(ChangeError::load(hook))?;
            }
        }
        Ok(())
    }

    /// The newest version of each policy that the patch names.
    async fn resolve_changed(
        &self,
        folder: &mut FolderState,
        patch: &PipelinePatch,
    ) -> Result<PerHook<Option<ComponentBytes>>, ChangeError> {
        let mut components = PerHook::default();
        for (hook, patch) in patch.iter() {
            if let Some(policy) = patch.as_ref().and_then(|patch| patch.policy.as_ref()) {
                components[hook] = Some(self.registry.resolve(folder, policy).await?);
            }
        }
        Ok(components)
    }

    /// Returns to the pipeline before the active one, with the components it had. Another rollback goes further back.
    ///
    /// # Errors
    /// [`ChangeError::NoEarlierPipeline`] when none is recorded.
    pub async fn rollback(self: &Arc<Self>) -> Result<GenerationNo, ChangeError> {
        let this = Arc::clone(self);
        run_detached(async move {
            let mut state = this.state.lock().await;
            let published = this.publish_earlier(&mut state).await;
            this.record_history(Source::Rollback, &published);
            published
        })
        .await
    }

    async fn publish_earlier(&self, state: &mut State) -> Result<GenerationNo, ChangeError> {
        let earlier = state.rollback.last().cloned().ok_or(ChangeError::NoEarlierPipeline)?;
        let earlier = earlier.resolve(&*self.ledger).await?.ok_or(ChangeError::NoEarlierPipeline)?;
        let file = state.newest_file();
        let number = self.publish(state, earlier, file, Source::Rollback).await?;
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
        source: Source,
    ) -> Result<GenerationNo, ChangeError> {
        let mut more_attempts = 1..ATTEMPTS_MAX;
        loop {
            match self.patch_active(state, patch, observed_file.clone(), source).await {
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
        source: Source,
    ) -> Result<GenerationNo, ChangeError> {
        let pipeline = state.active.pipeline.patched(patch);
        pipeline.check().map_err(ChangeError::Pipeline)?;
        let components = self.resolve_changed(&mut state.folder, patch).await?;
        self.replace(state, Replacement { pipeline, components, observed_file, source }).await
    }

    pub(super) async fn replace(&self, state: &mut State, new: Replacement) -> Result<GenerationNo, ChangeError> {
        let kept = &state.active.components;
        let components = PerHook::from_fn(|hook| new.components[hook].as_ref().unwrap_or(&kept[hook]).clone());
        let replaced = RecordedPipeline::of(&state.active);
        let resolved = ResolvedPipeline { pipeline: new.pipeline, components };
        if self.not_loaded().is_none() && state.is_active(&resolved) {
            // Against the newest generation, it might be a change.
            if self.is_behind().await? {
                return Err(ChangeError::Conflict);
            }
            self.observe(state, new.observed_file).await;
            return Ok(self.current().number());
        }
        let number = self.publish(state, resolved, new.observed_file, new.source).await?;
        state.rollback.push(replaced);
        Ok(number)
    }

    async fn publish(
        &self,
        state: &mut State,
        resolved: ResolvedPipeline,
        observed_file: Pipeline,
        source: Source,
    ) -> Result<GenerationNo, ChangeError> {
        let number = self.newest() + 1;
        let generation = self.loader.load(number, &resolved, Trial::Run, Some(self.current())).await?;
        let observed = state.observed(observed_file.clone(), &resolved.pipeline);
        records::publish(&*self.ledger, number, &resolved, observed, source).await?;
        self.activate(generation);
        let changed = state.active.changes_to(&resolved);
        state.active = resolved;
        self.observe(state, observed_file).await;
        tracing::info!(generation = number, ?source, changed, "pipeline changed");
        Ok(number)
    }

    /// From now on, only a difference from this file is a change of it.
    async fn observe(&self, state: &mut State, file: Pipeline) {
        if file != state.observed_file {
            self.applied_file.store(&file, self.current().number()).await;
        }
        state.observe(file);
    }

    /// The newest generation in the ledger, as far as this process knows.
    pub(super) fn newest(&self) -> GenerationNo {
        self.not_loaded().map_or_else(|| self.current.load().number(), |not_loaded| not_loaded.generation)
    }

    pub(super) fn set_not_loaded(&self, not_loaded: NotLoaded) {
        self.loader.telemetry.emit(GenerationNotLoaded(not_loaded.generation));
        self.not_loaded.store(Some(Arc::new(not_loaded)));
    }

    pub(super) fn activate(&self, generation: Generation) {
        self.loader.telemetry.emit(GenerationPublished(generation.number()));
        let old = self.current.swap(Arc::new(generation));
        self.not_loaded.store(None);
        // Unmapping instances takes a while; requests do not wait for it.
        tokio::task::spawn_blocking(move || drop(old));
    }

    pub(super) fn record_history(&self, source: Source, published: &Result<GenerationNo, ChangeError>) {
        if let Err(error) = published {
            self.loader.telemetry.emit(GenerationRefused);
            tracing::error!(?source, %error, "pipeline change refused");
        }
        self.history.record(source, published);
    }
}
