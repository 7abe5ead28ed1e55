//! Changing what decides: load, check, record, publish. If a step fails, nothing changed.

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
use crate::telemetry::{GenerationPublished, GenerationRefused, emit};

/// Changes that `GET /admin/pipeline` remembers.
const HISTORY_MAX: usize = 20;

/// Which way a change came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// `sluice.toml`.
    File,
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
#[error("start the pipeline: {0}")]
pub struct StartError(#[from] ChangeError);

/// What is recorded with a generation.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Document {
    pipeline: Pipeline,
    digests: [String; 3],
    /// What `sluice.toml` said when this was published: a restart applies it only if it changed since.
    file: Pipeline,
    source: Source,
}

/// A pipeline with the bytes it is made of.
#[derive(Clone)]
struct Whole {
    pipeline: Pipeline,
    components: [(String, Arc<[u8]>); 3],
}

/// The pipelines of this gateway: the one in force, and the way to another.
pub struct Pipelines {
    options: Options,
    ledger: Arc<dyn Ledger>,
    current: ArcSwap<Generation>,
    /// Held by whoever changes: changes come one after the other.
    changing: Mutex<Recorded>,
    history: std::sync::Mutex<VecDeque<Value>>,
}

struct Recorded {
    whole: Whole,
    before: Option<Whole>,
    file: Pipeline,
}

impl Pipelines {
    /// Continues the pipeline that the ledger has recorded, unless `file` changed since then.
    ///
    /// # Errors
    /// When a policy cannot be loaded, and says which one and why.
    pub async fn start(options: &Options, file: Pipeline, ledger: Arc<dyn Ledger>) -> Result<Arc<Self>, StartError> {
        let recorded = ledger.generations(1).await.map_err(ChangeError::from)?.pop();
        let number = recorded.as_ref().map_or(0, |row| row.number);
        let document: Option<Document> = recorded.and_then(|row| serde_json::from_str(&row.pipeline).ok());
        let continued = match document {
            Some(document) if document.file == file => recall(&*ledger, &document).await?,
            _ => None,
        };
        let (number, whole, is_new) = match continued {
            Some(whole) => (number, whole, false),
            None => (number + 1, read(options, file.clone()).await?, true),
        };
        let generation = build(number, &whole).await?;
        if is_new {
            record(&*ledger, number, &whole, &file, Source::File).await?;
        }
        emit(GenerationPublished(number));
        Ok(Arc::new(Self {
            options: options.clone(),
            ledger,
            current: ArcSwap::from_pointee(generation),
            changing: Mutex::new(Recorded { whole, before: None, file }),
            history: std::sync::Mutex::default(),
        }))
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
        let mut recorded = self.changing.lock().await;
        let given = [patch.rate_shaper.is_some(), patch.user_limit.is_some(), patch.shard_picker.is_some()];
        let pipeline = recorded.whole.pipeline.clone().patched(patch);
        let published = async {
            pipeline.check().map_err(ChangeError::Pipeline)?;
            let mut components = recorded.whole.components.clone();
            for ((component, hook), given) in components.iter_mut().zip(Hook::ALL).zip(given) {
                if given {
                    *component = read_one(&self.options, &pipeline, hook).await?;
                }
            }
            let whole = Whole { pipeline, components };
            self.publish(&mut recorded, whole, source).await
        };
        let published = published.await;
        self.note(source, &published);
        published
    }

    /// Goes back to the pipeline before this one, with the components it had.
    ///
    /// # Errors
    /// [`ChangeError::NothingBefore`] when this process has published no other.
    pub async fn rollback(self: &Arc<Self>) -> Result<GenerationNo, ChangeError> {
        let pipelines = Arc::clone(self);
        to_the_end(async move { pipelines.go_back().await }).await
    }

    async fn go_back(&self) -> Result<GenerationNo, ChangeError> {
        let mut recorded = self.changing.lock().await;
        let published = match recorded.before.clone() {
            Some(before) => self.publish(&mut recorded, before, Source::Rollback).await,
            None => Err(ChangeError::NothingBefore),
        };
        self.note(Source::Rollback, &published);
        published
    }

    async fn publish(
        &self,
        recorded: &mut Recorded,
        whole: Whole,
        source: Source,
    ) -> Result<GenerationNo, ChangeError> {
        let number = self.current.load().number() + 1;
        let generation = build(number, &whole).await?;
        record(&*self.ledger, number, &whole, &recorded.file, source).await?;
        let old = self.current.swap(Arc::new(generation));
        // Unmapping instances takes a while; requests do not wait for it.
        tokio::task::spawn_blocking(move || drop(old));
        recorded.before = Some(std::mem::replace(&mut recorded.whole, whole));
        emit(GenerationPublished(number));
        tracing::info!(generation = number, ?source, "the pipeline was changed");
        Ok(number)
    }

    fn note(&self, source: Source, published: &Result<GenerationNo, ChangeError>) {
        if let Err(error) = published {
            emit(GenerationRefused);
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
        history.truncate(HISTORY_MAX);
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
        let path = self.options.dir.join(format!("{name}.wasm"));
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

/// Loads a pipeline off the async workers: compiling and instantiating take milliseconds.
async fn build(number: GenerationNo, whole: &Whole) -> Result<Generation, ChangeError> {
    let whole = whole.clone();
    let load = move || {
        let [shaper, limiter, picker] = &whole.components;
        Generation::load(number, whole.pipeline, [&shaper.1, &limiter.1, &picker.1])
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

async fn read(options: &Options, pipeline: Pipeline) -> Result<Whole, ChangeError> {
    let mut components = Vec::with_capacity(3);
    for hook in Hook::ALL {
        components.push(read_one(options, &pipeline, hook).await?);
    }
    Ok(Whole { pipeline, components: components.try_into().expect("one a hook") })
}

async fn read_one(options: &Options, pipeline: &Pipeline, hook: Hook) -> Result<(String, Arc<[u8]>), ChangeError> {
    let path = options.dir.join(format!("{}.wasm", pipeline.hook(hook).policy));
    let bytes = tokio::fs::read(&path).await.map_err(|source| ChangeError::Read { path, source })?;
    Ok((digest(&bytes), Arc::from(bytes)))
}

/// The pipeline of a recorded generation, with the components it had; `None` when one is gone.
async fn recall(ledger: &dyn Ledger, document: &Document) -> Result<Option<Whole>, ChangeError> {
    let mut components: Vec<(String, Arc<[u8]>)> = Vec::with_capacity(3);
    for digest in &document.digests {
        let Some(bytes) = ledger.component(digest).await? else { return Ok(None) };
        components.push((digest.clone(), bytes.into()));
    }
    let components = components.try_into().expect("one a hook");
    Ok(Some(Whole { pipeline: document.pipeline.clone(), components }))
}

async fn record(
    ledger: &dyn Ledger,
    number: GenerationNo,
    whole: &Whole,
    file: &Pipeline,
    source: Source,
) -> Result<(), ChangeError> {
    let document = Document {
        pipeline: whole.pipeline.clone(),
        digests: whole.components.clone().map(|(digest, _)| digest),
        file: file.clone(),
        source,
    };
    let pipeline = serde_json::to_string(&document).expect("a document is JSON");
    let row = GenerationRow { number, pipeline, published_at_ms: now_ms() };
    if ledger.publish_generation(&row, &whole.components).await? { Ok(()) } else { Err(ChangeError::Raced) }
}
