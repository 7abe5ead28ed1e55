//! The types of problem details: for each `reason`, its status, its cause, and what a client should do.
//!
//! Only this file chooses an error status. `docs/reasons.md` is made of it.

use axum::http::StatusCode;

/// A type of problem details.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProblemType {
    /// The member `reason`, by which clients tell the types apart.
    pub(super) reason: &'static str,
    pub(super) status: StatusCode,
    /// Full sentences.
    pub(super) cause: &'static str,
    /// What the client should do, in full sentences.
    pub(super) remedy: &'static str,
}

/// Defines a constant for each type, named after its reason, and the list of them.
macro_rules! problem_types {
    ($($reason:ident $status:ident: $cause:literal $remedy:literal)*) => {
        $(
            pub(super) const $reason: ProblemType = ProblemType {
                reason: stringify!($reason),
                status: StatusCode::$status,
                cause: $cause,
                remedy: $remedy,
            };
        )*

        /// By status, then by reason.
        pub(super) const PROBLEM_TYPES: &[ProblemType] = &[$($reason),*];
    };
}

problem_types! {
    MALFORMED BAD_REQUEST:
        "The request is not valid HTTP, or its path, its query, its `Idempotency-Key` or its JSON cannot be read."
        "Correct the request. `detail` says what was expected."
    TLS_REQUIRED BAD_REQUEST:
        "The listener has a certificate, and the request came without TLS."
        "Call the port with `https://`."
    UNAUTHORIZED UNAUTHORIZED:
        "An admin call from another machine has no token, or a wrong one."
        "Send a token of `admin.token_file` or `admin.tokens` as `Authorization: Bearer TOKEN`."
    FORBIDDEN FORBIDDEN:
        "An admin call comes from a web page of another origin, or has no token and names a host that is not this \
         machine, or would change something with a token of the role `read`."
        "Call `localhost` or a loopback address, or send a token of the role `operate`."
    COUPON_NOT_FOUND NOT_FOUND:
        "The coupon has no campaign."
        "Check the `couponId`. A new campaign is known to every gateway within two seconds."
    NOT_FOUND NOT_FOUND:
        "The listener has no resource at this path."
        "Check the path and the port: public and admin calls have different listeners."
    REQUEST_NOT_FOUND NOT_FOUND:
        "No request with this id was accepted, or its outcome was deleted long after the campaign was closed."
        "Use the whole `statusUrl` of the 202 answer, with its query."
    ROLLOUT_NOT_FOUND NOT_FOUND:
        "No rollout has this number, or another release of Sluice started it and this one cannot read it."
        "List the rollouts with `GET /admin/rollouts`. The newest 200 that are over are kept."
    METHOD_NOT_ALLOWED METHOD_NOT_ALLOWED:
        "The resource does not support the method."
        "Use a method that the header `Allow` lists."
    TIMEOUT REQUEST_TIMEOUT:
        "The headers or the body of the request did not arrive within 10 seconds."
        "Send the request again."
    CLOSED CONFLICT:
        "An operator closed the campaign, or its closing time has passed."
        "Stop: a closed campaign never opens again."
    COUPON_EXISTS CONFLICT:
        "The coupon already has a campaign, with other terms."
        "Change the existing campaign, or create one for another coupon."
    NOTHING_TO_ROLL_BACK CONFLICT:
        "No earlier pipeline is recorded."
        "Set the pipeline with `PUT`."
    NOT_A_GAP CONFLICT:
        "Settlement of the partition did not stop at a gap with these offsets."
        "Skip exactly the gap that `detail` names, if it names one."
    NOT_OPEN CONFLICT:
        "The campaign opens later."
        "Send the request again after `Retry-After`."
    PAUSED CONFLICT:
        "An operator paused the campaign."
        "Send the request again later: the campaign may be resumed."
    PIPELINE_CHANGED CONFLICT:
        "Another gateway changed the pipeline, or the rollout, at the same moment."
        "Read it again, and repeat the request if it still makes sense."
    ROLLOUT_OVER CONFLICT:
        "The rollout is over, or is being promoted."
        "Start another one. To undo a promotion, roll back the pipeline with `POST /admin/pipeline/rollback`."
    ROLLOUT_RUNNING CONFLICT:
        "A rollout of the same coupon, or of the default pipeline, is running. Its hooks change through it alone."
        "Promote or abort the rollout that `detail` names first."
    SOLD_OUT CONFLICT:
        "No coupons are left."
        "Stop, unless the campaign is topped up."
    BODY_TOO_LARGE PAYLOAD_TOO_LARGE:
        "The body is longer than 16 KiB or, for an uploaded policy, 32 MiB."
        "Send a shorter body."
    UNSUPPORTED_MEDIA_TYPE UNSUPPORTED_MEDIA_TYPE:
        "The `Content-Type` is not `application/json`, or the body has a `Content-Encoding`."
        "Send the body as it is, with the right `Content-Type`."
    IDEMPOTENCY_CONFLICT UNPROCESSABLE_ENTITY:
        "The `Idempotency-Key` was used for another request."
        "Take a new key for a new request. Repeat a request with its own key and body."
    INVALID UNPROCESSABLE_ENTITY:
        "A field of the body is missing or has a wrong value. In an admin call it may also be unknown."
        "Correct the field that `field` names. `detail` says what was expected."
    POLICY_REFUSED UNPROCESSABLE_ENTITY:
        "A policy or a pipeline failed a check. The active pipeline has not changed."
        "Correct what `detail` names, and send the request again."
    RATE_LIMITED TOO_MANY_REQUESTS:
        "The rate shaper refused the request: too many arrive at once."
        "Send the request again after `Retry-After`."
    USER_LIMIT TOO_MANY_REQUESTS:
        "The user has reached the limit of the user-limit policy."
        "Send the request again after `Retry-After`. Without that header, stop."
    HEADERS_TOO_LARGE REQUEST_HEADER_FIELDS_TOO_LARGE:
        "The headers are longer than 16 KiB."
        "Send fewer or shorter headers."
    INTERNAL INTERNAL_SERVER_ERROR:
        "The gateway failed: this is an error in Sluice."
        "Report it. Repeat the request with the same `Idempotency-Key`: it may have been accepted."
    LEDGER_UNAVAILABLE SERVICE_UNAVAILABLE:
        "The ledger does not answer, or an earlier attempt of the request waits for settlement."
        "Send the request again after `Retry-After`. The line of the log with the same `requestId` has the cause."
    LOG_UNAVAILABLE SERVICE_UNAVAILABLE:
        "The log did not confirm the record, or cannot be read."
        "Repeat the request after `Retry-After` with the same `Idempotency-Key`: it may have been accepted. The line \
         of the log with the same `requestId` has the cause."
    OVERLOADED SERVICE_UNAVAILABLE:
        "Too many requests are in progress."
        "Send the request again after `Retry-After`."
    POLICY_UNAVAILABLE SERVICE_UNAVAILABLE:
        "A policy gave no decision, and `on_failure` of its hook is `refuse`. To an admin call: the gateway is stopping, \
         and did not finish checking the policy."
        "Send the request again after `Retry-After`."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_cannot_reject_with_a_reason_of_the_gateway() {
        let mut own: Vec<&str> = PROBLEM_TYPES.iter().map(|problem_type| problem_type.reason).collect();
        own.sort_unstable();
        own.retain(|reason| ![RATE_LIMITED.reason, USER_LIMIT.reason].contains(reason));
        assert_eq!(own, crate::policy::RESERVED_CODES);
    }

    #[test]
    fn the_types_are_listed_by_status_then_by_reason() {
        assert!(PROBLEM_TYPES.is_sorted_by_key(|problem_type| (problem_type.status.as_u16(), problem_type.reason)));
    }
}
