//! Changing what decides: load, check, try, record, publish. If a step fails, nothing changed.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::guest::{LoadError, digest, inspect};
use super::{Generation, Options, Pipeline, PipelinePatch};
use crate::counters::Hook;
use crate::coupon::{GenerationNo, now_ms};
use crate::ledger::{GenerationRow, Ledger, LedgerError};
use crate::telemetry::{GenerationPublished, GenerationRefused, Telemetry};

/// Changes that `GET /admin/pipeline` remembers, and that a rollback can undo.
const HISTORY_MAX: u32 = 20;

/// Which way a change came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// `sluice.toml`.
    File,
    /// A component of the folder.
    Folder,
    /// The admin API.
    Admin,
    /// A rollback.
    Rollback,
}

/// Why a change was refused; the generation before it goes on deciding.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The pipeline itself.
    #[error("{0}")]
    Pipeline(String),
    /// A component is not there.
    #[error("read the policy {}: {source}; `policies/build` makes the policies", path.display())]
    Read {
        /// Where it was looked for.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// `sluice.toml` cannot be read.
    #[error("{0}")]
    File(String),
    /// A component cannot be used.
    #[error("{}: {error}", hook.as_str())]
    Load {
        /// In which hook.
        hook: Hook,
        /// Why.
        error: LoadError,
    },
    /// An upload cannot be used.
    #[error(transparent)]
    Upload(#[from] LoadError),
    /// There is no other pipeline to go back to.
    #[error("there is no pipeline before this one")]
    NothingBefore,
    /// It could not be recorded.
    #[error("record the generation: {0}")]
    Ledger(#[from] LedgerError),
    /// Somebody else published at the same moment.
    #[error("another change was faster; look at the pipeline and try again")]
    Raced,
}

/// Why the first generation could not be made.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StartError(#[from] ChangeError);

/// What is recorded with a generation.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct GenerationRecord {
    pipeline: Pipeline,
    digests: [String; 3],
    seen: ObservedFiles,
    source: Source,
}

/// What the files said when they were last looked at: only what changed since then is a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ObservedFiles {
    /// The pipeline of `sluice.toml`.
    file: Pipeline,
    /// The digest of each hook's component in the folder; empty where there was none.
    folder: [String; 3],
}

/// A pipeline with the bytes it is made of.
#[derive(Clone)]
struct ResolvedPipeline {
    pipeline: Pipeline,
    components: [(String, Arc<[u8]>); 3],
}

impl ResolvedPipeline {
    fn digests(&self) -> [String; 3] {
        self.components.clone().map(|(digest, _)| digest)
    }
}

/// The pipelines of this gateway: the one in force, and the way to another.
pub struct Pipelines {
    options: Options,
    ledger: Arc<dyn Ledger>,
    telemetry: Telemetry,
    current: ArcSwap<Generation>,
    /// Held by whoever changes: changes come one after the other.
    changing: Mutex<State>,
    history: std::sync::Mutex<VecDeque<Value>>,
}

struct State {
    whole: ResolvedPipeline,
    /// The pipelines to go back to, the newest last.
    before: Vec<(Pipeline, [String; 3])>,
    seen: ObservedFiles,
    /// What was last wrong with `sluice.toml`, so that it is said once.
    file_error: Option<String>,
}

impl Pipelines {
    /// Continues the pipeline that the ledger has recorded, and then applies what changed in `file` and
    /// in the folder since. A first start takes `file` as it is.
    ///
    /// # Errors
    /// When no pipeline can be loaded, and says which policy and why.
    pub async fn start(
        options: &Options,
        file: Pipeline,
        ledger: Arc<dyn Ledger>,
        telemetry: &Telemetry,
    ) -> Result<Arc<Self>, StartError> {
        match Self::begin(options, file.clone(), Arc::clone(&ledger), telemetry).await {
            // Another process recorded the first generation at the same moment.
            Err(ChangeError::Raced) => Ok(Self::begin(options, file, ledger, telemetry).await?),
            begun => Ok(begun?),
        }
    }

