//! What one hook of a pipeline is.

use serde::Serialize;

use super::digest::Digest;
use super::spec::HookSpec;
use crate::counters::PerHook;

/// A version of a policy, and how it is run. The same one decides in the same way, in whichever pipeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct PinnedHook {
    pub(super) digest: Digest,
    pub(super) spec: HookSpec,
}

/// The hooks that a coupon sets. The others follow the default pipeline.
pub(super) type OwnHooks = PerHook<Option<PinnedHook>>;
