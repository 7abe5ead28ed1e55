//! The folder of the built components: the policy `random` is `random.wasm` in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::compile::COMPONENT_BYTES_MAX;
use super::component::{ComponentBytes, ResolvedPipeline};
use super::contract::{self, Contract};
use super::error::ChangeError;
use super::snapshot::{self, Stamp};
use super::spec::{Pipeline, check_policy_name};
use crate::counters::PerHook;
use crate::regular_file;

#[derive(Clone)]
pub(super) struct Folder {
    dir: PathBuf,
}

impl Folder {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub(super) fn path_of(&self, policy: &str) -> PathBuf {
        self.dir.join(format!("{policy}.wasm"))
    }

    /// The metadata of a policy's file; `None` if there is none.
    pub(super) fn stamp(&self, policy: &str) -> Option<Stamp> {
        snapshot::stamp(&self.path_of(policy))
    }

    /// The metadata of all components, by the names of their policies. Hidden files are left out: a copy in progress
    /// often is one. `None` if the folder cannot be read, which the watch reports.
    pub(super) fn stamps(&self) -> Option<BTreeMap<String, Stamp>> {
        let components = snapshot::components(&self.dir).ok()?;
        let named = |(name, stamp): (_, Option<Stamp>)| {
            let name = Path::new(&name).file_stem()?.to_str()?;
            (!name.starts_with('.')).then_some((name.to_owned(), stamp?))
        };
        Some(components.into_iter().filter_map(named).collect())
    }

    /// A policy's component, and what it implements.
    pub(super) fn read_policy(&self, policy: &str) -> Result<(ComponentBytes, Contract), ChangeError> {
        check_policy_name(policy).map_err(ChangeError::Pipeline)?;
        let component = self.read(policy)?;
        match contract::contract_of(&component) {
            Ok(contract) => Ok((component, contract)),
            Err(error) => Err(ChangeError::UnusableFile { path: self.path_of(policy), error }),
        }
    }

    /// A pipeline with the components that are in the folder now.
    pub(super) fn resolve(&self, pipeline: Pipeline) -> Result<ResolvedPipeline, ChangeError> {
        let components = PerHook::try_from_fn(|hook| self.read(&pipeline.hook(hook).policy))?;
        Ok(ResolvedPipeline { pipeline, components })
    }

    pub(super) fn read(&self, policy: &str) -> Result<ComponentBytes, ChangeError> {
        let path = self.path_of(policy);
        match regular_file::read(&path, COMPONENT_BYTES_MAX) {
            Ok(bytes) => {
                let component = ComponentBytes::new(bytes);
                if component.is_web_assembly() { Ok(component) } else { Err(ChangeError::NotWebAssembly(path)) }
            }
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => Err(ChangeError::NotFound { path, source }),
            Err(source) => Err(ChangeError::Read { path, source }),
        }
    }
}
