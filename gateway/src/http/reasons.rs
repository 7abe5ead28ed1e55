//! What each `reason` means: `docs/reasons.md`, and `GET /problems/{reason}`, to which the `type` of problem details
//! leads.

use std::fmt::Write as _;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::Problem;
use super::openapi::problems::{self, problems};
use super::problem_type::{NOT_FOUND, PROBLEM_TYPES, ProblemType};
use crate::policy::is_code;

const INTRODUCTION: &str = "\
# Reasons

Every error answer is `application/problem+json` (RFC 9457). Its `reason` is stable: decide by it, not by `detail`.

| member | meaning |
| --- | --- |
| `type` | `/problems/REASON`, relative to the listener that answers. `GET` it to read the entry of this page. |
| `title`, `status` | The HTTP status. |
| `reason` | One of the reasons below, or a code of a policy. |
| `detail` | What happened, in words. |
| `field` | The field of the body that is wrong, if it is one. |
| `requestId` | The id that the log has for the failure, if only the log has the cause. |

This page is generated from the sources. `UPDATE_DOCS=1 cargo test -p sluice --test it tidy::` writes it again.

## Reasons of error answers

| status | reason | cause | what a client should do |
| --- | --- | --- | --- |
";

const CODES: &str = "
## Codes of policies

A policy rejects a request with status 429 and a code: `RATE_LIMITED`, `USER_LIMIT`, or a word of its own of up to 64
characters `A`–`Z`, `0`–`9` and `_`, with a letter first. The author of the policy knows what the word means; `detail`
names the hook. If the policy knows when a new request may succeed, the answer has the header `Retry-After`. Without it, a
retry cannot succeed.

All other reasons above are reserved: a policy that rejects with one of them gives no valid decision, and `on_failure` of
its hook applies.
";

const OUTCOMES: &str = "
## Reasons of outcomes

An accepted request can still be rejected when it is settled. `GET statusUrl` then answers 200 with the status `REJECTED`
and one of these reasons. An outcome never changes.

| reason | cause | what a client should do |
| --- | --- | --- |
| `SOLD_OUT` | Every shard of the coupon was empty. | Stop, or send a new request after a top-up. |
| `USER_LIMIT` | The user already holds the campaign's `perUserLimit`. | Stop. |
| `INVALID` | The record could not be read, or names a coupon without a campaign. | Tell the operator: the dead letters have a copy. |
";

const CODE_OF_A_POLICY: &str = "\
Status: 429.
Cause: A policy rejected the request with a code of its own. `detail` names the hook.
What to do: Send the request again after `Retry-After`. Without that header, a retry cannot succeed.
";

/// `docs/reasons.md`.
#[must_use]
pub fn reasons_page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for ProblemType { reason, status, cause, remedy } in PROBLEM_TYPES {
        let _ = writeln!(page, "| {} | `{reason}` | {cause} | {remedy} |", status.as_u16());
    }
    page + CODES + OUTCOMES
}

pub(super) fn calls() -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(reason))
}

problems!(ReasonProblems: problems::EVERY_CALL, &[NOT_FOUND]);

/// Explain a `reason`
///
/// The `type` of problem details leads here. A code that is not one of the gateway's own reasons is that of a policy.
#[utoipa::path(
    get, path = "/problems/{reason}", operation_id = "explainReason", tag = "problems", security(()),
    params(("reason" = String, Path, description = "The `reason` of an error answer.",
        pattern = "^[A-Z][A-Z0-9_]{0,63}$", example = "SOLD_OUT")),
    responses((status = 200, description = "Status, cause, and what a client should do.", body = String), ReasonProblems)
)]
async fn reason(reason: Result<Path<String>, PathRejection>) -> Result<impl IntoResponse, Problem> {
    let text = reason.ok().and_then(|Path(reason)| explain(&reason));
    let text =
        text.ok_or_else(|| Problem::new(NOT_FOUND, "expected the reason of an error answer, such as SOLD_OUT"))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text))
}

fn explain(reason: &str) -> Option<String> {
    let explanation = match PROBLEM_TYPES.iter().find(|known| known.reason == reason) {
        Some(ProblemType { status, cause, remedy, .. }) => {
            format!("Status: {}.\nCause: {cause}\nWhat to do: {remedy}\n", status.as_u16())
        }
        None if is_code(reason) => CODE_OF_A_POLICY.to_owned(),
        None => return None,
    };
    Some(format!("{reason}\n\n{explanation}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_an_explanation_and_so_does_the_code_of_a_policy() {
        for ProblemType { reason, cause, .. } in PROBLEM_TYPES {
            assert!(explain(reason).is_some_and(|text| text.contains(cause)), "{reason}");
        }
        assert!(explain("TOO_YOUNG").is_some_and(|text| text.contains("429")));
        for not_a_code in ["", "sold_out", "SOLD-OUT", "7", &"A".repeat(65)] {
            assert_eq!(explain(not_a_code), None, "{not_a_code}");
        }
    }
}
