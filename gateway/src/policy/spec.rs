//! A pipeline as `sluice.toml` and the admin API describe it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::bounded::bounded;
use crate::counters::{Hook, PerHook};

/// One policy for each hook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case", expecting = "a section")]
pub struct Pipeline {
    /// Decides first: pass, delay or shed a request.
    pub rate_shaper: HookSpec,
    /// Decides second: admit or refuse a user.
    pub user_limit: HookSpec,
    /// Decides last: the shard that a request takes stock from.
    pub shard_picker: HookSpec,
}

/// One policy and how it is run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section with the key `policy`")]
pub struct HookSpec {
    /// The component `<policy>.wasm` of the policies' folder.
    pub policy: String,
    /// What happens when the policy gives no decision: `fallback` lets a native default decide, `refuse` answers 503,
    /// `skip` goes on without a decision (not for the shard picker).
    #[serde(default)]
    pub on_failure: OnFailure,
    /// The longest time for one decision, in milliseconds. A decision that takes longer has failed.
    #[serde(default = "default_deadline_ms", deserialize_with = "bounded::<_, _, 1, 1000>")]
    pub deadline_ms: u32,
    /// `warm` uses an instance for many calls, `fresh` gives every call a new instance, which is slower.
    #[serde(default)]
    pub isolation: Isolation,
    /// The policy's own configuration, which only the policy can check.
    #[serde(default)]
    pub config: Map<String, Value>,
}

/// What happens to a request when the policy gives no decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// A native default decides.
    #[default]
    Fallback,
    /// The request is answered 503.
    Refuse,
    /// The request goes on.
    Skip,
}

/// How an instance is kept between calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Instances are reused.
    #[default]
    Warm,
    /// Every call has an instance of its own.
    Fresh,
}

/// A change: each hook that is given replaces the hook of the pipeline as a whole.
pub type PipelinePatch = PerHook<Option<HookSpec>>;

fn default_deadline_ms() -> u32 {
    5
}

impl Default for Pipeline {
    fn default() -> Self {
        let hook = |policy: &str, on_failure, config: Value| HookSpec {
            policy: policy.to_owned(),
            on_failure,
            deadline_ms: default_deadline_ms(),
            isolation: Isolation::Warm,
            config: config.as_object().cloned().unwrap_or_default(),
        };
        Self {
            rate_shaper: hook("token-bucket", OnFailure::Fallback, json!({ "per_second": 50_000, "burst": 10_000 })),
            user_limit: hook("quota", OnFailure::Refuse, json!({})),
            shard_picker: hook("random", OnFailure::Fallback, json!({})),
        }
    }
}

impl Pipeline {
    #[must_use]
    pub fn hooks(&self) -> PerHook<&HookSpec> {
        PerHook { rate_shaper: &self.rate_shaper, user_limit: &self.user_limit, shard_picker: &self.shard_picker }
    }

    #[must_use]
    pub fn hook(&self, hook: Hook) -> &HookSpec {
        self.hooks()[hook]
    }

    /// The patch that makes `new` of this pipeline.
    #[must_use]
    pub fn difference(&self, new: &Self) -> PipelinePatch {
        PerHook::from_fn(|hook| (self.hook(hook) != new.hook(hook)).then(|| new.hook(hook).clone()))
    }

    #[must_use]
    pub fn patched(&self, patch: &PipelinePatch) -> Self {
        let patched = |hook| patch[hook].as_ref().unwrap_or(self.hook(hook)).clone();
        let PerHook { rate_shaper, user_limit, shard_picker } = PerHook::from_fn(patched);
        Self { rate_shaper, user_limit, shard_picker }
    }

    /// Checks what deserializing a single value cannot.
    ///
    /// # Errors
    /// Names the key, the value, and what was expected.
    pub fn check(&self) -> Result<(), String> {
        if self.shard_picker.on_failure == OnFailure::Skip {
            return Err("pipeline.shard-picker.on_failure: expected `fallback` or `refuse`, found `skip`: \
                        a request cannot go on without a shard"
                .to_owned());
        }
        for (hook, HookSpec { policy, .. }) in self.hooks().iter() {
            if !is_policy_name(policy) {
                let hook = hook.as_str();
                return Err(format!("pipeline.{hook}.policy: expected 1 to 64 of a-z, 0-9 and -, found `{policy}`"));
            }
        }
        Ok(())
    }
}

/// The name becomes a file's name, so it must not be a path.
pub(super) fn is_policy_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_replaces_the_hooks_that_differ_and_no_others() {
        let old = Pipeline::default();
        let mut new = old.clone();
        new.shard_picker.policy = "hash-user".to_owned();
        let patch = old.difference(&new);
        assert_eq!(patch, PerHook::from([None, None, Some(new.shard_picker.clone())]));
        assert_eq!(old.patched(&patch), new);
        assert_eq!(old.patched(&PipelinePatch::default()), old);
    }

    #[test]
    fn native_isolation_is_not_part_of_the_configuration() {
        let spec = json!({ "policy": "random", "isolation": "native" });
        let error = serde_json::from_value::<HookSpec>(spec).expect_err("refused").to_string();
        assert_eq!(error, "unknown variant `native`, expected `warm` or `fresh`");
    }
}
