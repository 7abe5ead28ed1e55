//! The folder of the built components: the policy `random` is `random.wasm` in it.

use std::path::{Path, PathBuf};

use super::compile::COMPONENT_BYTES_MAX;
use super::component::{ComponentBytes, ResolvedPipeline};
use super::digest::Digest;
use super::error::{ChangeError, LoadError};
use super::host::Host;
use super::inspect::inspect_component;
use super::spec::{Pipeline, is_policy_name};
use super::tasks::{blocking, run_blocking};
use crate::counters::PerHook;
use crate::regular_file;

/// A component of the folder, and why it cannot be used.
#[derive(Debug)]
pub struct ListedPolicy {
    pub name: String,
    pub bytes: u64,
    /// Absent if the file cannot be read.
    pub digest: Option<Digest>,
    pub error: Option<String>,
}

#[derive(Debug)]
pub struct UploadedPolicy {
    pub name: String,
    pub bytes: usize,
    pub digest: Digest,
}

#[derive(Clone)]
pub(super) struct Folder {
    dir: PathBuf,
}

impl Folder {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    fn path_of(&self, policy: &str) -> PathBuf {
        self.dir.join(format!("{policy}.wasm"))
    }

    pub(super) fn read(&self, policy: &str) -> Result<ComponentBytes, ChangeError> {
        read(self.path_of(policy))
    }

    /// The component of each policy; `None` if the folder has none.
    pub(super) async fn read_each(
        &self,
        policies: PerHook<String>,
    ) -> Result<PerHook<Result<Option<ComponentBytes>, ChangeError>>, ChangeError> {
        let folder = self.clone();
        let read = move |policy: String| match folder.read(&policy) {
            Err(ChangeError::NotFound { .. }) => Ok(None),
            read => read.map(Some),
        };
        run_blocking(move || Ok(policies.map(read))).await
    }

    /// A pipeline with the components that are in the folder now.
    pub(super) fn resolve(&self, pipeline: Pipeline) -> Result<ResolvedPipeline, ChangeError> {
        let components = PerHook::try_from_fn(|hook| self.read(&pipeline.hook(hook).policy))?;
        Ok(ResolvedPipeline { pipeline, components })
    }

    /// The digest of each policy of a pipeline; `None` if the folder has no such component.
    pub(super) async fn digests(&self, pipeline: &Pipeline) -> Result<PerHook<Option<Digest>>, ChangeError> {
        let found = self.read_each(pipeline.hooks().map(|spec| spec.policy.clone())).await?;
        Ok(found.map(|found| found.ok().flatten().map(|component| component.digest)))
    }

    pub(super) async fn list(&self, host: &Host) -> Result<Vec<ListedPolicy>, ChangeError> {
        let folder = self.clone();
        let read = move || std::fs::read_dir(&folder.dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut listed = Vec::new();
        for path in run_blocking(move || Ok(read().collect::<Vec<_>>())).await? {
            listed.extend(list_one(host, path).await);
        }
        Ok(listed)
    }

    /// Writes a component into the folder if it is a policy.
    pub(super) async fn upload(&self, host: &Host, name: &str, bytes: Vec<u8>) -> Result<UploadedPolicy, ChangeError> {
        check_name(name)?;
        let (folder, name) = (self.clone(), name.to_owned());
        let component = ComponentBytes::new(bytes);
        let compiled = host.compile(&component).await?;
        run_blocking(move || {
            inspect_component(&compiled, "{}")?;
            folder.write(&name, &component.bytes)?;
            Ok(UploadedPolicy { name, bytes: component.bytes.len(), digest: component.digest })
        })
        .await
    }

    /// The folder is watched, so a component appears in one step and complete.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ChangeError> {
        let path = self.path_of(name);
        let unfinished = self.dir.join(format!(".{name}.wasm.new"));
        std::fs::write(&unfinished, bytes)
            .and_then(|()| std::fs::File::open(&unfinished)?.sync_all())
            .and_then(|()| std::fs::rename(&unfinished, &path))
            .map_err(|source| ChangeError::Write { path, source })
    }
}

/// A pipeline accepts no other name.
fn check_name(name: &str) -> Result<(), ChangeError> {
    if is_policy_name(name) {
        return Ok(());
    }
    Err(ChangeError::Pipeline(format!("name: expected 1 to 64 of a-z, 0-9 and -, found `{name}`")))
}

/// `None` for other files, such as an upload that is being written.
async fn list_one(host: &Host, path: PathBuf) -> Option<ListedPolicy> {
    let name = path.file_stem()?.to_str()?.to_owned();
    if path.extension().is_none_or(|extension| extension != "wasm") || name.starts_with('.') {
        return None;
    }
    let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
    let (digest, error) = match blocking(move || read(path)).await {
        Ok(component) => {
            let error = match check_name(&name) {
                Ok(()) => try_one(host, &component).await.err().map(|error| error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            (Some(component.digest), error)
        }
        Err(error) => (None, Some(error.to_string())),
    };
    Some(ListedPolicy { name, bytes, digest, error })
}

async fn try_one(host: &Host, component: &ComponentBytes) -> Result<(), LoadError> {
    let compiled = host.compile(component).await?;
    blocking(move || inspect_component(&compiled, "{}")).await.map(|_| ())
}

fn read(path: PathBuf) -> Result<ComponentBytes, ChangeError> {
    match regular_file::read(&path, COMPONENT_BYTES_MAX) {
        Ok(bytes) => {
            let component = ComponentBytes::new(bytes);
            if component.is_web_assembly() { Ok(component) } else { Err(ChangeError::NotWebAssembly(path)) }
        }
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Err(ChangeError::NotFound { path, source }),
        Err(source) => Err(ChangeError::Read { path, source }),
    }
}
