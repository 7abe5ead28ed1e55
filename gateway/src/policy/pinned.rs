//! What one hook of a pipeline is.

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::spec::HookSpec;
use crate::counters::PerHook;

/// A version of a policy, and how it is run. The same one decides in the same way, in whichever pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PinnedHook {
    pub digest: Digest,
    pub spec: HookSpec,
}

/// Some hooks: those that a coupon sets, while the others follow the default pipeline, or those that a rollout changes.
pub type OwnHooks = PerHook<Option<PinnedHook>>;
