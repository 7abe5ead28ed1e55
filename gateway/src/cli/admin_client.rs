//! A client of the admin API.

use std::error::Error;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use uuid::Uuid;

use super::common::Failure;
use super::table::table;

/// A recount of many millions of outcomes takes this long. A download may pause for this long.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often a change is sent while its answer is lost.
const ATTEMPTS_MAX: u32 = 3;

#[derive(clap::Args)]
pub(super) struct AdminArgs {
    /// The URL of a gateway's admin listener.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8081", env = "SLUICE_ADMIN", global = true)]
    admin: String,
    /// A bearer token of admin.token_file or admin.tokens. Required from another machine.
    #[arg(long, env = "SLUICE_ADMIN_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
    /// The PEM file of a private CA that signed the certificate of the admin listener. Default: the system trust store.
    #[arg(long, value_name = "FILE", env = "SLUICE_ADMIN_CA_FILE", global = true)]
    ca_file: Option<PathBuf>,
    /// Print the answer as JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

impl AdminArgs {
    pub(super) fn client(&self) -> Result<AdminClient, Failure> {
        AdminClient::new(&self.admin, self.token.clone(), self.ca_file.as_deref()).map_err(Failure::usage)
    }

    pub(super) fn format(&self, answer: &Value) -> String {
        self.json(answer).unwrap_or_else(|| table(answer))
    }

    /// `None` unless the answer is to be printed as JSON.
    pub(super) fn json(&self, answer: &Value) -> Option<String> {
        self.json.then(|| format!("{answer:#}\n"))
    }
}

/// Calls the admin listener of a gateway.
pub(super) struct AdminClient {
    base: String,
    token: Option<String>,
    http: reqwest::Client,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminClientError {
    #[error("call {url}: {}; {}", cause(source), advice(source))]
    Unreachable { url: String, source: reqwest::Error },
    /// The gateway refused the call.
    #[error("{reason}: {detail}")]
    Refused { reason: String, detail: String },
    /// What arrived so far is not all.
    #[error("the answer of {url} ended early: {problem}; repeat the command")]
    CutShort { url: String, problem: String },
}

/// An answer that is read in parts.
pub(super) struct Download {
    url: String,
    response: reqwest::Response,
    /// The longest time without data; `None` for an answer that is open for what will happen.
    pause_max: Option<Duration>,
}

impl Download {
    pub(super) fn has_header(&self, name: &str) -> bool {
        self.response.headers().contains_key(name)
    }

    /// The next part; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, AdminClientError> {
        let cut_short = |problem: String| AdminClientError::CutShort { url: self.url.clone(), problem };
        let chunk = match self.pause_max {
            None => self.response.chunk().await,
            Some(pause) => {
                let chunk = tokio::time::timeout(pause, self.response.chunk()).await;
                chunk.map_err(|_| cut_short(format!("no data within {} seconds", pause.as_secs())))?
            }
        };
        chunk.map(|chunk| chunk.map(|bytes| bytes.to_vec())).map_err(|error| cut_short(error.to_string()))
    }
}

impl AdminClient {
    /// A client of the gateway whose admin listener is at `base`, such as `http://127.0.0.1:8081`.
    ///
    /// # Errors
    /// When `base` is not such a URL, or the file of the CA cannot be used.
    fn new(base: &str, token: Option<String>, ca_file: Option<&Path>) -> Result<Self, String> {
        let invalid = |problem: &dyn std::fmt::Display| {
            format!("--admin: expected a URL such as http://127.0.0.1:8081, found `{base}`: {problem}")
        };
        let url = reqwest::Url::parse(base).map_err(|error| invalid(&error))?;
        let host = url.host_str().ok_or_else(|| invalid(&"no host"))?;
        let builder = reqwest::Client::builder();
        // Proxies of the environment, such as HTTP_PROXY, cannot reach this machine's loopback address.
        let builder = if is_loopback(host) { builder.no_proxy() } else { builder };
        let builder = match ca_file {
            Some(file) => builder.tls_certs_only(read_authorities(file)?),
            None => builder,
        };
        let http = builder.build().map_err(|error| invalid(&error))?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), token, http })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, AdminClientError> {
        self.call(Method::GET, path, None, None).await
    }

    pub(super) async fn post(&self, path: &str, body: Option<Value>) -> Result<Value, AdminClientError> {
        self.call(Method::POST, path, body, None).await
    }

    pub(super) async fn patch(&self, path: &str, body: Value) -> Result<Value, AdminClientError> {
        self.call(Method::PATCH, path, Some(body), None).await
    }

    /// Sends a change that must not be applied twice. A new Idempotency-Key makes it safe to send the change again when
    /// its answer is lost.
    pub(super) async fn post_once(&self, path: &str, body: Value) -> Result<Value, AdminClientError> {
        let key = Uuid::new_v4();
        let mut attempt = 1;
        loop {
            match self.call(Method::POST, path, Some(body.clone()), Some(key)).await {
                Err(AdminClientError::Unreachable { source, .. }) if attempt < ATTEMPTS_MAX && !source.is_connect() => {
                    attempt += 1;
                }
                answer => return answer,
            }
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        key: Option<Uuid>,
    ) -> Result<Value, AdminClientError> {
        let url = format!("{}{path}", self.base);
        let mut request = self.request(method, &url).timeout(TIMEOUT);
        if let Some(key) = key {
            request = request.header("idempotency-key", key.to_string());
        }
        if let Some(body) = &body {
            request = request.json(body);
        }
        let unreachable = |source| AdminClientError::Unreachable { url: url.clone(), source };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let answer: Value = response.json().await.map_err(unreachable)?;
        if status.is_success() { Ok(answer) } else { Err(refused(&answer)) }
    }

    /// Gets an answer of any length.
    pub(super) async fn download(&self, path: &str) -> Result<Download, AdminClientError> {
        self.get_in_parts(path, Some(TIMEOUT)).await
    }

    /// Gets an answer that does not end.
    pub(super) async fn follow(&self, path: &str) -> Result<Download, AdminClientError> {
        self.get_in_parts(path, None).await
    }

    async fn get_in_parts(&self, path: &str, pause_max: Option<Duration>) -> Result<Download, AdminClientError> {
        let url = format!("{}{path}", self.base);
        let unreachable = |source| AdminClientError::Unreachable { url: url.clone(), source };
        let response = self.request(Method::GET, &url).send().await.map_err(unreachable)?;
        if response.status().is_success() {
            return Ok(Download { url, response, pause_max });
        }
        Err(refused(&response.json().await.map_err(unreachable)?))
    }

    fn request(&self, method: Method, url: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }
}

