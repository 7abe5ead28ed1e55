//! A pipeline as `sluice.toml` and the admin API describe it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::policy_ref::{PolicyRef, is_same_policy};
use crate::bounded::some_bounded;
use crate::counters::{Hook, PerHook};

/// One policy for each hook. It is read as a patch of the default pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(from = "PipelinePatch", rename_all = "kebab-case")]
pub struct Pipeline {
    /// Decides first: pass, delay or shed a request.
    pub rate_shaper: HookSpec,
    /// Decides second: admit or refuse a user.
    pub user_limit: HookSpec,
    /// Decides last: the shard that a request takes stock from.
    pub shard_picker: HookSpec,
}

/// One policy and how it is run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HookSpec {
    pub policy: String,
    pub on_failure: OnFailure,
    pub deadline_ms: u32,
    pub isolation: Isolation,
    /// 0 is no budget.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub budget_fuel: u64,
    #[schema(value_type = Object)]
    pub config: Map<String, Value>,
}

/// A change of a hook. A missing key keeps its value while the policy is the same, and has the hook's default if it is
/// another one.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default, expecting = "a section with the key `policy`")]
pub struct HookPatch {
    /// The name of the policy: `<policy>.wasm` in the policies' folder, or the name of an upload. The hook gets its newest
    /// version, or with `<policy>@sha256:<digest>` exactly that one, of whose digest the first 12 digits are enough.
    #[schema(pattern = "^[a-z0-9-]{1,64}(@sha256:[0-9a-f]{12,64})?$")]
    pub policy: Option<String>,
    /// What happens when the policy gives no decision: `fallback` lets a native default decide, `refuse` answers 503,
    /// `skip` goes on without a decision (not for the shard picker).
    pub on_failure: Option<OnFailure>,
    /// The longest time for one decision, in milliseconds. A decision that takes longer has failed.
    #[serde(deserialize_with = "some_bounded::<_, _, 1, 1000>")]
    #[schema(minimum = 1, maximum = 1000)]
    pub deadline_ms: Option<u32>,
    /// `warm` uses an instance for many calls, `fresh` gives every call a new instance, which is slower.
    pub isolation: Option<Isolation>,
    /// The most fuel that one of a few made-up decisions may cost, for a shard picker with 12 shards. A policy that costs
    /// more is not activated. `sluice policy bench` prints what a policy costs. 0 sets no budget.
    #[serde(deserialize_with = "some_bounded::<_, _, 0, 20_000_000>")]
    #[schema(minimum = 0, maximum = 20_000_000)]
    pub budget_fuel: Option<u64>,
    /// The policy's own configuration, which only the policy can check.
    #[schema(value_type = Option<Object>)]
    pub config: Option<Map<String, Value>>,
}

/// What happens to a request when the policy gives no decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// A native default decides.
    Fallback,
    /// The request is answered 503.
    Refuse,
    /// The request goes on.
    Skip,
}

/// How an instance is kept between calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Instances are reused.
    Warm,
    /// Every call has an instance of its own.
    Fresh,
}

/// A change of the hooks that are given.
pub type PipelinePatch = PerHook<Option<HookPatch>>;

const DEADLINE_MS: u32 = 5;

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl HookSpec {
    /// What a hook does with a policy of which nothing else is known.
    pub(super) fn of(hook: Hook, policy: &str) -> Self {
        Self {
            policy: policy.to_owned(),
            on_failure: match hook {
                // Nobody gets a second coupon because a policy is broken.
                Hook::UserLimit => OnFailure::Refuse,
                Hook::RateShaper | Hook::ShardPicker => OnFailure::Fallback,
            },
            deadline_ms: DEADLINE_MS,
            isolation: Isolation::Warm,
            budget_fuel: 0,
            config: Map::new(),
        }
    }

    /// What a hook is if nothing but the patch is known; `None` if it names no policy.
    pub(super) fn complete(hook: Hook, patch: &HookPatch) -> Option<Self> {
        Some(Self::of(hook, patch.policy.as_deref()?).patched(hook, patch))
    }

    fn patched(&self, hook: Hook, patch: &HookPatch) -> Self {
        let HookPatch { policy, on_failure, deadline_ms, isolation, budget_fuel, config } = patch.clone();
        let base = match &policy {
            Some(policy) if !is_same_policy(policy, &self.policy) => Self::of(hook, policy),
            _ => self.clone(),
        };
        Self {
            policy: policy.unwrap_or(base.policy),
            on_failure: on_failure.unwrap_or(base.on_failure),
            deadline_ms: deadline_ms.unwrap_or(base.deadline_ms),
            isolation: isolation.unwrap_or(base.isolation),
            budget_fuel: budget_fuel.unwrap_or(base.budget_fuel),
            config: config.unwrap_or(base.config),
        }
    }
}

/// Replaces every key.
impl From<HookSpec> for HookPatch {
    fn from(HookSpec { policy, on_failure, deadline_ms, isolation, budget_fuel, config }: HookSpec) -> Self {
        Self {
            policy: Some(policy),
            on_failure: Some(on_failure),
            deadline_ms: Some(deadline_ms),
            isolation: Some(isolation),
            budget_fuel: Some(budget_fuel),
            config: Some(config),
        }
    }
}

impl From<PipelinePatch> for Pipeline {
    fn from(patch: PipelinePatch) -> Self {
        Self::default().patched(&patch)
    }
}

impl Default for Pipeline {
    fn default() -> Self {
        let mut rate_shaper = HookSpec::of(Hook::RateShaper, "token-bucket");
        rate_shaper.config = json!({ "per_second": 50_000, "burst": 10_000 }).as_object().cloned().unwrap_or_default();
        Self {
            rate_shaper,
            user_limit: HookSpec::of(Hook::UserLimit, "quota"),
            shard_picker: HookSpec::of(Hook::ShardPicker, "random"),
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
        PerHook::from_fn(|hook| (self.hook(hook) != new.hook(hook)).then(|| new.hook(hook).clone().into()))
    }

    #[must_use]
    pub fn patched(&self, patch: &PipelinePatch) -> Self {
        let patched = |hook| match &patch[hook] {
            Some(patch) => self.hook(hook).patched(hook, patch),
            None => self.hook(hook).clone(),
        };
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
            PolicyRef::check(policy).map_err(|error| format!("pipeline.{}.policy: {error}", hook.as_str()))?;
        }
        Ok(())
    }
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
        assert_eq!(patch, PerHook::from([None, None, Some(new.shard_picker.clone().into())]));
        assert_eq!(old.patched(&patch), new);
        assert_eq!(old.patched(&PipelinePatch::default()), old);
    }

    #[test]
    fn native_isolation_is_not_part_of_the_configuration() {
        let spec = json!({ "policy": "random", "isolation": "native" });
        let error = serde_json::from_value::<HookPatch>(spec).expect_err("refused").to_string();
        assert_eq!(error, "unknown variant `native`, expected `warm` or `fresh`");
    }
}