    async fn begin(
        options: &Options,
        file: Pipeline,
        ledger: Arc<dyn Ledger>,
        telemetry: &Telemetry,
    ) -> Result<Arc<Self>, ChangeError> {
        let rows = ledger.generations(HISTORY_MAX).await?;
        let documents =
            rows.iter().rev().filter_map(|row| serde_json::from_str::<GenerationRecord>(&row.pipeline).ok());
        let (before, recorded) = unwind(documents);
        let recorded = match recorded {
            Some(document) => recall(&*ledger, document.pipeline.clone(), &document.digests)
                .await?
                .map(|whole| (whole, document.seen)),
            None => None,
        };
        let number = rows.first().map_or(0, |row| row.number);
        let (number, whole, seen, is_new) = match recorded {
            Some((whole, seen)) => (number, whole, seen, false),
            None => {
                let whole = read(options, file.clone()).await?;
                let folder = whole.digests();
                (number + 1, whole, ObservedFiles { file: file.clone(), folder }, true)
            }
        };
        // One that is recorded was tried when it was new, and has decided since.
        let generation = build(number, &whole, is_new, telemetry).await?;
        if is_new {
            record(&*ledger, number, &whole, &seen, Source::File).await?;
        }
        telemetry.emit(GenerationPublished(number));
        let this = Arc::new(Self {
            options: options.clone(),
            ledger,
            telemetry: telemetry.clone(),
            current: ArcSwap::from_pointee(generation),
            changing: Mutex::new(State { whole, before, seen, file_error: None }),
            history: std::sync::Mutex::default(),
        });
        this.look(Some(Ok(file))).await;
        Ok(this)
    }

    /// Looks whether a pipeline could be loaded, and changes nothing.
    ///
    /// # Errors
    /// Which policy cannot be loaded, and why.
    pub fn check(options: &Options, pipeline: &Pipeline) -> Result<(), StartError> {
        let mut components = Vec::with_capacity(3);
        for hook in Hook::ALL {
            let path = options.path_of(&pipeline.hook(hook).policy);
            components.push(std::fs::read(&path).map_err(|source| ChangeError::Read { path, source })?);
        }
        let [shaper, limiter, picker] = &components[..] else { unreachable!("one a hook") };
        Generation::load(0, pipeline.clone(), [shaper, limiter, picker], &Telemetry::new())
            .and_then(|generation| generation.try_out())
            .map_err(|(hook, error)| ChangeError::Load { hook, error }.into())
    }

    /// The generation that decides.
    #[must_use]
    pub fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// Replaces the hooks that the patch gives, with the components that lie in the folder now. The
    /// other hooks keep the components they have, whatever became of their files.
    ///
    /// # Errors
    /// [`ChangeError`]; then nothing changed.
    pub async fn change(self: &Arc<Self>, patch: PipelinePatch, source: Source) -> Result<GenerationNo, ChangeError> {
        let pipelines = Arc::clone(self);
        to_the_end(async move { pipelines.apply(patch, source).await }).await
    }

    async fn apply(&self, patch: PipelinePatch, source: Source) -> Result<GenerationNo, ChangeError> {
        let mut state = self.changing.lock().await;
        let pipeline = state.whole.pipeline.clone().patched(patch.clone());
        let published = self.replace(&mut state, pipeline, patch.given(), source).await;
        self.note(source, &published);
        published
    }

    /// Goes back to the pipeline before this one, with the components it had. Going back again goes
    /// further back.
    ///
    /// # Errors
    /// [`ChangeError::NothingBefore`] when none is recorded.
    pub async fn rollback(self: &Arc<Self>) -> Result<GenerationNo, ChangeError> {
        let pipelines = Arc::clone(self);
        to_the_end(async move { pipelines.go_back().await }).await
    }

    async fn go_back(&self) -> Result<GenerationNo, ChangeError> {
        let mut state = self.changing.lock().await;
        let published = async {
            let (pipeline, digests) = state.before.last().cloned().ok_or(ChangeError::NothingBefore)?;
            let whole = recall(&*self.ledger, pipeline, &digests).await?.ok_or(ChangeError::NothingBefore)?;
            for (seen, hook) in state.seen.folder.iter_mut().zip(Hook::ALL) {
                *seen = self.digest_of(&whole.pipeline.hook(hook).policy).await;
            }
            let number = self.publish(&mut state, whole, Source::Rollback).await?;
            state.before.pop();
            Ok(number)
        };
        let published = published.await;
        self.note(Source::Rollback, &published);
        published
    }

