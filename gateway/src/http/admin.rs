//! The admin listener: its access check, and `GET /metrics`.

pub(super) mod coupon_pipelines;
pub(super) mod coupons;
pub(super) mod decisions;
pub(super) mod log;
pub(super) mod outcomes;
pub(super) mod policies;
pub(super) mod rollouts;
mod token;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::AdminRole;
use super::error::Problem;
use super::openapi::problems::{self, problems};
use super::problem_type::{FORBIDDEN, UNAUTHORIZED};
use crate::telemetry::Telemetry;

pub use token::AdminTokens;

/// Who may call the admin listener.
#[derive(Debug, Clone)]
pub struct AdminAccess {
    /// One is required of every call from another machine. Without any, such calls are refused.
    pub tokens: AdminTokens,
    /// The address of `admin.listen`.
    pub listen: IpAddr,
    /// Whether the listener has a certificate.
    pub uses_tls: bool,
}

/// The name of the token with which a change is made, or `local`: an extension of its request.
#[derive(Debug, Clone)]
pub(super) struct Caller(Arc<str>);

impl Caller {
    pub(super) fn name(&self) -> &str {
        &self.0
    }
}

/// Lets calls from this machine pass, and calls from other machines with a token. A call with a token of the role `read`
/// changes nothing, wherever it comes from.
///
/// A web page in an operator's browser can call the loopback address too. It is refused by its origin, or by the name
/// that it has rebound to this machine: an attacker can let a name of his own point here, but cannot own the names that
/// [`AdminAccess::is_local`] allows.
pub(super) async fn guard(State(access): State<AdminAccess>, mut request: Request, next: Next) -> Response {
    let caller = match access.check(&request) {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    if only_reads(request.method()) {
        return next.run(request).await;
    }
    let (caller, method, path) = (Caller(caller.into()), request.method().clone(), request.uri().path().to_owned());
    request.extensions_mut().insert(caller.clone());
    let response = next.run(request).await;
    tracing::info!(caller = caller.name(), %method, path, status = response.status().as_u16(), "admin call");
    response
}

/// The caller of a call from this machine without a token.
const LOCAL: &str = "local";

/// No admin call with one of these methods changes anything.
fn only_reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

impl AdminAccess {
    /// The name of the caller.
    fn check(&self, request: &Request) -> Result<&str, Problem> {
        let headers = request.headers();
        let hosts = hosts(request.uri(), headers);
        if self.is_cross_origin(headers, &hosts) {
            let detail = "cross-origin calls are not allowed: the Origin header must match the Host header";
            return Err(Problem::new(FORBIDDEN, detail));
        }
        if let Some(token) = bearer(headers).and_then(|token| self.tokens.find(token)) {
            if token.role == AdminRole::Read && !only_reads(request.method()) {
                let name = &token.name;
                let detail = format!("the token `{name}` may only read: call with a token of the role `operate`");
                return Err(Problem::new(FORBIDDEN, detail));
            }
            return Ok(&token.name);
        }
        let peer = request.extensions().get::<SocketAddr>();
        if !peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback()) {
            let problem = Problem::new(UNAUTHORIZED, self.explain_refusal(headers));
            return Err(problem.with(header::WWW_AUTHENTICATE, "Bearer"));
        }
        match hosts.iter().find(|host| !self.is_local(host)) {
            None => Ok(LOCAL),
            Some(host) => {
                let detail = format!(
                    "calls without a token must be addressed to localhost, 127.0.0.1 or [::1], found the host `{host}`"
                );
                Err(Problem::new(FORBIDDEN, detail))
            }
        }
    }

    /// Without TLS, a page may have come through a proxy with TLS. With TLS, a page that came without it may be forged.
    fn is_cross_origin(&self, headers: &HeaderMap, hosts: &[String]) -> bool {
        let is_own = |origin: &str| {
            origin.split_once("://").is_some_and(|(scheme, origin)| {
                (scheme == "https" || !self.uses_tls) && hosts.iter().any(|host| host.eq_ignore_ascii_case(origin))
            })
        };
        headers.get_all(header::ORIGIN).into_iter().any(|origin| !origin.to_str().is_ok_and(is_own))
    }

    /// What a caller from another machine has to do.
    fn explain_refusal(&self, headers: &HeaderMap) -> &'static str {
        if self.tokens.is_empty() {
            "calls from another machine are refused: set admin.token_file on the gateway"
        } else if headers.contains_key(header::AUTHORIZATION) {
            "the token is neither in admin.token_file nor in admin.tokens: correct --token or SLUICE_ADMIN_TOKEN, or the header \
             `Authorization: Bearer`"
        } else {
            "calls from another machine need a token of admin.token_file or admin.tokens: give it with --token or \
             SLUICE_ADMIN_TOKEN, or in the header `Authorization: Bearer`"
        }
    }

    /// Whether this machine answers to the host of a URL, such as `localhost:8081`.
    fn is_local(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let name = authority.host().trim_start_matches('[').trim_end_matches(']');
        match name.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback() || address == self.listen,
            Err(_) => name.eq_ignore_ascii_case("localhost"),
        }
    }
}

