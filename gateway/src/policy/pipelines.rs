//! Changing the pipeline: resolve the components, load them, try them, record the generation, activate it. If a step
//! fails, nothing has changed.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use super::Options;
use super::component::ResolvedPipeline;
use super::digest::Digest;
use super::error::{ChangeError, StartError};
use super::folder::{Folder, ListedPolicy, UploadedPolicy};
use super::generation::Generation;
use super::history::{History, HistoryEntry, Source};
use super::records::{self, GenerationRecord, ObservedFiles, Recorded, RecordedPipeline, RollbackStack};
use super::spec::{Pipeline, PipelinePatch};
use super::tasks::{run_blocking, run_detached};
use crate::counters::PerHook;
use crate::coupon::GenerationNo;
use crate::ledger::{Ledger, LedgerError};
use crate::telemetry::{GenerationPublished, GenerationRefused, Telemetry};

/// The active generation, and the service that changes it.
pub struct Pipelines {
    loader: Loader,
    folder: Folder,
    ledger: Arc<dyn Ledger>,
    current: ArcSwap<Generation>,
    /// Locked by a change: changes are applied one after the other.
    state: Mutex<State>,
    history: History,
}

struct State {
    active: ResolvedPipeline,
    rollback: RollbackStack,
    observed: ObservedFiles,
    /// The last error in `sluice.toml`, so that it is logged once.
    file_error: Option<String>,
}

impl Pipelines {
    /// Continues with the pipeline that the ledger has recorded, and then applies what changed in `file` and in the
    /// folder since. The first start takes `file` as it is.
    ///
    /// # Errors
    /// When no pipeline can be loaded: which policy, and why.
    pub async fn start(
        options: &Options,
        file: Pipeline,
        ledger: Arc<dyn Ledger>,
        telemetry: &Telemetry,
    ) -> Result<Arc<Self>, StartError> {
        match Self::restore(options, file.clone(), Arc::clone(&ledger), telemetry).await {
            // Another process recorded the first generation at the same moment.
            Err(ChangeError::Conflict) => Ok(Self::restore(options, file, ledger, telemetry).await?),
            restored => Ok(restored?),
        }
    }

    async fn restore(
        options: &Options,
        file: Pipeline,
        ledger: Arc<dyn Ledger>,
        telemetry: &Telemetry,
    ) -> Result<Arc<Self>, ChangeError> {
        let loader = Loader { is_native: options.native, telemetry: telemetry.clone() };
        let folder = Folder::new(&options.dir);
        let Recorded { number, newest, rollback } = Recorded::read(&*ledger).await?;
        let restored = match newest {
            Some(GenerationRecord { pipeline, digests, observed, .. }) => {
                let resolved = RecordedPipeline { pipeline, digests }.resolve(&*ledger).await?;
                resolved.map(|active| (active, observed))
            }
            None => None,
        };
        let (generation, active, observed) = match restored {
            // It was tried when it was new, and has decided since.
            Some((active, observed)) => (loader.load(number, &active, Trial::Skip).await?, active, observed),
            None => {
                let (first, from_file) = (folder.clone(), file.clone());
                let active = run_blocking(move || first.resolve(from_file)).await?;
                let observed = ObservedFiles { file: file.clone(), folder: active.digests().map(Some) };
                let generation = loader.load(number + 1, &active, Trial::Run).await?;
                records::publish(&*ledger, number + 1, &active, &observed, Source::File).await?;
                (generation, active, observed)
            }
        };
        telemetry.emit(GenerationPublished(generation.number()));
        let this = Arc::new(Self {
            loader,
            folder,
            ledger,
            current: ArcSwap::from_pointee(generation),
            state: Mutex::new(State { active, rollback, observed, file_error: None }),
            history: History::default(),
        });
        this.apply_file_changes(Some(Ok(file))).await;
        Ok(this)
    }

    /// Checks whether a pipeline could be loaded, and changes nothing.
    ///
    /// # Errors
    /// Which policy cannot be loaded, and why.
    pub fn check(options: &Options, pipeline: &Pipeline) -> Result<(), StartError> {
        let resolved = Folder::new(&options.dir).resolve(pipeline.clone())?;
        Ok(Generation::load(0, &resolved, options.native, &Telemetry::new())?.run_trial()?)
    }