    /// Applies what changed in the files since they were last looked at. `file` is what `sluice.toml`
    /// says now, or why it cannot be read; `None` where there is no such file.
    pub(super) async fn look(&self, file: Option<Result<Pipeline, String>>) {
        let mut state = self.changing.lock().await;
        let mut given = [false; 3];
        for (place, hook) in Hook::ALL.into_iter().enumerate() {
            let digest = self.digest_of(&state.whole.pipeline.hook(hook).policy).await;
            if digest != state.seen.folder[place] {
                given[place] = !digest.is_empty() && digest != state.whole.components[place].0;
                state.seen.folder[place] = digest;
            }
        }
        if given.contains(&true) {
            let pipeline = state.whole.pipeline.clone();
            let published = self.replace(&mut state, pipeline, given, Source::Folder).await;
            self.note(Source::Folder, &published);
        }
        match file {
            Some(Ok(file)) if file != state.seen.file => {
                let patch = PipelinePatch::between(&state.seen.file, &file);
                state.seen.file = file;
                state.file_error = None;
                let pipeline = state.whole.pipeline.clone().patched(patch.clone());
                let published = self.replace(&mut state, pipeline, patch.given(), Source::File).await;
                self.note(Source::File, &published);
            }
            Some(Err(error)) if state.file_error.as_ref() != Some(&error) => {
                self.note(Source::File, &Err(ChangeError::File(error.clone())));
                state.file_error = Some(error);
            }
            Some(Ok(_)) => state.file_error = None,
            _ => {}
        }
    }

    /// The digest of a policy's component in the folder; empty where there is none.
    async fn digest_of(&self, policy: &str) -> String {
        tokio::fs::read(self.options.path_of(policy)).await.map_or_else(|_| String::new(), |bytes| digest(&bytes))
    }

    /// Publishes a pipeline, with the components that lie in the folder now for the hooks given, and
    /// those it had for the others.
    async fn replace(
        &self,
        state: &mut State,
        pipeline: Pipeline,
        given: [bool; 3],
        source: Source,
    ) -> Result<GenerationNo, ChangeError> {
        pipeline.check().map_err(ChangeError::Pipeline)?;
        let mut components = state.whole.components.clone();
        for (place, hook) in Hook::ALL.into_iter().enumerate().filter(|(place, _)| given[*place]) {
            components[place] = read_one(&self.options, &pipeline, hook).await?;
            state.seen.folder[place].clone_from(&components[place].0);
        }
        let before = (state.whole.pipeline.clone(), state.whole.digests());
        let number = self.publish(state, ResolvedPipeline { pipeline, components }, source).await?;
        push_bounded(&mut state.before, before);
        Ok(number)
    }

    async fn publish(
        &self,
        state: &mut State,
        whole: ResolvedPipeline,
        source: Source,
    ) -> Result<GenerationNo, ChangeError> {
        let number = self.current.load().number() + 1;
        let generation = build(number, &whole, true, &self.telemetry).await?;
        record(&*self.ledger, number, &whole, &state.seen, source).await?;
        self.put_in_force(generation);
        state.whole = whole;
        tracing::info!(generation = number, ?source, "the pipeline was changed");
        Ok(number)
    }

    fn note(&self, source: Source, published: &Result<GenerationNo, ChangeError>) {
        if let Err(error) = published {
            self.telemetry.emit(GenerationRefused);
            tracing::error!(?source, %error, "the pipeline was not changed");
        }
        let line = json!({
            "atMs": now_ms(),
            "source": source,
            "generation": published.as_ref().ok(),
            "error": published.as_ref().err().map(ToString::to_string),
        });
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.push_front(line);
        history.truncate(HISTORY_MAX as usize);
    }

