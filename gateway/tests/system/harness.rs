//! A system of its own for each test: temporary files, free ports, and a client for each listener.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sluice::app::{Ports, Running, System};
use sluice::config::{Config, Role};
use sluice::policy::CompilerProgram;
use tempfile::TempDir;

use crate::faulty::{FaultyLedger, LedgerFaults};

/// Longer than anything takes here, also on a slow machine that compiles at the same time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A running system and its files.
pub(crate) struct Fixture {
    pub(crate) running: Running,
    pub(crate) files: Files,
    client: reqwest::Client,
}

/// The data of a system, which survives it.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// With these policies in a folder `policies`.
    pub(crate) fn with_policies(names: &[&str]) -> Self {
        let files = Self::new();
        std::fs::create_dir(files.path("policies")).expect("creates a folder");
        for name in names {
            std::fs::write(files.policy(name), built(name)).expect("copies a policy");
        }
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The file of a policy in the folder `policies`.
    pub(crate) fn policy(&self, name: &str) -> PathBuf {
        self.path("policies").join(format!("{name}.wasm"))
    }

    /// Embedded ports in these files, and free ports to listen on.
    pub(crate) fn config(&self) -> Config {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config::default();
        config.http.listen = free;
        config.admin.listen = free;
        config.log.url = format!("embedded:{}", self.path("log").display());
        config.ledger.url = format!("sqlite:{}", self.path("ledger.db").display());
        config.policies.dir = built_policies();
        config.policies.applied_file = Some(self.path("applied.json"));
        config.decisions.dir = self.path("decisions");
        config.policies.compiler = CompilerProgram::Other(env!("CARGO_BIN_EXE_sluice").into());
        // Shared by all tests: few of them are about compiling.
        config.policies.cache_dir = Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"));
        config
    }
}

pub(crate) fn built_policies() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    assert!(folder.join("random.wasm").exists(), "the policies are not built: run policies/build");
    folder
}

/// The component of a built policy.
pub(crate) fn built(policy: &str) -> Vec<u8> {
    std::fs::read(built_policies().join(format!("{policy}.wasm"))).expect("reads a policy")
}

impl Fixture {
    /// With defaults, but for paths and addresses.
    pub(crate) async fn start() -> Self {
        Self::with(Files::new(), |_| {}, |ports| ports).await
    }

    /// With a changed configuration and changed ports.
    pub(crate) async fn with(
        files: Files,
        configure: impl FnOnce(&mut Config),
        replace: impl FnOnce(Ports) -> Ports,
    ) -> Self {
        let mut config = files.config();
        configure(&mut config);
        let ports = replace(Ports::open(&config).await.expect("embedded ports open"));
        Self::on(ports, files, config).await
    }

    /// On open ports, which another system may use too.
    pub(crate) async fn on(ports: Ports, files: Files, config: Config) -> Self {
        let running = System::start(config, ports).await.expect("the system starts");
        Self { running, files, client: reqwest::Client::new() }
    }

    /// Without settlement: accepted requests stay in the log.
    pub(crate) async fn gateway_only(files: Files) -> Self {
        Self::with(files, |config| config.role = Role::Gateway, |ports| ports).await
    }

    /// Stops the system in good order and keeps its files.
    pub(crate) async fn stop(self) -> Files {
        self.running.stop().await.expect("the system stops in good order");
        self.files
    }

    /// Stops a system that a test broke; answers with how that went.
    pub(crate) async fn stop_without_settling(self) -> Result<(), sluice::background::TaskFailure> {
        self.running.stop().await
    }

