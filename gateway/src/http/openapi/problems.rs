//! The error answers of a call, for its description.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::{Header, HeaderBuilder, Object, Ref, RefOr, Response, ResponseBuilder};

use super::super::error::PROBLEM_JSON;
use super::super::problem_type::{
    BODY_TOO_LARGE, FORBIDDEN, HEADERS_TOO_LARGE, INTERNAL, INVALID, MALFORMED, NOT_OPEN, OVERLOADED, ProblemType,
    RATE_LIMITED, TIMEOUT, TLS_REQUIRED, UNAUTHORIZED, UNSUPPORTED_MEDIA_TYPE,
};

pub(in crate::http) type Responses = BTreeMap<String, RefOr<Response>>;

/// What every call may be answered.
pub(in crate::http) const EVERY_CALL: &[ProblemType] =
    &[MALFORMED, TLS_REQUIRED, TIMEOUT, HEADERS_TOO_LARGE, INTERNAL, OVERLOADED];

/// What an admin call may be answered in addition.
pub(in crate::http) const GUARDED: &[ProblemType] = &[UNAUTHORIZED, FORBIDDEN];

/// What a call with a body may be answered in addition.
pub(in crate::http) const BODY: &[ProblemType] = &[BODY_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE];

/// What a call with a body in JSON may be answered in addition to that.
pub(in crate::http) const JSON: &[ProblemType] = &[INVALID];

/// Defines a type for `responses(…)` of a handler: `problems!(Name: list, list)`.
macro_rules! problems {
    ($name:ident: $($list:expr),+) => {
        struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> $crate::http::openapi::problems::Responses {
                $crate::http::openapi::problems::responses(&[$($list),+].concat())
            }
        }
    };
}
pub(in crate::http) use problems;

/// One answer for each status.
pub(in crate::http) fn responses(problem_types: &[ProblemType]) -> Responses {
    let mut by_status = BTreeMap::<_, Vec<&ProblemType>>::new();
    for problem_type in problem_types {
        by_status.entry(problem_type.status).or_default().push(problem_type);
    }
    by_status.iter().map(|(status, types)| (status.as_str().to_owned(), response(*status, types).into())).collect()
}

fn response(status: StatusCode, types: &[&ProblemType]) -> Response {
    let causes: Vec<String> = types.iter().map(|known| format!("- `{}`: {}", known.reason, known.cause)).collect();
    let content = ContentBuilder::new().schema(Some(details(types))).build();
    let response = ResponseBuilder::new().description(causes.join("\n")).content(PROBLEM_JSON, content);
    headers(status, types).into_iter().fold(response, |response, (name, header)| response.header(name, header)).build()
}

/// Problem details with one of these reasons. A policy has codes of its own.
fn details(types: &[&ProblemType]) -> Schema {
    let reason = ObjectBuilder::new().schema_type(Type::String);
    let reason = if types.contains(&&RATE_LIMITED) {
        reason.pattern(Some("^[A-Z][A-Z0-9_]{0,63}$"))
    } else {
        reason.enum_values(Some(types.iter().map(|known| known.reason)))
    };
    let narrowed = ObjectBuilder::new().schema_type(Type::Object).property("reason", reason);
    AllOfBuilder::new().item(Ref::from_schema_name("ProblemDetails")).item(narrowed).into()
}

fn headers(status: StatusCode, types: &[&ProblemType]) -> Vec<(&'static str, Header)> {
    let retry_after = || ("Retry-After", header(Type::Integer, "When to send the request again, in seconds."));
    match status {
        StatusCode::UNAUTHORIZED => vec![("WWW-Authenticate", header(Type::String, "`Bearer`."))],
        StatusCode::CONFLICT if types.contains(&&NOT_OPEN) => {
            vec![("Retry-After", header(Type::Integer, "With `NOT_OPEN`: when the campaign opens, in seconds."))]
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            vec![("Accept-Encoding", header(Type::String, "`identity`, if the body had a `Content-Encoding`."))]
        }
        StatusCode::TOO_MANY_REQUESTS => vec![
            retry_after(),
            ("RateLimit", header(Type::String, "The hook that rejected the request, and when it has quota again.")),
            ("RateLimit-Policy", header(Type::String, "The quota of the hook, if its policy declared one.")),
        ],
        StatusCode::SERVICE_UNAVAILABLE => vec![retry_after()],
        _ => Vec::new(),
    }
}

pub(in crate::http) fn header(schema_type: Type, description: &str) -> Header {
    HeaderBuilder::new().schema(Some(Object::with_type(schema_type))).description(Some(description)).build()
}