    /// Puts the pipeline in force that another process recorded, if there is a newer one.
    ///
    /// # Errors
    /// When the ledger cannot be read. A pipeline that cannot be loaded here is logged, and the one before
    /// goes on.
    pub async fn catch_up(&self) -> Result<(), LedgerError> {
        if self.ledger.generations(1).await?.first().is_none_or(|row| row.number <= self.current.load().number()) {
            return Ok(());
        }
        let mut state = self.changing.lock().await;
        let rows = self.ledger.generations(HISTORY_MAX).await?;
        let Some(number) = rows.first().map(|row| row.number).filter(|number| *number > self.current.load().number())
        else {
            return Ok(());
        };
        let documents =
            rows.iter().rev().filter_map(|row| serde_json::from_str::<GenerationRecord>(&row.pipeline).ok());
        let (before, newest) = unwind(documents);
        let loaded = async {
            let newest = newest.ok_or(ChangeError::NothingBefore)?;
            let whole = recall(&*self.ledger, newest.pipeline, &newest.digests).await?;
            let whole = whole.ok_or(ChangeError::NothingBefore)?;
            Ok::<_, ChangeError>((build(number, &whole, false, &self.telemetry).await?, whole))
        };
        match loaded.await {
            Ok((generation, whole)) => {
                for (seen, hook) in state.seen.folder.iter_mut().zip(Hook::ALL) {
                    *seen = self.digest_of(&whole.pipeline.hook(hook).policy).await;
                }
                (state.whole, state.before) = (whole, before);
                self.put_in_force(generation);
                tracing::info!(generation = number, "another process changed the pipeline");
            }
            Err(error) => tracing::error!(generation = number, %error, "another process's pipeline cannot be loaded"),
        }
        Ok(())
    }

    fn put_in_force(&self, generation: Generation) {
        self.telemetry.emit(GenerationPublished(generation.number()));
        let old = self.current.swap(Arc::new(generation));
        // Unmapping instances takes a while; requests do not wait for it.
        tokio::task::spawn_blocking(move || drop(old));
    }

    /// What decides now, and the newest changes, refused ones included.
    #[must_use]
    pub fn status(&self) -> Value {
        let current = self.current();
        let hooks: serde_json::Map<String, Value> = Hook::ALL
            .iter()
            .map(|&hook| {
                let line = json!({ "version": current.version(hook), "measures": current.measures(hook) });
                (hook.as_str().to_owned(), line)
            })
            .collect();
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner).clone();
        json!({
            "generation": current.number(),
            "pipeline": current.pipeline(),
            "hooks": hooks,
            "history": history,
        })
    }

    /// The components of the folder, and why one cannot be used.
    pub async fn list(&self) -> Vec<Value> {
        let dir = self.options.dir.clone();
        let look = move || {
            let mut lines = Vec::new();
            for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
                let path = entry.path();
                let Some(name) = path.file_stem().and_then(|name| name.to_str()).map(str::to_owned) else { continue };
                if path.extension().is_none_or(|ending| ending != "wasm") || name.starts_with('.') {
                    continue;
                }
                let bytes = std::fs::read(&path).unwrap_or_default();
                let error = inspect(&bytes, "{}").err().map(|error| error.to_string());
                lines.push(json!({ "name": name, "bytes": bytes.len(), "digest": digest(&bytes), "error": error }));
            }
            lines
        };
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    }

    /// Puts a component into the folder, if it is a policy. It decides once a pipeline names it.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub async fn upload(&self, name: &str, bytes: Vec<u8>) -> Result<Value, ChangeError> {
        let mut named = Pipeline::default();
        named.shard_picker.policy = name.to_owned();
        named
            .check()
            .map_err(|_| ChangeError::Pipeline(format!("name: expected 1 to 64 of a-z, 0-9 and -, found `{name}`")))?;
        let path = self.options.path_of(name);
        let half = self.options.dir.join(format!(".{name}.wasm.new"));
        let size = bytes.len();
        let digest = digest(&bytes);
        let write = move || -> Result<(), ChangeError> {
            inspect(&bytes, "{}")?;
            std::fs::write(&half, &bytes)
                .and_then(|()| std::fs::File::open(&half)?.sync_all())
                .and_then(|()| std::fs::rename(&half, &path))
                .map_err(|source| ChangeError::Read { path, source })
        };
        tokio::task::spawn_blocking(write).await.map_err(|error| ChangeError::Pipeline(error.to_string()))??;
        Ok(json!({ "name": name, "bytes": size, "digest": digest }))
    }
}