    /// Calls the public listener.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let address = self.running.http.expect("a gateway");
        self.send(method, format!("http://{address}{path}"), body).await
    }

    /// Calls the admin listener.
    pub(crate) async fn operate(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.send(method, format!("http://{}{path}", self.running.admin), body).await
    }

    /// Uploads a component under the name of a policy.
    pub(crate) async fn upload(&self, name: &str, component: Vec<u8>) -> Answer {
        let url = format!("http://{}/admin/policies?name={name}", self.running.admin);
        Answer::of(self.client.post(url).body(component).send().await.expect("the listener answers")).await
    }

    /// Uploads a component with a signature.
    pub(crate) async fn upload_signed(&self, name: &str, component: Vec<u8>, signature: &str) -> Answer {
        let url = format!("http://{}/admin/policies?name={name}", self.running.admin);
        let request = self.client.post(url).header("sluice-signature", signature).body(component);
        Answer::of(request.send().await.expect("the listener answers")).await
    }

    /// Changes the shard picker to the newest version of a policy.
    pub(crate) async fn pick_with(&self, policy: &str) -> Answer {
        let patch = json!({ "shard-picker": { "policy": policy } });
        self.operate(Method::PUT, "/admin/pipeline", Some(patch)).await
    }

    /// Changes coupon 104 under an Idempotency-Key.
    pub(crate) async fn change_under(&self, key: &str, action: &str, body: Value) -> Answer {
        self.post_under(key, format!("http://{}/admin/coupons/104/{action}", self.running.admin), body).await
    }

    /// Requests a coupon under an Idempotency-Key.
    pub(crate) async fn issue_under(&self, key: &str, body: Value) -> Answer {
        let address = self.running.http.expect("a gateway");
        self.post_under(key, format!("http://{address}/coupon/issue"), body).await
    }

    async fn post_under(&self, key: &str, url: String, body: Value) -> Answer {
        let request = self.client.post(url).header("idempotency-key", key).json(&body);
        Answer::of(request.send().await.expect("the listener answers")).await
    }

    async fn send(&self, method: Method, url: String, body: Option<Value>) -> Answer {
        let mut request = self.client.request(method, url);
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::of(request.send().await.expect("the listener answers")).await
    }

    /// A raw body to `POST /coupon/issue`.
    pub(crate) async fn post_raw(&self, content_type: &str, body: Vec<u8>) -> Answer {
        let address = self.running.http.expect("a gateway");
        let request = self.client.post(format!("http://{address}/coupon/issue")).header("content-type", content_type);
        Answer::of(request.body(body).send().await.expect("the listener answers")).await
    }

    /// Requests coupon 104 for a user.
    pub(crate) async fn issue(&self, user: u64) -> Answer {
        self.call(Method::POST, "/coupon/issue", Some(payload(user))).await
    }

    /// Requests coupon 104, which must be accepted; answers with the status URL.
    pub(crate) async fn accepted(&self, user: u64) -> String {
        let answer = self.issue(user).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
        answer.body["statusUrl"].as_str().expect("a status URL").to_owned()
    }

    /// Waits for the outcome behind a status URL.
    pub(crate) async fn outcome(&self, status_url: &str) -> Value {
        eventually("the request has an outcome", async || {
            let answer = self.call(Method::GET, &format!("{status_url}&wait=20s"), None).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
            (answer.body["status"] != "PENDING").then_some(answer.body)
        })
        .await
    }

    /// The status URL of a request that does not exist.
    pub(crate) const UNKNOWN_REQUEST: &str = "/coupon/issue/00000000000000000000000000000001";

    /// Waits until the ledger is read again after an outage.
    pub(crate) async fn sees_the_ledger(&self) {
        eventually("the ledger is read again", async || {
            let status = self.call(Method::GET, Self::UNKNOWN_REQUEST, None).await.status;
            (status == StatusCode::NOT_FOUND).then_some(())
        })
        .await;
    }

    /// The active pipeline, with its generation and history.
    pub(crate) async fn pipeline(&self) -> Value {
        self.operate(Method::GET, "/admin/pipeline", None).await.body
    }

    pub(crate) async fn audit(&self, coupon: u64) -> Value {
        self.operate(Method::GET, &format!("/admin/coupons/{coupon}/audit"), None).await.body
    }

    /// All outcomes of a coupon.
    pub(crate) async fn export(&self, coupon: u64) -> Vec<Value> {
        let url = format!("http://{}/admin/coupons/{coupon}/outcomes", self.running.admin);
        let lines = self.client.get(url).send().await.expect("the listener answers").text().await.expect("all of it");
        lines.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
    }

    pub(crate) async fn ready(&self) -> Answer {
        self.operate(Method::GET, "/readyz", None).await
    }

    pub(crate) async fn metrics(&self) -> String {
        let answer = self.client.get(format!("http://{}/metrics", self.running.admin)).send().await;
        answer.expect("the listener answers").text().await.expect("text")
    }
}

/// An answer with its JSON body.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await.expect("a whole body");
        Self { status, headers, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
    }
}

/// The body of the load test, for coupon 104.
pub(crate) fn payload(user: u64) -> Value {
    payload_for(104, user)
}

pub(crate) fn payload_for(coupon: u64, user: u64) -> Value {
    json!({
        "userId": user, "couponId": coupon, "policyId": 21, "typeSnapshot": "FIXED",
        "discountRateSnapshot": 10.0, "discountAmountSnapshot": 1000, "minimumOrderAmountSnapshot": 5000,
        "usagePeriodSnapshot": 30, "expiredAt": "2025-12-31T23:59:59",
    })
}

/// Retries until the probe finds something.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let probing = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, probing).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// The same ports for one of several systems. The tasks that the ports need run in the first one.
pub(crate) fn share(ports: &mut Ports) -> Ports {
    Ports {
        log: Arc::clone(&ports.log),
        ledger: Arc::clone(&ports.ledger),
        counters: Arc::clone(&ports.counters),
        telemetry: ports.telemetry.clone(),
        background: std::mem::take(&mut ports.background),
    }
}

/// Ports with a ledger that several processes use.
pub(crate) async fn shared_ports(config: &Config) -> Ports {
    let faults = Arc::new(LedgerFaults::default());
    faults.is_shared.store(true, Ordering::Relaxed);
    let ports = Ports::open(config).await.expect("embedded ports open");
    replace_ledger(ports, |ledger| FaultyLedger::wrap(ledger, &faults))
}

/// Stops systems that share ports. The first to close them ends tasks of the others early, which is a failure there.
pub(crate) async fn stop_all<const N: usize>(systems: [Fixture; N]) -> [Files; N] {
    let (running, files): (Vec<_>, Vec<_>) =
        systems.map(|Fixture { running, files, .. }| (running, files)).into_iter().unzip();
    let _ = join_all(running.into_iter().map(Running::stop)).await;
    files.try_into().unwrap_or_else(|_| unreachable!("as many files as systems"))
}

/// Puts one port in place of another.
pub(crate) fn replace_ledger(
    ports: Ports,
    wrap: impl FnOnce(Arc<dyn sluice::ledger::Ledger>) -> Arc<dyn sluice::ledger::Ledger>,
) -> Ports {
    Ports { ledger: wrap(Arc::clone(&ports.ledger)), ..ports }
}
