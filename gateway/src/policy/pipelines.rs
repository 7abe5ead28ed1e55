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
use super::records::{self, GenerationRecord, ObservedFiles, Recorded, RecordedPipeline};
use super::spec::{Pipeline, PipelinePatch};
use super::state::{Replacement, State};
use super::tasks::{run_blocking, run_detached};
use crate::counters::PerHook;
use crate::coupon::GenerationNo;
use crate::ledger::{Ledger, LedgerError};
use crate::telemetry::{GenerationPublished, GenerationRefused, Telemetry};

/// The active generation, and the service that changes it.
pub struct Pipelines {
    loader: Loader,
    pub(super) folder: Folder,
    ledger: Arc<dyn Ledger>,
    current: ArcSwap<Generation>,
    /// Locked by a change: changes are applied one after the other.
    pub(super) state: Mutex<State>,
    history: History,
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
            state: Mutex::new(State::new(active, rollback, observed)),
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
            let file = state.newest_file();
            let published = this.patch(&mut state, &patch, file, source).await;
            this.record_history(source, &published);
            published
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
        let folder = self.folder.digests(&earlier.pipeline).await?;
        let observed = ObservedFiles { file: state.newest_file(), folder };
        let number = self.publish(state, earlier, observed, Source::Rollback).await?;
        state.rollback.pop();
        Ok(number)
    }

    /// Replaces the hooks that the patch gives, with the components that are in the folder now.
    pub(super) async fn patch(
        &self,
        state: &mut State,
        patch: &PipelinePatch,
        observed_file: Pipeline,
        source: Source,
    ) -> Result<GenerationNo, ChangeError> {
        let pipeline = state.active.pipeline.patched(patch);
        pipeline.check().map_err(ChangeError::Pipeline)?;
        let policy = |hook| patch[hook].as_ref().map(|_| pipeline.hook(hook).policy.clone());
        let (folder, policies) = (self.folder.clone(), PerHook::from_fn(policy));
        let read = move |hook| policies[hook].as_ref().map(|policy| folder.read(policy)).transpose();
        let components = run_blocking(move || PerHook::try_from_fn(read)).await?;
        self.replace(state, Replacement { pipeline, components, observed_file, source }).await
    }

    pub(super) async fn replace(&self, state: &mut State, new: Replacement) -> Result<GenerationNo, ChangeError> {
        let digest = |hook| new.components[hook].as_ref().map(|component| component.digest);
        let folder = PerHook::from_fn(|hook| digest(hook).or(state.observed.folder[hook]));
        let kept = &state.active.components;
        let components = PerHook::from_fn(|hook| new.components[hook].as_ref().unwrap_or(&kept[hook]).clone());
        let replaced = RecordedPipeline::of(&state.active);
        let resolved = ResolvedPipeline { pipeline: new.pipeline, components };
        let observed = ObservedFiles { file: new.observed_file, folder };
        let number = self.publish(state, resolved, observed, new.source).await?;
        state.rollback.push(replaced);
        Ok(number)
    }

    async fn publish(
        &self,
        state: &mut State,
        resolved: ResolvedPipeline,
        observed: ObservedFiles,
        source: Source,
    ) -> Result<GenerationNo, ChangeError> {
        let number = self.current.load().number() + 1;
        let generation = self.loader.load(number, &resolved, Trial::Run).await?;
        records::publish(&*self.ledger, number, &resolved, &observed, source).await?;
        self.activate(generation);
        let changed = state.active.changes_to(&resolved);
        state.activate(resolved, observed);
        tracing::info!(generation = number, ?source, changed, "pipeline changed");
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
                let changed = state.active.changes_to(&active);
                (state.active, state.rollback) = (active, rollback);
                self.activate(generation);
                tracing::info!(generation = number, changed, "pipeline changed by another process");
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

    pub(super) fn record_history(&self, source: Source, published: &Result<GenerationNo, ChangeError>) {
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