/// The hosts that a request names: in its target, as HTTP/2 does and as proxies do, and in its Host headers. A browser
/// always names one.
fn hosts(uri: &Uri, headers: &HeaderMap) -> Vec<String> {
    let in_target = uri.authority().map(ToString::to_string);
    let in_headers = headers.get_all(header::HOST).into_iter();
    let in_headers = in_headers.map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    in_target.into_iter().chain(in_headers).collect()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

problems!(MetricsProblems: problems::EVERY_CALL, problems::GUARDED);

/// Metrics
///
/// In the text format of Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "metrics", operation_id = "getMetrics",
    responses((status = 200, description = "All metrics of this process.", body = String), MetricsProblems)
)]
pub(super) async fn metrics(State(telemetry): State<Telemetry>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], telemetry.render())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::StatusCode;

    use super::*;

    const TOKEN: &str = "a token that is long enough";
    const READ_TOKEN: &str = "another token that is long enough";

    fn check(peer: &str, uri: &str, headers: &[(&str, &str)]) -> StatusCode {
        check_with(false, peer, uri, headers)
    }

    fn check_with(uses_tls: bool, peer: &str, uri: &str, headers: &[(&str, &str)]) -> StatusCode {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(uses_tls, peer, request.body(Body::empty()).expect("a request"))
    }

    fn answer(uses_tls: bool, peer: &str, mut request: Request) -> StatusCode {
        let tokens = [("admin", AdminRole::Operate, TOKEN), ("grafana", AdminRole::Read, READ_TOKEN)];
        let access = AdminAccess { tokens: AdminTokens::of(&tokens), listen: IpAddr::from([192, 0, 2, 7]), uses_tls };
        request.extensions_mut().insert(SocketAddr::new(peer.parse().expect("an address"), 1));
        access.check(&request).map_or_else(|problem| problem.into_response().status(), |_| StatusCode::OK)
    }

    #[test]
    fn a_token_of_the_role_read_changes_nothing_wherever_it_comes_from() {
        let call = |method: &str, peer: &str, token: &str| {
            let request = Request::builder().method(method).uri("/admin/pipeline").header("host", "localhost");
            let request = request.header("authorization", format!("Bearer {token}")).body(Body::empty());
            answer(false, peer, request.expect("a request"))
        };
        for peer in ["127.0.0.1", "198.51.100.1"] {
            for method in ["GET", "HEAD"] {
                assert_eq!(call(method, peer, READ_TOKEN), StatusCode::OK, "{method} {peer}");
            }
            for method in ["POST", "PUT", "PATCH", "DELETE"] {
                assert_eq!(call(method, peer, READ_TOKEN), StatusCode::FORBIDDEN, "{method} {peer}");
                assert_eq!(call(method, peer, TOKEN), StatusCode::OK, "{method} {peer}");
            }
        }
    }

    #[test]
    fn a_local_call_passes_only_under_a_name_of_this_machine() {
        for host in ["localhost", "LOCALHOST:8081", "127.0.0.1:8081", "127.8.8.8", "[::1]:8081", "192.0.2.7:8081"] {
            assert_eq!(check("127.0.0.1", "/metrics", &[("host", host)]), StatusCode::OK, "{host}");
        }
        for host in
            ["evil.example", "evil.example:8081", "localhost.evil.example", "192.0.2.8", "0.0.0.0", "", "[", "a b"]
        {
            assert_eq!(check("127.0.0.1", "/metrics", &[("host", host)]), StatusCode::FORBIDDEN, "{host}");
        }
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(check("127.0.0.1", "/metrics", &two), StatusCode::FORBIDDEN);
        assert_eq!(check("::1", "http://evil.example/metrics", &two[..1]), StatusCode::FORBIDDEN);
        assert_eq!(check("::ffff:127.0.0.1", "http://localhost/metrics", &[]), StatusCode::OK);
    }

    #[test]
    fn the_token_opens_from_everywhere_and_under_every_name() {
        for scheme in ["Bearer", "bearer", "BEARER"] {
            let headers = [("host", "sluice.example"), ("authorization", &*format!("{scheme} {TOKEN}"))];
            for peer in ["127.0.0.1", "198.51.100.1"] {
                assert_eq!(check(peer, "/metrics", &headers), StatusCode::OK, "{scheme} {peer}");
            }
        }
        for authorization in ["Bearer", "Bearer another token altogether", "Basic a token that is long enough"] {
            let headers = [("host", "localhost"), ("authorization", authorization)];
            assert_eq!(check("198.51.100.1", "/metrics", &headers), StatusCode::UNAUTHORIZED, "{authorization}");
        }
    }

    #[test]
    fn a_wrong_token_is_told_from_a_missing_one() {
        let explain = |tokens: &AdminTokens, headers: &[(header::HeaderName, &str)]| {
            let access = AdminAccess { tokens: tokens.clone(), listen: IpAddr::from([192, 0, 2, 7]), uses_tls: false };
            let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value")));
            access.explain_refusal(&headers.collect())
        };
        let tokens = AdminTokens::of(&[("admin", AdminRole::Operate, TOKEN)]);
        assert!(explain(&tokens, &[]).starts_with("calls from another machine need a token"));
        let wrong = explain(&tokens, &[(header::AUTHORIZATION, "Bearer another")]);
        assert!(wrong.starts_with("the token is neither in admin.token_file nor"), "{wrong}");
        for text in [explain(&tokens, &[]), wrong] {
            assert!(text.contains("--token") && text.contains("SLUICE_ADMIN_TOKEN"), "{text}");
        }
        assert!(explain(&AdminTokens::default(), &[]).ends_with("set admin.token_file on the gateway"));
    }

    #[test]
    fn a_page_of_another_origin_is_refused_even_with_the_token() {
        for origin in ["http://evil.example", "http://localhost:8080", "null", "http://evil.example/localhost:8081"] {
            let headers =
                [("host", "localhost:8081"), ("origin", origin), ("authorization", &*format!("Bearer {TOKEN}"))];
            assert_eq!(check("127.0.0.1", "/metrics", &headers), StatusCode::FORBIDDEN, "{origin}");
        }
        let same = [("host", "localhost:8081"), ("origin", "http://localhost:8081")];
        assert_eq!(check("127.0.0.1", "/metrics", &same), StatusCode::OK);
    }

    #[test]
    fn with_tls_a_page_that_came_without_it_is_of_another_origin() {
        for (origin, status) in
            [("https://localhost:8081", StatusCode::OK), ("http://localhost:8081", StatusCode::FORBIDDEN)]
        {
            let headers = [("host", "localhost:8081"), ("origin", origin)];
            assert_eq!(check_with(true, "127.0.0.1", "/metrics", &headers), status, "{origin}");
        }
        let proxied = [("host", "localhost:8081"), ("origin", "https://localhost:8081")];
        assert_eq!(check("127.0.0.1", "/metrics", &proxied), StatusCode::OK);
    }
}
