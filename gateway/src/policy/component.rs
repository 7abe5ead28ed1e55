//! The bytes that a pipeline is made of.

use std::sync::Arc;

use super::digest::Digest;
use super::spec::Pipeline;
use crate::counters::PerHook;

#[derive(Clone)]
pub(super) struct ComponentBytes {
    pub(super) digest: Digest,
    pub(super) bytes: Arc<[u8]>,
}

impl ComponentBytes {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { digest: Digest::of(&bytes), bytes: bytes.into() }
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
}
