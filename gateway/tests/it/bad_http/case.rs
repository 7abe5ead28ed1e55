//! An invalid request and its expected answer.

use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Request};
use serde_json::json;

use crate::client::{Answer, raw};
use crate::harness::Gateway;

/// The gateway answers invalid HTTP at once and closes the connection. A busy machine may take its time.
const RAW_WITHIN: Duration = Duration::from_secs(60);

pub(super) struct Case {
    name: &'static str,
    send: Send,
    to_operators: bool,
    status: u16,
    reason: &'static str,
    field: Option<&'static str>,
    detail: String,
    headers: Vec<(&'static str, &'static str)>,
}

enum Send {
    Request(Box<Request<Full<Bytes>>>),
    Raw(Vec<u8>),
}

impl Case {
    fn of(name: &'static str, send: Send) -> Self {
        Self {
            name,
            send,
            to_operators: false,
            status: 0,
            reason: "",
            field: None,
            detail: String::new(),
            headers: Vec::new(),
        }
    }

    pub(super) fn request(name: &'static str, request: Request<Full<Bytes>>) -> Self {
        Self::of(name, Send::Request(Box::new(request)))
    }

    pub(super) fn issue(name: &'static str, body: impl Into<Bytes>) -> Self {
        Self::request(name, crate::client::post("/coupon/issue", body))
    }

    pub(super) fn raw(name: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        Self::of(name, Send::Raw(bytes.into()))
    }

    pub(super) fn admin(name: &'static str, method: Method, path: &str, body: impl Into<Bytes>) -> Self {
        let mut request = crate::client::post(path, body);
        *request.method_mut() = method;
        Self { to_operators: true, ..Self::request(name, request) }
    }

    pub(super) fn is(mut self, status: u16, reason: &'static str, detail: impl Into<String>) -> Self {
        (self.status, self.reason, self.detail) = (status, reason, detail.into());
        self
    }

    /// 422, with the field's name.
    pub(super) fn invalid_in(self, field: &'static str, detail: impl Into<String>) -> Self {
        Self { field: Some(field), ..self.is(422, "INVALID", detail) }
    }

    /// Adds a header that the answer must have.
    pub(super) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The difference between the expected answer and the received one.
    pub(super) async fn differs(&self, gateway: &Gateway) -> Option<String> {
        let Some(answer) = self.answer(gateway).await else { return Some(format!("{}: no answer", self.name)) };
        let mut expected = json!({
            "type": format!("/problems/{}", self.reason), "title": title(self.status), "status": self.status,
            "reason": self.reason, "detail": self.detail,
        });
        if let Some(field) = self.field {
            expected["field"] = json!(field);
        }
        let is_problem = answer.header("content-type") == Some("application/problem+json");
        let has_headers = self.headers.iter().all(|(name, value)| answer.header(name) == Some(value));
        let body = serde_json::from_slice(&answer.body).unwrap_or(json!(null));
        let is_right = answer.status == self.status && is_problem && has_headers && body == expected;
        (!is_right).then(|| format!("{}:\n  expected {expected} {:?}\n  found    {answer}", self.name, self.headers))
    }

    async fn answer(&self, gateway: &Gateway) -> Option<Answer> {
        match &self.send {
            Send::Request(request) => {
                let client = if self.to_operators { &gateway.operator } else { &gateway.client };
                client.send(request.as_ref().clone()).await.ok()
            }
            Send::Raw(bytes) => Answer::of_text(&raw(gateway.http, bytes, RAW_WITHIN).await),
        }
    }
}

/// RFC 9110's name of a status.
fn title(status: u16) -> &'static str {
    let status = hyper::StatusCode::from_u16(status).expect("a status");
    status.canonical_reason().expect("a status of RFC 9110")
}

/// The fields of a request for a coupon, in order, each with its JSON as text.
#[derive(Clone)]
pub(super) struct Body(Vec<(String, String)>);

impl Body {
    /// Only the required fields.
    pub(super) fn good() -> Self {
        let fields = [("userId", "1"), ("couponId", "104"), ("policyId", "21"), ("typeSnapshot", "\"FIXED\"")];
        Self(fields.map(|(name, json)| (name.to_owned(), json.to_owned())).to_vec())
    }

    /// Replaces a field, or appends it.
    pub(super) fn with(mut self, name: &str, json: &str) -> Self {
        match self.0.iter_mut().find(|field| field.0 == name) {
            Some(field) => json.clone_into(&mut field.1),
            None => return self.and(name, json),
        }
        self
    }

    /// Appends a field, which may then be there twice.
    pub(super) fn and(mut self, name: &str, json: &str) -> Self {
        self.0.push((name.to_owned(), json.to_owned()));
        self
    }

    pub(super) fn without(mut self, name: &str) -> Self {
        self.0.retain(|field| field.0 != name);
        self
    }

    pub(super) fn for_user(&self, user: u64) -> Self {
        self.clone().with("userId", &user.to_string())
    }

    pub(super) fn text(&self) -> String {
        let fields: Vec<_> = self.0.iter().map(|(name, json)| format!("\"{name}\":{json}")).collect();
        format!("{{{}}}", fields.join(","))
    }
}
