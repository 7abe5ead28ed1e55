//! Hooks that a rollout is changing.

use super::scope::Scope;
use crate::counters::PerHook;

/// Hooks that change only through their rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldHooks {
    pub rollout: u64,
    pub scope: Scope,
    pub hooks: PerHook<bool>,
}