    /// The generation that decides.
    #[must_use]
    pub fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// The newest changes of this process, newest first, refused ones included.
    #[must_use]
    pub fn history(&self) -> Vec<HistoryEntry> {
        self.history.entries()
    }

    /// The components of the folder.
    ///
    /// # Errors
    /// When listing them panics.
    pub async fn list(&self) -> Result<Vec<ListedPolicy>, ChangeError> {
        self.folder.list().await
    }

    /// Adds a component to the folder if it is a policy. It decides only once a pipeline names it.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub async fn upload(&self, name: &str, bytes: Vec<u8>) -> Result<UploadedPolicy, ChangeError> {
        self.folder.upload(name, bytes).await
    }

    /// Replaces the hooks that the patch gives, with the components that are in the folder now. The other hooks keep
    /// their components, even if their files have changed or are gone.
    ///
    /// # Errors
    /// [`ChangeError`]; then nothing has changed.
    pub async fn change(self: &Arc<Self>, patch: PipelinePatch, source: Source) -> Result<GenerationNo, ChangeError> {
        let this = Arc::clone(self);
        run_detached(async move {
            let mut state = this.state.lock().await;
            this.patch(&mut state, &patch, source).await
        })
        .await
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
        state.observed.folder = self.folder.digests(&earlier.pipeline).await?;
        let number = self.publish(state, earlier, Source::Rollback).await?;
        state.rollback.pop();
        Ok(number)
    }

    /// Applies what changed in the files since they were last read. `file` is the pipeline in `sluice.toml`, or why
    /// the file cannot be read; `None` if there is no file.
    pub(super) async fn apply_file_changes(&self, file: Option<Result<Pipeline, String>>) {
        let mut state = self.state.lock().await;
        self.apply_changed_components(&mut state).await;
        match file {
            Some(Ok(file)) => self.apply_changed_file(&mut state, file).await,
            Some(Err(error)) => self.record_file_error(&mut state, error),
            None => {}
        }
    }

    async fn apply_changed_components(&self, state: &mut State) {
        let digests = match self.folder.digests(&state.active.pipeline).await {
            Ok(digests) => digests,
            Err(error) => return self.record_history(Source::Folder, &Err(error)),
        };
        // A component that was removed, or that decides already, is no reason to change.
        let is_changed = PerHook::from_fn(|hook| {
            let digest = digests[hook];
            digest != state.observed.folder[hook]
                && digest.is_some_and(|digest| digest != state.active.components[hook].digest)
        });
        state.observed.folder = digests;
        if is_changed.iter().any(|(_, is_changed)| *is_changed) {
            let pipeline = state.active.pipeline.clone();
            let published = self.replace_hooks(state, pipeline, is_changed, Source::Folder).await;
            self.record_history(Source::Folder, &published);
        }
    }

    async fn apply_changed_file(&self, state: &mut State, file: Pipeline) {
        state.file_error = None;
        if file != state.observed.file {
            let patch = state.observed.file.difference(&file);
            state.observed.file = file;
            // A refusal is in the history; there is no caller to report it to.
            let _ = self.patch(state, &patch, Source::File).await;
        }
    }

    fn record_file_error(&self, state: &mut State, error: String) {
        if state.file_error.as_ref() != Some(&error) {
            self.record_history(Source::File, &Err(ChangeError::File(error.clone())));
            state.file_error = Some(error);
        }
    }

    async fn patch(
        &self,
        state: &mut State,
        patch: &PipelinePatch,
        source: Source,
    ) -> Result<GenerationNo, ChangeError> {
        let pipeline = state.active.pipeline.patched(patch);
        let published = self.replace_hooks(state, pipeline, patch.as_ref().map(Option::is_some), source).await;
        self.record_history(source, &published);
        published
    }

    /// Publishes a pipeline in which some hooks are replaced. They get the components that are in the folder now; the
    /// others keep theirs.
    async fn replace_hooks(
        &self,
        state: &mut State,
        pipeline: Pipeline,
        is_replaced: PerHook<bool>,
        source: Source,
    ) -> Result<GenerationNo, ChangeError> {
        pipeline.check().map_err(ChangeError::Pipeline)?;
        let (folder, kept, policies) =
            (self.folder.clone(), state.active.components.clone(), pipeline.hooks().map(|spec| spec.policy.clone()));
        let components =
            run_blocking(move || {
                PerHook::try_from_fn(|hook| {
                    if is_replaced[hook] { folder.read(&policies[hook]) } else { Ok(kept[hook].clone()) }
                })
            })
            .await?;
        for (hook, _) in is_replaced.iter().filter(|(_, is_replaced)| **is_replaced) {
            state.observed.folder[hook] = Some(components[hook].digest);
        }
        let replaced = RecordedPipeline::of(&state.active);
        let number = self.publish(state, ResolvedPipeline { pipeline, components }, source).await?;
        state.rollback.push(replaced);
        Ok(number)
    }

    async fn publish(
        &self,
        state: &mut State,
        resolved: ResolvedPipeline,
        source: Source,
    ) -> Result<GenerationNo, ChangeError> {
        let number = self.current.load().number() + 1;
        let generation = self.loader.load(number, &resolved, Trial::Run).await?;
        records::publish(&*self.ledger, number, &resolved, &state.observed, source).await?;
        self.activate(generation);
        state.active = resolved;
        tracing::info!(generation = number, ?source, "pipeline changed");
        Ok(number)
    }

    /// Activates the pipeline that another process recorded, if there is a newer one.
    ///
    /// # Errors
    /// When the ledger cannot be read. A pipeline that cannot be loaded here is logged, and the active one still
    /// decides.
    pub async fn catch_up(&self) -> Result<(), LedgerError> {
        // Reading one row is cheap; the records and components are read only if it is new.
        let newest = self.ledger.generations(1).await?;
        if newest.first().is_none_or(|row| row.number <= self.current.load().number()) {
            return Ok(());
        }
        let mut state = self.state.lock().await;
        let Recorded { number, newest, rollback } = Recorded::read(&*self.ledger).await?;
        // A change of this process may have finished while the lock was awaited.
        if number <= self.current.load().number() {
            return Ok(());
        }
        match self.load_recorded(number, newest).await {
            Ok((generation, active, folder)) => {
                state.observed.folder = folder;
                (state.active, state.rollback) = (active, rollback);
                self.activate(generation);
                tracing::info!(generation = number, "pipeline changed by another process");
            }
            Err(error) => tracing::error!(generation = number, %error, "pipeline of another process not loaded"),
        }
        Ok(())
    }

    async fn load_recorded(
        &self,
        number: GenerationNo,
        newest: Option<GenerationRecord>,
    ) -> Result<(Generation, ResolvedPipeline, PerHook<Option<Digest>>), ChangeError> {
        let GenerationRecord { pipeline, digests, .. } = newest.ok_or(ChangeError::IncompleteRecord)?;
        let resolved = RecordedPipeline { pipeline, digests }.resolve(&*self.ledger).await?;
        let resolved = resolved.ok_or(ChangeError::IncompleteRecord)?;
        // The folder is this machine's own, so what the other process observed does not hold here.
        let folder = self.folder.digests(&resolved.pipeline).await?;
        Ok((self.loader.load(number, &resolved, Trial::Skip).await?, resolved, folder))
    }

    fn activate(&self, generation: Generation) {
        self.loader.telemetry.emit(GenerationPublished(generation.number()));
        let old = self.current.swap(Arc::new(generation));
        // Unmapping instances takes a while; requests do not wait for it.
        tokio::task::spawn_blocking(move || drop(old));
    }

    fn record_history(&self, source: Source, published: &Result<GenerationNo, ChangeError>) {
        if let Err(error) = published {
            self.loader.telemetry.emit(GenerationRefused);
            tracing::error!(?source, %error, "pipeline change refused");
        }
        self.history.record(source, published);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trial {
    Run,
    Skip,
}

/// Loads generations.
struct Loader {
    is_native: bool,
    telemetry: Telemetry,
}

impl Loader {
    async fn load(
        &self,
        number: GenerationNo,
        resolved: &ResolvedPipeline,
        trial: Trial,
    ) -> Result<Generation, ChangeError> {
        let (resolved, is_native, telemetry) = (resolved.clone(), self.is_native, self.telemetry.clone());
        run_blocking(move || {
            let generation = Generation::load(number, &resolved, is_native, &telemetry)?;
            if trial == Trial::Run {
                generation.run_trial()?;
            }
            Ok(generation)
        })
        .await
    }
}