/// Loads a pipeline off the async workers, for compiling and instantiating take milliseconds, and tries
/// its policies where it is new.
async fn build(
    number: GenerationNo,
    whole: &ResolvedPipeline,
    is_new: bool,
    telemetry: &Telemetry,
) -> Result<Generation, ChangeError> {
    let (whole, telemetry) = (whole.clone(), telemetry.clone());
    let load = move || {
        let [shaper, limiter, picker] = &whole.components;
        let generation = Generation::load(number, whole.pipeline, [&shaper.1, &limiter.1, &picker.1], &telemetry)?;
        if is_new {
            generation.try_out()?;
        }
        Ok(generation)
    };
    tokio::task::spawn_blocking(load)
        .await
        .map_err(|error| ChangeError::Pipeline(error.to_string()))?
        .map_err(|(hook, error)| ChangeError::Load { hook, error })
}

/// Runs a change in a task of its own: a client that hangs up must not part the generation that is
/// recorded from the one that decides.
async fn to_the_end<F>(change: F) -> Result<GenerationNo, ChangeError>
where
    F: Future<Output = Result<GenerationNo, ChangeError>> + Send + 'static,
{
    tokio::spawn(change).await.map_err(|error| ChangeError::Pipeline(error.to_string()))?
}

async fn read(options: &Options, pipeline: Pipeline) -> Result<ResolvedPipeline, ChangeError> {
    let mut components = Vec::with_capacity(3);
    for hook in Hook::ALL {
        components.push(read_one(options, &pipeline, hook).await?);
    }
    Ok(ResolvedPipeline { pipeline, components: components.try_into().expect("one a hook") })
}

async fn read_one(options: &Options, pipeline: &Pipeline, hook: Hook) -> Result<(String, Arc<[u8]>), ChangeError> {
    let path = options.path_of(&pipeline.hook(hook).policy);
    let bytes = tokio::fs::read(&path).await.map_err(|source| ChangeError::Read { path, source })?;
    Ok((digest(&bytes), Arc::from(bytes)))
}

/// A recorded pipeline with the components it had; `None` when one is gone.
async fn recall(
    ledger: &dyn Ledger,
    pipeline: Pipeline,
    digests: &[String; 3],
) -> Result<Option<ResolvedPipeline>, ChangeError> {
    let mut components: Vec<(String, Arc<[u8]>)> = Vec::with_capacity(3);
    for digest in digests {
        let Some(bytes) = ledger.component(digest).await? else { return Ok(None) };
        components.push((digest.clone(), bytes.into()));
    }
    Ok(Some(ResolvedPipeline { pipeline, components: components.try_into().expect("one a hook") }))
}

/// What recorded generations, oldest first, leave: the pipelines to go back to, and the one in force.
fn unwind(
    documents: impl Iterator<Item = GenerationRecord>,
) -> (Vec<(Pipeline, [String; 3])>, Option<GenerationRecord>) {
    let mut before = Vec::new();
    let mut current: Option<GenerationRecord> = None;
    for document in documents {
        if document.source == Source::Rollback {
            before.pop();
        } else if let Some(replaced) = current {
            push_bounded(&mut before, (replaced.pipeline, replaced.digests));
        }
        current = Some(document);
    }
    (before, current)
}

fn push_bounded<T>(stack: &mut Vec<T>, item: T) {
    if stack.len() == HISTORY_MAX as usize {
        stack.remove(0);
    }
    stack.push(item);
}

async fn record(
    ledger: &dyn Ledger,
    number: GenerationNo,
    whole: &ResolvedPipeline,
    seen: &ObservedFiles,
    source: Source,
) -> Result<(), ChangeError> {
    let document =
        GenerationRecord { pipeline: whole.pipeline.clone(), digests: whole.digests(), seen: seen.clone(), source };
    let pipeline = serde_json::to_string(&document).expect("a document is JSON");
    let row = GenerationRow { number, pipeline, published_at_ms: now_ms() };
    if ledger.publish_generation(&row, &whole.components).await? { Ok(()) } else { Err(ChangeError::Raced) }
}
