//! Gateways on one ledger, and the calls that the benchmark makes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::common::Server;
use crate::common::distributed::Stage;

const POLL_EVERY: Duration = Duration::from_millis(2);

/// Each request is from a new user.
static USERS: AtomicU64 = AtomicU64::new(1);

/// Where a gateway runs. Compiled policies outlive it.
pub(crate) struct Machine {
    variables: Vec<(&'static str, String)>,
    _compiled: TempDir,
}

pub(crate) struct Gateway {
    pub(crate) server: Server,
    client: Client,
}

/// A decision about a coupon.
pub(crate) struct Decided {
    pub(crate) generation: u64,
    /// From the request to its answer.
    pub(crate) took: Duration,
}

impl Machine {
    pub(crate) fn on(stage: &Stage) -> Self {
        let compiled = tempfile::tempdir().expect("a temporary folder");
        let cache_dir = ("POLICIES__CACHE_DIR", compiled.path().display().to_string());
        Self { variables: stage.variables(None).into_iter().chain([cache_dir]).collect(), _compiled: compiled }
    }

    /// Starts a gateway and waits until it is ready.
    pub(crate) async fn start(&self) -> Gateway {
        let variables: Vec<_> = self.variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let gateway = Gateway { server: Server::sluice("gateway", &variables), client: Client::new() };
        while !gateway.is_ready().await {
            sleep(POLL_EVERY).await;
        }
        gateway
    }
}

impl Gateway {
    async fn is_ready(&self) -> bool {
        self.client.get(self.server.http_url("/readyz")).send().await.expect("answers").status().is_success()
    }

    /// Changes a pipeline. Returns its generation.
    pub(crate) async fn change(&self, path: &str, hooks: &Value) -> u64 {
        let answer = self.client.put(self.server.admin_url(path)).json(hooks).send().await.expect("answers");
        let (status, body) = (answer.status(), answer.json::<Value>().await.expect("JSON"));
        assert!(status.is_success(), "{status}: {body}");
        body["generation"].as_u64().expect("a number")
    }

    pub(crate) async fn ask(&self, coupon: u64) -> Decided {
        let user = USERS.fetch_add(1, Ordering::Relaxed);
        let body = json!({ "userId": user, "couponId": coupon, "policyId": 21, "typeSnapshot": "FIXED" });
        let begun = Instant::now();
        let answer = self.client.post(self.server.http_url("/coupon/issue")).json(&body).send().await.expect("answers");
        let took = begun.elapsed();
        assert_eq!(answer.status(), 202);
        let generation = answer.headers()["sluice-generation"].to_str().expect("text").parse().expect("a number");
        // Only then is the connection free for the next request.
        answer.bytes().await.expect("is read");
        Decided { generation, took }
    }

    /// Asks until this generation of a coupon's pipeline, or a newer one, has decided.
    pub(crate) async fn until_decided_by(&self, generation: u64, coupon: u64) {
        while self.ask(coupon).await.generation < generation {
            sleep(POLL_EVERY).await;
        }
    }
}
