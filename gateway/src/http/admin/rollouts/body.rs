//! What an operator sends.

use serde::Deserialize;
use utoipa::ToSchema;

use super::super::super::error::Problem;
use super::super::super::json;
use super::super::policies::PipelineBody;
use crate::coupon::CouponId;
use crate::rollout::{Auto, Guards, NewRollout, Percent, ReplayCheck};

/// What to roll out, and how.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"hooks": {"shard-picker": {"policy": "weighted"}}, "canaryPercent": 5}))]
pub(super) struct NewRolloutBody {
    /// The coupon whose pipeline changes. Without it, the default pipeline.
    coupon_id: Option<CouponId>,
    /// The hooks that change, as for `PUT /admin/pipeline`.
    #[serde(deserialize_with = "json::object")]
    #[schema(value_type = PipelineBody)]
    hooks: Option<PipelineBody>,
    /// Whether the candidate is also asked about requests that the active policies decide. Its answers have no effect.
    /// `true` by default.
    #[serde(default = "yes")]
    shadow: bool,
    /// The share of the users that the candidate serves first, with at most two decimals. 0 by default: it only shadows.
    #[serde(default)]
    canary_percent: Percent,
    /// Larger shares, and then all users, follow by themselves while the guards are within their bounds.
    #[serde(default, deserialize_with = "json::object")]
    auto: Option<Auto>,
    #[serde(default, deserialize_with = "json::object")]
    guards: Option<Guards>,
    #[serde(default, deserialize_with = "json::object")]
    replay: Option<ReplayCheck>,
}

/// Another share of the users.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CanaryBody {
    /// With at most two decimals. With 0, the candidate only shadows.
    pub(super) canary_percent: Percent,
}

/// Why a rollout is aborted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AbortBody {
    /// For its history: a line of text.
    #[schema(max_length = 500, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    reason: Option<String>,
}

const REASON_CHARACTERS_MAX: usize = 500;

impl AbortBody {
    /// Terminals show the reason in a table.
    pub(super) fn check(self) -> Result<Option<String>, Problem> {
        let is_line =
            |reason: &String| reason.chars().count() <= REASON_CHARACTERS_MAX && !reason.chars().any(char::is_control);
        if self.reason.as_ref().is_none_or(is_line) {
            return Ok(self.reason);
        }
        let message = format!("`reason`: expected a line of at most {REASON_CHARACTERS_MAX} characters");
        Err(Problem::invalid("reason", message))
    }
}

const fn yes() -> bool {
    true
}

impl NewRolloutBody {
    pub(super) fn check(self) -> Result<NewRollout, Problem> {
        let Self { coupon_id, hooks, shadow, canary_percent, auto, guards, replay } = self;
        let hooks = hooks.ok_or_else(|| Problem::invalid("hooks", "`hooks`: expected an object"))?.into_patch();
        let (guards, replay) = (guards.unwrap_or_default(), replay.unwrap_or_default());
        Ok(NewRollout { coupon_id, hooks, shadow, canary_percent, auto, guards, replay })
    }
}
