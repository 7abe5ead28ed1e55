//! The bytes that a pipeline is made of.

use std::sync::Arc;

use super::digest::Digest;
use super::error::LoadError;
use super::signature::{Signature, TrustedKeys};
use super::spec::Pipeline;
use crate::counters::{Hook, PerHook};

#[derive(Clone)]
pub(super) struct ComponentBytes {
    pub(super) digest: Digest,
    pub(super) bytes: Arc<[u8]>,
    pub(super) signature: Option<Signature>,
}

impl ComponentBytes {
    pub(super) fn new(bytes: Vec<u8>, signature: Option<Signature>) -> Self {
        Self { digest: Digest::of(&bytes), bytes: bytes.into(), signature }
    }

    pub(super) fn unsigned(bytes: Vec<u8>) -> Self {
        Self::new(bytes, None)
    }

    /// Checks that one of the trusted keys signed the bytes.
    pub(super) fn check_signature(&self, trusted: &TrustedKeys) -> Result<(), LoadError> {
        Ok(trusted.check(self.digest, self.signature.as_ref())?)
    }

    /// Whether the bytes begin as WebAssembly does: as a module or a component.
    pub(super) fn is_web_assembly(&self) -> bool {
        self.bytes.starts_with(b"\0asm")
    }

    /// Checks that the bytes begin as a component does.
    pub(super) fn check_header(&self) -> Result<(), LoadError> {
        if !self.is_web_assembly() {
            return Err(LoadError::NotWebAssembly);
        }
        // The layer field of the header: 1 is a core module.
        if self.bytes.get(4..8) == Some(&[1, 0, 0, 0]) { Err(LoadError::Module) } else { Ok(()) }
    }
}

/// A pipeline together with the components that its policies were when it was made.
#[derive(Clone)]
pub(super) struct ResolvedPipeline {
    pub(super) pipeline: Pipeline,
    pub(super) components: PerHook<ComponentBytes>,
}

impl ResolvedPipeline {
    pub(super) fn digests(&self) -> PerHook<Digest> {
        self.components.as_ref().map(|component| component.digest)
    }

    /// Each hook that another pipeline changes, with its new policy: `shard-picker=weighted`.
    pub(super) fn changes_to(&self, new: &Self) -> String {
        let is_same = |hook| {
            self.pipeline.hook(hook) == new.pipeline.hook(hook)
                && self.components[hook].digest == new.components[hook].digest
        };
        let changed = Hook::ALL.into_iter().filter(|hook| !is_same(*hook));
        let changed = changed.map(|hook| format!("{}={}", hook.as_str(), new.pipeline.hook(hook).policy));
        changed.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_names_the_hooks_that_have_another_policy_configuration_or_component() {
        let component = |bytes: &[u8]| ComponentBytes::unsigned(bytes.to_vec());
        let pipeline = Pipeline::default();
        let old = ResolvedPipeline { pipeline, components: PerHook::from_fn(|_| component(b"old")) };
        assert_eq!(old.changes_to(&old), "");
        let mut new = old.clone();
        new.components[Hook::UserLimit] = component(b"new");
        new.pipeline.shard_picker.policy = "weighted".to_owned();
        assert_eq!(old.changes_to(&new), "user-limit=quota, shard-picker=weighted");
    }
}
