//! The folder of the built components: the policy `random` is `random.wasm` in it, and its signature `random.wasm.sig`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::compile::COMPONENT_BYTES_MAX;
use super::component::{ComponentBytes, ResolvedPipeline};
use super::contract::{self, Contract};
use super::error::ChangeError;
use super::options::Options;
use super::policy_ref::{PolicyRef, check_policy_name};
use super::signature::{Signature, TrustedKeys, signature_file};
use super::snapshot::{self, ComponentStamp};
use super::spec::Pipeline;
use crate::counters::PerHook;
use crate::regular_file;

/// Far more than a signature takes.
const SIGNATURE_BYTES_MAX: usize = 1024;

#[derive(Clone)]
pub(super) struct Folder {
    dir: PathBuf,
    trusted: TrustedKeys,
}

impl Folder {
    pub(super) fn new(options: &Options) -> Self {
        Self { dir: options.dir.clone(), trusted: options.trusted_keys.clone() }
    }

    pub(super) fn path_of(&self, policy: &str) -> PathBuf {
        self.dir.join(format!("{policy}.wasm"))
    }

    /// The metadata of a policy's files; `None` if there is no component.
    pub(super) fn stamp(&self, policy: &str) -> Option<ComponentStamp> {
        ComponentStamp::take(&self.path_of(policy))
    }

    /// The metadata of all components, by the names of their policies. Hidden files are left out: a copy in progress
    /// often is one. `None` if the folder cannot be read, which the watch reports.
    pub(super) fn stamps(&self) -> Option<BTreeMap<String, ComponentStamp>> {
        let components = snapshot::components(&self.dir).ok()?;
        let named = |(name, stamp): (_, Option<ComponentStamp>)| {
            let name = Path::new(&name).file_stem()?.to_str()?;
            (!name.starts_with('.')).then_some((name.to_owned(), stamp?))
        };
        Some(components.into_iter().filter_map(named).collect())
    }

    /// A policy's component, and what it implements.
    pub(super) fn read_policy(&self, policy: &str) -> Result<(ComponentBytes, Contract), ChangeError> {
        check_policy_name(policy).map_err(ChangeError::Pipeline)?;
        let component = self.read(policy)?;
        match component.check_signature(&self.trusted).and_then(|()| contract::contract_of(&component)) {
            Ok(contract) => Ok((component, contract)),
            Err(error) => Err(ChangeError::UnusableFile { path: self.path_of(policy), error }),
        }
    }

    /// A pipeline with the components that are in the folder now.
    pub(super) fn resolve(&self, pipeline: Pipeline) -> Result<ResolvedPipeline, ChangeError> {
        let components = PerHook::try_from_fn(|hook| self.read_named(&pipeline.hook(hook).policy))?;
        Ok(ResolvedPipeline { pipeline, components })
    }

    /// What a pipeline names as a policy, with the signature beside it.
    ///
    /// # Errors
    /// Also when the file is another version than the one that is named.
    fn read_named(&self, policy: &str) -> Result<ComponentBytes, ChangeError> {
        let PolicyRef { name, digits } = PolicyRef::of(policy);
        let component = self.read(name)?;
        match digits.filter(|digits| !component.digest.to_string().starts_with(digits)) {
            None => Ok(component),
            Some(digits) => Err(ChangeError::OtherVersion { path: self.path_of(name), digits: digits.to_owned() }),
        }
    }

    /// A policy's component, with the signature beside it.
    pub(super) fn read(&self, policy: &str) -> Result<ComponentBytes, ChangeError> {
        let path = self.path_of(policy);
        match regular_file::read(&path, COMPONENT_BYTES_MAX) {
            Ok(bytes) => {
                let component = ComponentBytes::new(bytes, read_signature(&path)?);
                if component.is_web_assembly() { Ok(component) } else { Err(ChangeError::NotWebAssembly(path)) }
            }
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => Err(ChangeError::NotFound { path, source }),
            Err(source) => Err(ChangeError::Read { path, source }),
        }
    }
}

/// `None` if there is no file with a signature.
fn read_signature(component: &Path) -> Result<Option<Signature>, ChangeError> {
    let path = signature_file(component);
    match regular_file::read(&path, SIGNATURE_BYTES_MAX) {
        Ok(text) => match String::from_utf8_lossy(&text).parse::<Signature>() {
            Ok(signature) => Ok(Some(signature)),
            Err(error) => Err(ChangeError::UnusableFile { path, error: error.into() }),
        },
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ChangeError::Read { path, source }),
    }
}
