//! Compiles components: at most one at a time, and each only once while it is in use.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::super::component::ComponentBytes;
use super::super::digest::Digest;
use super::super::engine::{self, Metering};
use super::super::error::{CompileError, LoadError};
use super::super::options::{CompilerProgram, Options};
use super::super::tasks::blocking;
use super::artifact::Artifact;
use super::cache::{ArtifactCache, Key};
use super::child;
use super::limits::CompileLimits;
#[cfg(test)]
use super::worker;
use crate::telemetry::{ComponentCompiled, Telemetry};

/// Several would together need several times the memory.
const COMPILERS_MAX: usize = 1;
/// A change of one hook loads the components of the other two again.
const RECENT_MAX: usize = 16;
const RECENT_BYTES_MAX: usize = 64 * 1024 * 1024;

pub(in crate::policy) struct Compiler {
    program: CompilerProgram,
    limits: CompileLimits,
    cache: Arc<ArtifactCache>,
    recent: Mutex<VecDeque<Recent>>,
    permits: Semaphore,
    telemetry: Telemetry,
    stop: CancellationToken,
}

/// How compiling a component ended. What failed would only fail again, after minutes.
struct Recent {
    digest: Digest,
    metering: Metering,
    outcome: Result<Loaded, LoadError>,
}

#[derive(Clone)]
struct Loaded {
    component: Component,
    /// Of its code.
    bytes: usize,
}

impl Compiler {
    /// After `stop`, nothing is compiled any more.
    pub(in crate::policy) fn new(options: &Options, telemetry: Telemetry, stop: CancellationToken) -> Self {
        Self {
            program: options.compiler.clone(),
            limits: options.compile_limits(),
            cache: Arc::new(ArtifactCache::new(options.cache_dir.clone())),
            recent: Mutex::default(),
            permits: Semaphore::new(COMPILERS_MAX),
            telemetry,
            stop,
        }
    }

    /// Dropping the future stops the compiler.
    pub(in crate::policy) async fn compile(
        &self,
        metering: Metering,
        component: &ComponentBytes,
    ) -> Result<Component, LoadError> {
        if let Some(outcome) = self.recent(metering, component.digest) {
            return outcome;
        }
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(CompileError::Stopping.into()),
            compiled = self.compile_in_turn(metering, component) => compiled,
        }
    }

    async fn compile_in_turn(&self, metering: Metering, component: &ComponentBytes) -> Result<Component, LoadError> {
        let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
        // Another caller may have compiled it meanwhile.
        if let Some(outcome) = self.recent(metering, component.digest) {
            return outcome;
        }
        let engine = engine::running(metering)?;
        let key = Key::new(engine, component.digest);
        let (event, outcome) = match self.load_cached(engine, key).await {
            Some(loaded) => (ComponentCompiled::Before, Ok(loaded)),
            None => match self.compile_now(metering, key, component).await {
                Ok(loaded) => (ComponentCompiled::Now, Ok(loaded)),
                Err(error) => (ComponentCompiled::Failed, Err(error)),
            },
        };
        self.telemetry.emit(event);
        if outcome.as_ref().err().is_none_or(LoadError::is_of_the_component) {
            self.remember(Recent { digest: component.digest, metering, outcome: outcome.clone() });
        }
        outcome.map(|loaded| loaded.component)
    }

    async fn load_cached(&self, engine: &'static Engine, key: Key) -> Option<Loaded> {
        let cache = Arc::clone(&self.cache);
        blocking(move || {
            let artifact = cache.read(key)?;
            // What cannot be loaded is compiled again, and fails with its reason.
            Some(Loaded { component: artifact.load(engine).ok()?, bytes: artifact.bytes().len() })
        })
        .await
    }

    async fn compile_now(&self, metering: Metering, key: Key, component: &ComponentBytes) -> Result<Loaded, LoadError> {
        let begun = Instant::now();
        let engine = engine::running(metering)?;
        let artifact = self.run(metering, component).await?;
        let digest = component.digest;
        tracing::info!(%digest, took = ?begun.elapsed(), "policy compiled");
        let cache = Arc::clone(&self.cache);
        blocking(move || {
            let limits = |error: wasmtime::Error| LoadError::Limits(error.root_cause().to_string());
            let component = artifact.load(engine).map_err(limits)?;
            cache.store(key, &artifact);
            Ok(Loaded { component, bytes: artifact.bytes().len() })
        })
        .await
    }

    async fn run(&self, metering: Metering, component: &ComponentBytes) -> Result<Artifact, LoadError> {
        let program = match &self.program {
            CompilerProgram::Running => running_program()?,
            CompilerProgram::Other(program) => program.clone(),
            #[cfg(test)]
            CompilerProgram::InProcess => {
                let bytes = Arc::clone(&component.bytes);
                let compiled = blocking(move || worker::compile(metering, &bytes)).await;
                return compiled.map(Artifact::from_compiler).map_err(LoadError::Invalid);
            }
        };
        child::compile(&program, self.limits, metering, &component.bytes).await
    }

    fn recent(&self, metering: Metering, digest: Digest) -> Option<Result<Component, LoadError>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let found = recent.iter().find(|recent| recent.digest == digest && recent.metering == metering)?;
        Some(found.outcome.clone().map(|loaded| loaded.component))
    }

    fn remember(&self, new: Recent) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_back(new);
        let bytes = |recent: &VecDeque<Recent>| -> usize {
            recent.iter().filter_map(|recent| recent.outcome.as_ref().ok()).map(|loaded| loaded.bytes).sum()
        };
        while recent.len() > RECENT_MAX || bytes(&recent) > RECENT_BYTES_MAX {
            recent.pop_front();
        }
    }
}

/// Linux names the running program also when an upgrade has replaced its file: the compiler must be of this version.
fn running_program() -> Result<PathBuf, CompileError> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { Ok(running) } else { std::env::current_exe().map_err(CompileError::start) }
}
