//! The first generation of a process: the newest recorded one that loads, otherwise the one that `sluice.toml` names.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::applied_file::AppliedFile;
use super::author::Author;
use super::component::ResolvedPipeline;
use super::error::{ChangeError, NotLoaded, StartError};
use super::folder::Folder;
use super::folder_state::{FolderState, RecordedFiles};
use super::generation::Generation;
use super::history::History;
use super::loader::{Loader, Trial};
use super::options::Options;
use super::pipelines::{IsOver, Pipelines};
use super::records::{self, ObservedFiles, Recorded, RecordedGeneration};
use super::registry::Registry;
use super::spec::Pipeline;
use super::state::State;
use crate::counters::PerHook;
use crate::ledger::Ledger;
use crate::telemetry::Telemetry;

impl Pipelines {
    /// Continues with the newest pipeline in the ledger that can be loaded, and then applies what changed in `file` and
    /// in the folder since this machine applied them. If none can be loaded, as on the first start, takes `file` as it
    /// is. After `stop`, nothing is compiled any more.
    ///
    /// Also loads the newest pipelines of the coupons, except of those whose campaign `is_over`.
    ///
    /// # Errors
    /// When no pipeline can be loaded: which policy, and why.
    pub async fn start(
        options: &Options,
        file: Pipeline,
        ledger: Arc<dyn Ledger>,
        is_over: IsOver,
        telemetry: &Telemetry,
        stop: &CancellationToken,
    ) -> Result<Arc<Self>, StartError> {
        let loader = || Loader::new(options, telemetry, stop.clone());
        match Self::restore(options, file.clone(), Arc::clone(&ledger), Arc::clone(&is_over), loader()).await {
            // Another process recorded the first generation at the same moment.
            Err(ChangeError::Conflict) => Ok(Self::restore(options, file, ledger, is_over, loader()).await?),
            restored => Ok(restored?),
        }
    }

    async fn restore(
        options: &Options,
        file: Pipeline,
        ledger: Arc<dyn Ledger>,
        is_over: IsOver,
        loader: Loader,
    ) -> Result<Arc<Self>, ChangeError> {
        let registry = Registry::new(Arc::clone(&ledger), Folder::new(options), options.trusted_keys.clone());
        let applied_file = AppliedFile::new(options.applied_file.clone());
        let recorded = Recorded::read(&*ledger).await?;
        let history = History::default();
        history.learn(recorded.history());
        let (first, not_loaded) = load_newest(&recorded, &*ledger, &loader).await?;
        let first = match first {
            Some(first) => first,
            None => {
                let first = publish_file(&recorded, file.clone(), &registry, &loader).await?;
                history.record(&Author::FILE, &Ok(first.generation.number()));
                first
            }
        };
        let observed_file = match applied_file.read(recorded.number).await {
            Some(applied) => applied,
            // The first start of this machine on the ledger.
            None => {
                applied_file.store(&first.observed_file, first.generation.number()).await;
                first.observed_file
            }
        };
        let state = State::new(first.active, recorded.rollback, observed_file, first.folder);
        let this = Arc::new(Self::new(loader, registry, applied_file, is_over, first.generation, state, history));
        if let Some(not_loaded) = not_loaded.filter(|not_loaded| not_loaded.generation > this.current().number()) {
            this.set_not_loaded(not_loaded);
        }
        this.load_newest().await?;
        this.apply_file_changes(Some(Ok(file))).await;
        Ok(this)
    }
}

/// What a process starts with.
struct First {
    generation: Generation,
    active: ResolvedPipeline,
    observed_file: Pipeline,
    folder: FolderState,
}

/// The newest recorded generation that loads, and why the newest one of all does not.
async fn load_newest(
    recorded: &Recorded,
    ledger: &dyn Ledger,
    loader: &Loader,
) -> Result<(Option<First>, Option<NotLoaded>), ChangeError> {
    let mut not_loaded = recorded.unreadable();
    for candidate in &recorded.newest_first {
        match load(candidate, ledger, loader).await {
            Ok(first) => return Ok((Some(first), not_loaded)),
            // Without the ledger, nothing is known.
            Err(error @ ChangeError::Ledger(_)) => return Err(error),
            Err(error) => {
                let generation = candidate.number;
                tracing::error!(generation, %error, "recorded generation not loaded; the one before it is tried");
                not_loaded.get_or_insert(NotLoaded { generation, error: error.to_string() });
            }
        }
    }
    Ok((None, not_loaded))
}

async fn load(candidate: &RecordedGeneration, ledger: &dyn Ledger, loader: &Loader) -> Result<First, ChangeError> {
    let active = candidate.pipeline().resolve(ledger).await?.ok_or(ChangeError::IncompleteRecord)?;
    let generation = loader.load(candidate.number, &active, Trial::Skip).await?;
    let ObservedFiles { file, folder } = candidate.record.observed.clone();
    let folder = FolderState::new(RecordedFiles::new(&active.pipeline, folder, !ledger.is_shared()));
    Ok(First { generation, active, observed_file: file, folder })
}

async fn publish_file(
    recorded: &Recorded,
    file: Pipeline,
    registry: &Registry,
    loader: &Loader,
) -> Result<First, ChangeError> {
    let number = records::newest(&*registry.ledger, recorded.number).await? + 1;
    let mut folder = FolderState::default();
    let mut resolve = async |policy| registry.resolve(&mut folder, policy).await;
    let PerHook { rate_shaper, user_limit, shard_picker } = file.hooks().map(|spec| &*spec.policy);
    let components = PerHook {
        rate_shaper: resolve(rate_shaper).await?,
        user_limit: resolve(user_limit).await?,
        shard_picker: resolve(shard_picker).await?,
    };
    let active = ResolvedPipeline { pipeline: file.clone(), components };
    let generation = loader.load(number, &active, Trial::Run).await?;
    let observed = ObservedFiles { folder: folder.digests(&file), file: file.clone() };
    records::publish(&*registry.ledger, number, &active, observed, &Author::FILE).await?;
    Ok(First { generation, active, observed_file: file, folder })
}
