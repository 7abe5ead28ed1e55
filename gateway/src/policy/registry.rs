//! The registry of the policies' versions in the ledger. All gateways on a ledger resolve the names of policies there;
//! the folder and uploads feed it.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::author::Author;
use super::component::ComponentBytes;
use super::contract::{self, Contract};
use super::digest::Digest;
use super::error::{ChangeError, LoadError};
use super::folder::Folder;
use super::folder_state::FolderState;
use super::policy_ref::{PolicyRef, check_policy_name};
use super::signature::{KeyId, Signature, SignatureError, TrustedKeys};
use super::tasks::run_blocking;
use crate::counters::Hook;
use crate::coupon::now_ms;
use crate::ledger::{Ledger, LedgerError, PolicyVersion};

/// A version of the registry, or a file of the folder that is none.
#[derive(Debug)]
pub struct ListedPolicy {
    pub name: String,
    /// The key that signed the component.
    pub signed_by: Option<KeyId>,
    /// Why the file cannot be used.
    pub version: Result<PolicyVersion, String>,
}

#[derive(Debug)]
pub struct UploadedPolicy {
    pub name: String,
    pub bytes: usize,
    pub digest: Digest,
    pub world: Hook,
}

pub(super) struct Registry {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) folder: Folder,
    trusted: TrustedKeys,
    /// Name and error of each file in the folder that is no policy.
    pub(super) unusable_files: ArcSwap<Vec<(String, String)>>,
}

impl Registry {
    pub(super) fn new(ledger: Arc<dyn Ledger>, folder: Folder, trusted: TrustedKeys) -> Self {
        Self { ledger, folder, trusted, unusable_files: ArcSwap::default() }
    }

    /// The component that a pipeline gets when it names a policy: the version of the digest that it gives, or the newest
    /// one, after a newer file of the folder was registered.
    ///
    /// # Errors
    /// Also when a newer file of the folder is no policy.
    pub(super) async fn resolve(&self, folder: &mut FolderState, policy: &str) -> Result<ComponentBytes, ChangeError> {
        let PolicyRef { name, digits } = PolicyRef::of(policy);
        self.feed(folder, Some(name)).await?;
        let versions = self.versions_of(name).await?;
        let version = match digits {
            Some(digits) => only(&versions, name, digits)?,
            None => {
                let newest = versions.first();
                if let Some(error) = folder.error_since(name, newest.map(|newest| newest.registered_at_ms)) {
                    return Err(ChangeError::Component(error.to_owned()));
                }
                let unknown = || ChangeError::UnknownPolicy { name: name.to_owned(), path: self.folder.path_of(name) };
                newest.ok_or_else(unknown)?
            }
        };
        self.component_of(version).await
    }

    /// The component of the newest version of a policy.
    pub(super) async fn newest(&self, policy: &str) -> Result<Option<ComponentBytes>, ChangeError> {
        match self.versions_of(policy).await?.first() {
            Some(newest) => Ok(Some(self.component_of(newest).await?)),
            None => Ok(None),
        }
    }

    /// Newest first.
    async fn versions_of(&self, policy: &str) -> Result<Vec<PolicyVersion>, LedgerError> {
        let versions = self.ledger.policy_versions().await?;
        Ok(versions.into_iter().filter(|version| version.name == policy).collect())
    }

    async fn component_of(&self, version: &PolicyVersion) -> Result<ComponentBytes, ChangeError> {
        let damaged = || ChangeError::Damaged { digest: version.digest.clone() };
        let digest = version.digest.parse().map_err(|_| damaged())?;
        read_component(&*self.ledger, digest).await?.ok_or_else(damaged)
    }

    /// Adds a version, which becomes the newest of its policy. It decides only once a pipeline names the policy.
    pub(super) async fn upload(
        &self,
        name: &str,
        bytes: Vec<u8>,
        signature: Option<&str>,
        who: &str,
    ) -> Result<UploadedPolicy, ChangeError> {
        check_policy_name(name).map_err(|error| ChangeError::Pipeline(format!("name: {error}")))?;
        let signature = signature.map(str::parse).transpose().map_err(LoadError::from)?;
        let trusted = self.trusted.clone();
        let (component, contract) = run_blocking(move || {
            let component = ComponentBytes::new(bytes, signature);
            component.check_signature(&trusted)?;
            let contract = contract::contract_of(&component)?;
            Ok((component, contract))
        })
        .await?;
        self.register(name, &component, contract, &Author::admin(who)).await?;
        let (digest, world) = (component.digest, contract.hook);
        tracing::info!(policy = name, %digest, world = world.as_str(), who, "policy uploaded");
        Ok(UploadedPolicy { name: name.to_owned(), bytes: component.bytes.len(), digest, world })
    }

    pub(super) async fn register(
        &self,
        name: &str,
        component: &ComponentBytes,
        contract: Contract,
        author: &Author,
    ) -> Result<(), LedgerError> {
        let version = PolicyVersion {
            name: name.to_owned(),
            digest: component.digest.to_string(),
            world: contract.hook.as_str().to_owned(),
            contract: contract.version.as_str().to_owned(),
            bytes: component.bytes.len() as u64,
            signature: component.signature.map(|signature| signature.to_string()),
            source: author.source.as_str().to_owned(),
            registered_by: author.who.clone(),
            registered_at_ms: now_ms(),
        };
        self.ledger.register_policy(&version, &component.bytes).await
    }

    /// The versions, newest first, and then the files of the folder that are none.
    pub(super) async fn list(&self) -> Result<Vec<ListedPolicy>, ChangeError> {
        let versions = self.ledger.policy_versions().await?.into_iter();
        let versions = versions.map(|version| ListedPolicy {
            name: version.name.clone(),
            signed_by: signature_of(version.signature.as_deref()).ok().flatten().map(|signature| signature.key),
            version: Ok(version),
        });
        let unusable = self.unusable_files.load_full();
        let unusable =
            unusable.iter().cloned().map(|(name, error)| ListedPolicy { name, signed_by: None, version: Err(error) });
        // What an operator has to correct comes first.
        Ok(unusable.chain(versions).collect())
    }
}

/// The version of a policy whose digest begins so.
fn only<'a>(versions: &'a [PolicyVersion], name: &str, digits: &str) -> Result<&'a PolicyVersion, ChangeError> {
    let begin: Vec<_> = versions.iter().filter(|version| version.digest.starts_with(digits)).collect();
    let (name, digits) = (name.to_owned(), digits.to_owned());
    match *begin {
        [version] => Ok(version),
        [] => Err(ChangeError::UnknownVersion { name, digits }),
        _ => Err(ChangeError::AmbiguousVersion { name, digits, found: begin.len() }),
    }
}

/// The component with this digest; `None` if the ledger has none.
///
/// # Errors
/// [`ChangeError::Damaged`] if its bytes have another digest, or its signature is not one.
pub(super) async fn read_component(ledger: &dyn Ledger, digest: Digest) -> Result<Option<ComponentBytes>, ChangeError> {
    let Some(stored) = ledger.component(&digest.to_string()).await? else { return Ok(None) };
    let damaged = || ChangeError::Damaged { digest: digest.to_string() };
    let signature = signature_of(stored.signature.as_deref()).map_err(|_| damaged())?;
    // The digest of a large component takes milliseconds.
    let component = run_blocking(move || Ok(ComponentBytes::new(stored.bytes, signature))).await?;
    if component.digest == digest { Ok(Some(component)) } else { Err(damaged()) }
}

/// The signature that the ledger has of a component.
fn signature_of(stored: Option<&str>) -> Result<Option<Signature>, SignatureError> {
    stored.map(str::parse).transpose()
}
