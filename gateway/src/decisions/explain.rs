//! A recorded decision in words.

use super::decision::{Decision, Outcome, Step, Steps, Traced};
use crate::counters::{Measure, Measured, Scope};
use crate::coupon::Arm;
use crate::policy::{LimitVerdict, Load, Rejection, Shaping, Shard, Usage};
use crate::telemetry::FailureReason;

/// Why a request was shaped, refused or sent to its shard: one sentence or two for the request, and for each hook that
/// was asked.
#[must_use]
pub fn explain(decision: &Decision) -> Vec<String> {
    let steps = &decision.steps;
    let hooks = [explain_step::<Load>(steps), explain_step::<Usage>(steps), explain_step::<Vec<Shard>>(steps)];
    std::iter::once(request(decision)).chain(hooks.into_iter().flatten()).collect()
}

fn request(Decision { request, generation, arm, outcome, .. }: &Decision) -> String {
    let arrived_at = i64::try_from(request.arrived_at_ms).ok();
    let arrived_at = arrived_at.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let arrived_at = arrived_at.map(|at| format!(" at {at}")).unwrap_or_default();
    let ended = match outcome {
        Outcome::Accepted => "The policies accepted it",
        Outcome::Refused => "It was refused",
    };
    let arm = match arm {
        Arm::Active => "",
        Arm::Canary => ", canary arm",
    };
    format!(
        "User {} asked for coupon {}{arrived_at}. {ended}, in generation {generation}{arm}.",
        request.user_id, request.coupon_id
    )
}

fn explain_step<C: Explained>(steps: &Steps) -> Option<String> {
    let step = C::step(steps)?;
    let policy = format!("{} ({})", step.policy.policy, step.policy.digest.version());
    let decided = match (&step.verdict, step.failure) {
        (Some(verdict), None) => format!("{policy} {}", C::verdict(verdict)),
        (Some(verdict), Some(failure)) => {
            format!("{policy} gave no decision ({}); on_failure decided, and {}", failure.as_str(), C::verdict(verdict))
        }
        (None, failure) => {
            let failure = failure.map_or("unknown", FailureReason::as_str);
            format!("{policy} gave no decision ({failure}), and on_failure refuses then")
        }
    };
    let facts: Vec<String> = measured(step).into_iter().chain(C::facts(step)).collect();
    Some(format!("{}: {decided}. It was given: {}.", C::HOOK.as_str(), facts.join(", ")))
}

/// A hook's context whose step can be explained.
trait Explained: Traced {
    /// What happened to the request, after the name of the policy.
    fn verdict(verdict: &Self::Verdict) -> String;

    fn facts(step: &Step<Self>) -> Vec<String>;
}

impl Explained for Load {
    fn verdict(verdict: &Shaping) -> String {
        match verdict {
            Shaping::Pass => "let it pass".to_owned(),
            Shaping::Delay(ms) => format!("delayed it by {ms} ms"),
            Shaping::Shed(rejection) => refused(rejection),
        }
    }

    fn facts(Step { context, .. }: &Step<Self>) -> Vec<String> {
        vec![
            format!("{} requests in flight", context.in_flight),
            format!("{:.0} arrivals and {:.0} grants a second", context.arrivals_per_second, context.grants_per_second),
            format!("{} records that wait for settlement, for up to {:.1} s", context.lag_records, context.lag_seconds),
        ]
    }
}

impl Explained for Usage {
    fn verdict(verdict: &LimitVerdict) -> String {
        match verdict {
            LimitVerdict::Admit => "admitted the user".to_owned(),
            LimitVerdict::Refuse(rejection) => refused(rejection),
        }
    }

    fn facts(Step { context, .. }: &Step<Self>) -> Vec<String> {
        vec![
            format!("a limit of {} a user", context.per_user_limit),
            format!("{} of {} coupons left", context.remaining, context.total),
        ]
    }
}

impl Explained for Vec<Shard> {
    fn verdict(verdict: &u32) -> String {
        format!("sent it to shard {verdict}")
    }

    fn facts(Step { context, verdict, .. }: &Step<Self>) -> Vec<String> {
        let picked = context.iter().find(|shard| Some(shard.shard_no) == *verdict);
        let picked = picked.map(|shard| {
            format!(
                "of which shard {} has {} coupons left, {} requests that are not settled, and {} such records in its \
                 partition",
                shard.shard_no, shard.remaining, shard.unsettled, shard.lag_records
            )
        });
        std::iter::once(format!("{} shards", context.len())).chain(picked).collect()
    }
}

fn refused(Rejection { code, retry_after_ms, message, .. }: &Rejection) -> String {
    let retry = retry_after_ms.map(|ms| format!(", with a retry after {ms} ms")).unwrap_or_default();
    let message = message.as_ref().map(|message| format!(", with the message `{message}`")).unwrap_or_default();
    format!("refused it as {code}{retry}{message}")
}

fn measured<C: Traced>(step: &Step<C>) -> Vec<String> {
    match &step.measured {
        Some(measured) => {
            step.policy.measures.iter().zip(measured).map(|(measure, measured)| words(measure, *measured)).collect()
        }
        None => vec!["no measures, because the counters were unavailable".to_owned()],
    }
}

fn words(measure: &Measure, measured: Measured) -> String {
    let scope = match measure.scope() {
        Scope::UserOfCoupon => "of the user for this coupon",
        Scope::User => "of the user",
        Scope::Coupon => "for the coupon",
        Scope::Gateway => "of all gateways",
    };
    match (measure, measured) {
        (Measure::Count { window_ms: 0, .. }, Measured::Count(count)) => {
            format!("request number {count} {scope} in the campaign")
        }
        (Measure::Count { window_ms, .. }, Measured::Count(count)) => {
            format!("request number {count} {scope} in {window_ms} ms")
        }
        (_, Measured::Count(count)) => format!("request number {count} {scope}"),
        (_, Measured::Conforming) => format!("a token in the bucket {scope}"),
        (_, Measured::ConformingInMs(ms)) => format!("no token in the bucket {scope} for {ms} ms"),
        (_, Measured::Sequence(number)) => format!("number {number} in the sequence {scope}"),
    }
}