fn refused(answer: &Value) -> AdminClientError {
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    AdminClientError::Refused { reason: text("reason"), detail: text("detail") }
}

fn read_authorities(file: &Path) -> Result<Vec<reqwest::Certificate>, String> {
    let failed = |problem: &dyn std::fmt::Display| format!("--ca-file: read {}: {problem}", file.display());
    let pem = std::fs::read(file).map_err(|error| failed(&error))?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| failed(&cause(&error)))?;
    if certificates.is_empty() {
        return Err(failed(&"no certificate found: expected PEM"));
    }
    Ok(certificates)
}

/// The innermost error. The others repeat the URL.
fn cause(error: &reqwest::Error) -> String {
    let mut error: &dyn Error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn advice(error: &reqwest::Error) -> &'static str {
    let cause = cause(error);
    if cause.contains("certificate verify failed") {
        "name the CA of its certificate with --ca-file, or the host in the certificate with --admin"
    } else if cause.contains("wrong version number") || cause.contains("packet length too long") {
        "the admin listener has no TLS: use http://"
    } else {
        "is `sluice serve` running, and is --admin its admin address?"
    }
}

/// `host` as in a URL: an IPv6 address is in brackets.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// The Idempotency-Key of the request that a connection brings.
    async fn key_of(stream: &mut TcpStream) -> String {
        let mut request = String::new();
        while !request.ends_with('}') {
            let mut bytes = [0; 1024];
            let length = stream.read(&mut bytes).await.expect("a request");
            request.push_str(std::str::from_utf8(&bytes[..length]).expect("text"));
        }
        let key = request.lines().find_map(|line| line.strip_prefix("idempotency-key: ")).expect("a key");
        key.to_owned()
    }

    #[tokio::test]
    async fn a_change_whose_answer_is_lost_is_sent_again_under_the_same_key() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let client =
            AdminClient::new(&format!("http://{}", listener.local_addr().expect("bound")), None, None).expect("a URL");
        let server = async {
            let mut keys = Vec::new();
            for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"] {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                keys.push(key_of(&mut stream).await);
                stream.write_all(answer.as_bytes()).await.expect("answers");
            }
            keys
        };
        let (answer, keys) =
            tokio::join!(client.post_once("/admin/coupons/104/top-up", json!({ "amount": 1 })), server);
        assert_eq!(answer.expect("an answer"), json!({}));
        assert_eq!(keys[0], keys[1]);
    }

    #[test]
    fn only_this_machine_is_called_without_the_proxy_of_the_environment() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.8.8.8", "[::1]", "[::ffff:127.0.0.1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["sluice.example", "localhost.example", "192.0.2.7", "[2001:db8::1]"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn an_admin_address_that_is_no_url_is_refused_with_an_example() {
        for base in ["127.0.0.1:8081", "localhost:8081", "", "/admin"] {
            let error = AdminClient::new(base, None, None).err().expect("is refused");
            assert!(error.starts_with("--admin: expected a URL such as http://127.0.0.1:8081, found `"), "{error}");
        }
    }
}
