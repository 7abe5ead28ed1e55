//! The admin API, called from the command line.

use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::Method;
use serde_json::Value;

/// An audit of many millions of outcomes takes its time.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Calls the admin listener of a gateway.
pub struct Client {
    base: String,
    token: Option<String>,
    http: reqwest::Client,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answered.
    #[error("call {url}: {source}; is `sluice serve` running, and is --admin its admin address?")]
    Unreachable {
        /// What was called.
        url: String,
        /// What went wrong.
        source: reqwest::Error,
    },
    /// The gateway said no.
    #[error("{reason}: {detail}")]
    Refused {
        /// Its word for programs.
        reason: String,
        /// Its words for people.
        detail: String,
    },
}

impl Client {
    /// A client of the gateway whose admin listener is at `base`, such as `http://127.0.0.1:8081`.
    #[must_use]
    pub fn new(base: &str, token: Option<String>) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), token, http: reqwest::Client::new() }
    }

    /// Reads.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn get<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Value, ClientError>> {
        Box::pin(self.call(Method::GET, path, None))
    }

    /// Changes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn post<'a>(&'a self, path: &'a str, body: Option<Value>) -> BoxFuture<'a, Result<Value, ClientError>> {
        Box::pin(self.call(Method::POST, path, body))
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, ClientError> {
        let url = format!("{}{path}", self.base);
        let mut request = self.http.request(method, &url).timeout(TIMEOUT);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = &body {
            request = request.json(body);
        }
        let unreachable = |source| ClientError::Unreachable { url: url.clone(), source };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let answer: Value = response.json().await.map_err(unreachable)?;
        if status.is_success() {
            return Ok(answer);
        }
        let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Err(ClientError::Refused { reason: text("reason"), detail: text("detail") })
    }
}

/// An answer for people: a list as lines under a heading, one thing as a line a field.
#[must_use]
pub fn table(answer: &Value) -> String {
    match answer {
        Value::Array(rows) => grid(rows),
        Value::Object(fields) => {
            let width = fields.keys().map(String::len).max().unwrap_or(0);
            fields
                .iter()
                .map(|(name, value)| match value {
                    Value::Array(rows) => format!("{name}\n{}", grid(rows)),
                    value => format!("{name:width$}  {}\n", plain(value)),
                })
                .collect()
        }
        other => format!("{}\n", plain(other)),
    }
}

fn grid(rows: &[Value]) -> String {
    let names: Vec<&String> = rows
        .first()
        .and_then(Value::as_object)
        .map(|row| row.iter().filter(|(_, value)| !value.is_array()).map(|(name, _)| name).collect())
        .unwrap_or_default();
    let heading: Vec<String> = names.iter().map(|name| (*name).clone()).collect();
    let cells = rows.iter().map(|row| names.iter().map(|name| plain(&row[name.as_str()])).collect());
    let lines: Vec<Vec<String>> = std::iter::once(heading).chain(cells).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    lines
        .iter()
        .map(|line| {
            let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
            format!("  {}\n", cells.join("  "))
        })
        .collect()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
