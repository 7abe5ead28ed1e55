//! A client of the admin API.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::table::table;

/// An audit of many millions of outcomes takes this long.
const TIMEOUT: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub(super) struct AdminArgs {
    /// The URL of a gateway's admin listener.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8081", env = "SLUICE_ADMIN", global = true)]
    admin: String,
    /// The bearer token of admin.token_file. Required from another machine.
    #[arg(long, env = "SLUICE_ADMIN_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
    /// Print the answer as JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

impl AdminArgs {
    pub(super) fn client(&self) -> AdminClient {
        AdminClient::new(&self.admin, self.token.clone())
    }

    pub(super) fn format(&self, answer: &Value) -> String {
        if self.json { format!("{answer:#}\n") } else { table(answer) }
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
    #[error("call {url}: {source}; is `sluice serve` running, and is --admin its admin address?")]
    Unreachable { url: String, source: reqwest::Error },
    /// The gateway refused the call.
    #[error("{reason}: {detail}")]
    Refused { reason: String, detail: String },
}

impl AdminClient {
    /// A client of the gateway whose admin listener is at `base`, such as `http://127.0.0.1:8081`.
    fn new(base: &str, token: Option<String>) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), token, http: reqwest::Client::new() }
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, AdminClientError> {
        self.call(Method::GET, path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: Option<Value>) -> Result<Value, AdminClientError> {
        self.call(Method::POST, path, body).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, AdminClientError> {
        let url = format!("{}{path}", self.base);
        let mut request = self.http.request(method, &url).timeout(TIMEOUT);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = &body {
            request = request.json(body);
        }
        let unreachable = |source| AdminClientError::Unreachable { url: url.clone(), source };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let answer: Value = response.json().await.map_err(unreachable)?;
        if status.is_success() {
            return Ok(answer);
        }
        let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Err(AdminClientError::Refused { reason: text("reason"), detail: text("detail") })
    }
}
