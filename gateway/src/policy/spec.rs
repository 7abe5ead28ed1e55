//! What a pipeline is made of, as `sluice.toml` and the admin API say it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::bounded::bounded;
use crate::counters::Hook;

/// Three policies, one a hook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Pipeline {
    /// Asked first.
    pub rate_shaper: HookSpec,
    /// Asked second.
    pub user_limit: HookSpec,
    /// Asked last.
    pub shard_picker: HookSpec,
}

/// One policy and how it is run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookSpec {
    /// The component `<policy>.wasm` of the policies' folder.
    pub policy: String,
    /// What happens to a request when the policy gives no decision.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// A decision that takes longer has failed; milliseconds.
    #[serde(default = "default_deadline_ms", deserialize_with = "bounded::<_, _, 1, 1000>")]
    pub deadline_ms: u32,
    /// How an instance is kept between calls.
    #[serde(default)]
    pub isolation: Isolation,
    /// The policy's own configuration; it checks it itself.
    #[serde(default)]
    pub config: Map<String, Value>,
}

/// What happens when a policy gives no decision.
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
    /// Instances are used again.
    #[default]
    Warm,
    /// Every call has an instance of its own.
    Fresh,
    /// The native default decides on the policy's measures: tells what WebAssembly costs.
    Native,
}

/// A change: each hook that is given is replaced whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct PipelinePatch {
    /// Asked first.
    pub rate_shaper: Option<HookSpec>,
    /// Asked second.
    pub user_limit: Option<HookSpec>,
    /// Asked last.
    pub shard_picker: Option<HookSpec>,
}

impl PipelinePatch {
    /// The hooks in which `new` differs from `old`.
    #[must_use]
    pub fn between(old: &Pipeline, new: &Pipeline) -> Self {
        let changed = |hook| (old.hook(hook) != new.hook(hook)).then(|| new.hook(hook).clone());
        Self {
            rate_shaper: changed(Hook::RateShaper),
            user_limit: changed(Hook::UserLimit),
            shard_picker: changed(Hook::ShardPicker),
        }
    }

    /// Which hooks it gives, in their order.
    pub(super) fn given(&self) -> [bool; 3] {
        [self.rate_shaper.is_some(), self.user_limit.is_some(), self.shard_picker.is_some()]
    }
}

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
            rate_shaper: hook(
                "token-bucket",
                OnFailure::Fallback,
                serde_json::json!({ "per_second": 50_000, "burst": 10_000 }),
            ),
            user_limit: hook("quota", OnFailure::Refuse, serde_json::json!({ "limit": 1 })),
            shard_picker: hook("random", OnFailure::Fallback, serde_json::json!({})),
        }
    }
}

impl Pipeline {
    /// The spec of a hook.
    #[must_use]
    pub fn hook(&self, hook: Hook) -> &HookSpec {
        match hook {
            Hook::RateShaper => &self.rate_shaper,
            Hook::UserLimit => &self.user_limit,
            Hook::ShardPicker => &self.shard_picker,
        }
    }

    /// With the hooks of a patch in place of its own.
    #[must_use]
    pub fn patched(mut self, patch: PipelinePatch) -> Self {
        let replace = |hook: &mut HookSpec, by: Option<HookSpec>| {
            if let Some(by) = by {
                *hook = by;
            }
        };
        replace(&mut self.rate_shaper, patch.rate_shaper);
        replace(&mut self.user_limit, patch.user_limit);
        replace(&mut self.shard_picker, patch.shard_picker);
        self
    }

    /// What a single value cannot tell.
    ///
    /// # Errors
    /// Names the hook and what was expected.
    pub fn check(&self) -> Result<(), String> {
        if self.shard_picker.on_failure == OnFailure::Skip {
            return Err("pipeline.shard-picker.on_failure: expected `fallback` or `refuse`, found `skip`: \
                        a request cannot go on without a shard"
                .to_owned());
        }
        for hook in Hook::ALL {
            let name = &self.hook(hook).policy;
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if !(1..=64).contains(&name.len()) || !name.bytes().all(plain) {
                return Err(format!(
                    "pipeline.{}.policy: expected 1 to 64 of a-z, 0-9 and -, found `{name}`",
                    hook.as_str()
                ));
            }
        }
        Ok(())
    }
}
