//! Feeds the registry from the folder.
//!
//! A component is registered once, by the first gateway that has it in its folder: a restart, or another machine with
//! an older file, does not make it the newest version again. A file that changes while the gateway runs does.

use std::collections::BTreeMap;

use super::author::Author;
use super::component::ComponentBytes;
use super::contract::Contract;
use super::digest::Digest;
use super::error::ChangeError;
use super::folder_state::FolderState;
use super::registry::Registry;
use super::snapshot::ComponentStamp;
use super::tasks::run_blocking;
use crate::coupon::now_ms;
use crate::ledger::{LedgerError, PolicyVersion};

impl Registry {
    /// Registers what is new in the folder: of one policy, or of all. Files that are no policies are left out, and are
    /// in `folder.refused`.
    ///
    /// # Errors
    /// When the ledger cannot be used. The rest is registered by the next call.
    pub(super) async fn feed(&self, folder: &mut FolderState, only: Option<&str>) -> Result<(), ChangeError> {
        let Some(stamps) = self.stamps(only).await? else { return Ok(()) };
        if only.is_some() || stamps.iter().any(|(name, stamp)| folder.differs(name, stamp)) {
            let versions = self.ledger.policy_versions().await?;
            let is_registered = |name: &str| versions.iter().any(|version| version.name == name);
            for (name, stamp) in &stamps {
                // The ledger forgets versions that were not used for a long time.
                if folder.differs(name, stamp) || (only.is_some() && !is_registered(name)) {
                    self.feed_one(folder, &versions, name, stamp).await?;
                }
            }
        }
        match only {
            Some(policy) => folder.forget_errors(|name| name == policy && stamps.is_empty()),
            None => folder.finish(|name| stamps.contains_key(name)),
        }
        self.unusable_files.store(folder.unusable().into());
        Ok(())
    }

    async fn stamps(&self, only: Option<&str>) -> Result<Option<BTreeMap<String, ComponentStamp>>, ChangeError> {
        let (folder, only) = (self.folder.clone(), only.map(str::to_owned));
        run_blocking(move || match only {
            Some(name) => Ok(Some(folder.stamp(&name).map(|stamp| (name, stamp)).into_iter().collect())),
            None => Ok(folder.stamps()),
        })
        .await
    }

    async fn feed_one(
        &self,
        folder: &mut FolderState,
        versions: &[PolicyVersion],
        name: &str,
        stamp: &ComponentStamp,
    ) -> Result<(), ChangeError> {
        let (files, policy) = (self.folder.clone(), name.to_owned());
        let read = run_blocking(move || Ok(files.read_policy(&policy))).await?;
        let mut content = read.as_ref().map(|(component, _)| component.digest).map_err(ToString::to_string);
        let is_changed = folder.is_changed(name, &content);
        if let Ok((component, contract)) = read {
            let is_new = is_new(versions, name, component.digest, is_changed);
            if is_new || is_signed_anew(versions, name, &component) {
                match self.register_file(name, &component, contract).await {
                    // Such as a component that is larger than the database accepts.
                    Err(error @ LedgerError::Permanent { .. }) => content = Err(error.to_string()),
                    registered => registered?,
                }
            }
            if content.is_ok() && (is_changed || (is_new && !folder.is_recorded(name, component.digest))) {
                folder.pending.insert(name.to_owned());
            }
        }
        folder.see(name.to_owned(), stamp.clone(), content, is_changed.then(now_ms));
        Ok(())
    }

    async fn register_file(
        &self,
        name: &str,
        component: &ComponentBytes,
        contract: Contract,
    ) -> Result<(), LedgerError> {
        self.register(name, component, contract, &Author::FOLDER).await?;
        tracing::info!(policy = name, digest = %component.digest, "policy of the folder registered");
        Ok(())
    }
}

/// Whether a file becomes the newest version of its policy.
fn is_new(versions: &[PolicyVersion], name: &str, digest: Digest, is_changed: bool) -> bool {
    let digest = digest.to_string();
    let mut of_name = versions.iter().filter(|version| version.name == name).map(|version| &version.digest);
    let is_newest = of_name.next() == Some(&digest);
    let is_known = is_newest || of_name.any(|known| *known == digest);
    !is_known || (is_changed && !is_newest)
}

/// Whether the newest version of a policy gets another signature. It stays the newest.
fn is_signed_anew(versions: &[PolicyVersion], name: &str, component: &ComponentBytes) -> bool {
    let newest = versions.iter().find(|version| version.name == name);
    let newest = newest.filter(|newest| newest.digest == component.digest.to_string());
    let signature = component.signature.map(|signature| signature.to_string());
    signature.is_some() && newest.is_some_and(|newest| newest.signature != signature)
}
