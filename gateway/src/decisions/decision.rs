//! What is recorded of a request.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::counters::{Measured, PerMeasure};
use crate::coupon::{Arm, GenerationNo, RequestId};
use crate::policy::{ConfiguredPolicy, Decided, Load, OwnedContext, Request, Shard, Usage};
use crate::telemetry::FailureReason;

/// A request that its hooks have decided. It is one line of a segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    pub request_id: RequestId,
    pub outcome: Outcome,
    /// Of the policies.
    #[schema(value_type = u64)]
    pub generation: GenerationNo,
    /// `canary` if the canary of a rollout decided, otherwise absent.
    #[serde(default, skip_serializing_if = "Arm::is_active")]
    pub arm: Arm,
    /// As the policies saw it: `couponId`, `policyId`, `userId`, `arrivedAtMs` and `entropy`.
    #[schema(value_type = Object)]
    pub request: Request,
    /// By hook: `policy`, `measured`, `context`, `verdict`, `failure` and `nanoseconds`.
    #[schema(value_type = Object)]
    pub steps: Steps,
}

/// What the hooks decided. Whether an accepted request became durable, and was settled, is not part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every hook let the request go on.
    Accepted,
    /// A hook refused it. The hooks after that were not asked.
    Refused,
}

impl Outcome {
    /// The word that the admin API uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
        }
    }
}

/// The hooks that were asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Steps {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_shaper: Option<Step<Load>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_limit: Option<Step<Usage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard_picker: Option<Step<Vec<Shard>>>,
}

/// What one hook was given besides the request, and what it returned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", bound = "")]
pub struct Step<C: OwnedContext> {
    pub policy: Arc<ConfiguredPolicy>,
    /// In the order of the policy's measures. Absent if the counters were unavailable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<PerMeasure<Measured>>,
    /// The load, the usage or the shards.
    pub context: C,
    /// Absent if the policy gave no decision and the hook refuses then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<C::Verdict>,
    /// Why the policy gave no decision, if `on_failure` of the hook decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureReason>,
    /// Of the policy's call.
    pub nanoseconds: u64,
}

impl<C: OwnedContext> Step<C> {
    pub(super) fn new(
        policy: &Arc<ConfiguredPolicy>,
        measured: Option<PerMeasure<Measured>>,
        context: C,
        decided: &Decided<C::Verdict>,
    ) -> Self {
        Self {
            policy: Arc::clone(policy),
            measured,
            context,
            verdict: decided.verdict.as_ref().ok().cloned(),
            failure: decided.failure,
            nanoseconds: nanoseconds(decided.took),
        }
    }

    /// Whether the request goes on.
    pub(super) fn passes(&self) -> bool {
        self.verdict.as_ref().is_some_and(|verdict| C::rejection(verdict).is_none())
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Steps {
    /// `None` if the request ended for another reason before every hook was asked.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        let Self { rate_shaper, user_limit, shard_picker } = self;
        let passes = [
            rate_shaper.as_ref().map(Step::passes),
            user_limit.as_ref().map(Step::passes),
            shard_picker.as_ref().map(Step::passes),
        ];
        match passes {
            [Some(true), Some(true), Some(true)] => Some(Outcome::Accepted),
            passes if passes.contains(&Some(false)) => Some(Outcome::Refused),
            _ => None,
        }
    }
}

/// A context that has a step.
pub trait Traced: OwnedContext {
    fn step(steps: &Steps) -> Option<&Step<Self>>;

    fn step_mut(steps: &mut Steps) -> &mut Option<Step<Self>>;
}

impl Traced for Load {
    fn step(steps: &Steps) -> Option<&Step<Self>> {
        steps.rate_shaper.as_ref()
    }

    fn step_mut(steps: &mut Steps) -> &mut Option<Step<Self>> {
        &mut steps.rate_shaper
    }
}

impl Traced for Usage {
    fn step(steps: &Steps) -> Option<&Step<Self>> {
        steps.user_limit.as_ref()
    }

    fn step_mut(steps: &mut Steps) -> &mut Option<Step<Self>> {
        &mut steps.user_limit
    }
}

impl Traced for Vec<Shard> {
    fn step(steps: &Steps) -> Option<&Step<Self>> {
        steps.shard_picker.as_ref()
    }

    fn step_mut(steps: &mut Steps) -> &mut Option<Step<Self>> {
        &mut steps.shard_picker
    }
}
