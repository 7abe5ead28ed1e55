//! A real Prometheus scrapes a system under load: every rule must evaluate, and every dashboard panel must have data.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::Client;
use crate::crowd::Crowd;
use crate::harness::{Campaign, Cluster, Gateway, Process, eventually, free_address};

const READY_WITHIN: Duration = Duration::from_mins(1);
/// Longer than the minute for which a paging alert may be pending.
const WATCHED: Duration = Duration::from_secs(65);
/// A busy machine may miss some scrapes. The next ones fill the window of every rate again.
const SCRAPED_WITHIN: Duration = Duration::from_mins(1);
/// Grafana's value for a scrape interval of 5 s.
const RATE_INTERVAL: &str = "20s";
/// The first shows that Prometheus is installed; the test starts its own.
const MONITORING_PORTS: [u16; 3] = [19090, 19104, 19100];
const JOBS_OF_ONE: usize = 2;

const REQUESTS_PER_SECOND: f64 = 150.0;
const LARGE: Campaign = Campaign::of(100_000, 4);
/// Sells out at once, its last coupons from shards that were not picked.
const SMALL: Campaign = Campaign { coupon: 7_002, ..Campaign::of(20, 4) };

#[tokio::test(flavor = "multi_thread")]
async fn every_dashboard_panel_has_data_and_no_paging_alert_fires() {
    assert_monitoring_runs();
    let cluster = Cluster::start(2, 3).await;
    let prometheus = Prometheus::watching(&cluster).await;
    let watching = async {
        tokio::time::sleep(WATCHED).await;
        [prometheus.rules().await, prometheus.missing().await].concat()
    };
    let problems = tokio::select! {
        problems = watching => problems,
        () = generate_traffic(&cluster) => unreachable!("traffic has no end"),
    };
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    cluster.tear_down().await;
}

fn assert_monitoring_runs() {
    for port in MONITORING_PORTS {
        let found = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)));
        assert!(found.is_ok(), "no answer at port {port}: run `infra/native/services up observability` first");
    }
}

/// Endless traffic at both gateways that reaches every outcome, a rollout, and a valid and an invalid pipeline change, so
/// that every series has samples.
async fn generate_traffic(cluster: &Cluster) {
    let [here, there] = &cluster.gateways[..] else { panic!("two gateways") };
    let (large, small) = (here.create(LARGE).await, here.create(SMALL).await);
    cluster.wait_for_campaign(large).await;
    cluster.wait_for_campaign(small).await;
    start_rollout(here).await;
    let crowd = Crowd::at(here, large);
    let others = crowd.through(there);
    let sold_out = Crowd::at(there, small);
    let operator = async {
        tokio::time::sleep(WATCHED * 3 / 4).await;
        here.set_shard_picker("hash-user").await;
        let refused = there.put_pipeline(json!({ "shard-picker": { "policy": "no-such-policy" } })).await;
        assert_eq!(refused.status, 422, "{refused}");
    };
    let retries = async {
        for user in 1_000_001.. {
            let key = Some(format!("key-{user}"));
            crowd.request_with_key(user, key.clone()).await;
            others.request_with_key(user, key).await;
            others.request(user).await;
            sold_out.request(user).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::join!(
        operator,
        retries,
        crowd.send_at_rate(REQUESTS_PER_SECOND / 2.0, 1..),
        others.send_at_rate(REQUESTS_PER_SECOND / 2.0, 500_001..)
    );
}

/// Half of the users get a canary, which also shadows the active policy. However busy the machine is, it is not rolled
/// back.
async fn start_rollout(gateway: &Gateway) {
    let rollout = json!({
        "hooks": { "user-limit": { "policy": "quota", "config": { "limit": 2 } } },
        "shadow": true,
        "canaryPercent": 50,
        "guards": { "failures": 1, "fallbacks": 1, "refusals": 1, "divergence": 1, "callP99Ratio": 1000 },
    });
    let answer = gateway.operator.post("/admin/rollouts", rollout.to_string()).await;
    assert_eq!(answer.status, 201, "{answer}");
}

struct Prometheus {
    client: Arc<Client>,
    process: Process,
    _folder: TempDir,
}

impl Prometheus {
    async fn watching(cluster: &Cluster) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let address = free_address();
        let configuration = folder.path().join("prometheus.yml");
        std::fs::write(&configuration, configure(cluster)).expect("a file can be written");
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"));
        let mut this = Self { client: Client::to(address), process: Process::spawn(command), _folder: folder };
        let is_ready = async || {
            if let Some(ended) = this.process.try_exit() {
                panic!("prometheus did not start: {ended}");
            }
            let request = hyper::Request::get("/-/ready").body(http_body_util::Full::default()).expect("a request");
            this.client.send(request).await.is_ok_and(|answer| answer.status == 200).then_some(())
        };
        eventually("prometheus is ready", READY_WITHIN, is_ready).await;
        this
    }

    async fn query(&self, path: &str) -> Result<Value, String> {
        let answer = self.client.get(path).await;
        if answer.status == 200 { Ok(answer.json()["data"].clone()) } else { Err(answer.text()) }
    }

    /// Targets that are down and panels without data. Looks again until there are none or the time is over.
    async fn missing(&self) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let missing = [self.targets().await, self.dashboards().await].concat();
            if missing.is_empty() || begun.elapsed() > SCRAPED_WITHIN {
                return missing;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Targets that are down.
    async fn targets(&self) -> Vec<String> {
        let targets = self.query("/api/v1/targets").await.expect("the targets");
        let targets = list(&targets["activeTargets"]);
        assert_eq!(targets.len(), 2 + 3 + JOBS_OF_ONE, "{targets:?}");
        let is_down = |target: &&Value| target["health"] != "up";
        targets
            .iter()
            .filter(is_down)
            .map(|target| format!("target {}: {}", target["labels"], target["lastError"]))
            .collect()
    }

    /// Rules that cannot be evaluated, and firing alerts of severity `page`.
    async fn rules(&self) -> Vec<String> {
        let groups = self.query("/api/v1/rules").await.expect("the rules");
        let rules: Vec<_> = list(&groups["groups"]).iter().flat_map(|group| list(&group["rules"])).collect();
        assert!(rules.iter().any(|rule| rule["type"] == "alerting"), "the rules are not loaded: {groups}");
        let is_unhealthy = |rule: &&&Value| {
            rule["health"] != "ok" || (rule["state"] == "firing" && rule["labels"]["severity"] == "page")
        };
        let say = |rule: &Value| {
            let [name, health, error, alerts] = ["name", "health", "lastError", "alerts"].map(|key| &rule[key]);
            format!("rule {name}: {health} {error} {alerts}")
        };
        rules.iter().filter(is_unhealthy).map(|rule| say(rule)).collect()
    }

    /// Panel queries and variables without a result.
    async fn dashboards(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut asked = 0;
        for dashboard in dashboards() {
            let title = &dashboard["title"];
            let variables = list(&dashboard["templating"]["list"]);
            for variable in variables {
                if let Err(found) = self.values(&variable["definition"]).await {
                    problems.push(format!("{title}: variable {}: {found}", variable["name"]));
                }
            }
            for panel in list(&dashboard["panels"]) {
                for target in panel["targets"].as_array().into_iter().flatten() {
                    let query = fill_in(text(&target["expr"]), variables);
                    asked += 1;
                    if let Err(found) = self.samples(&query).await {
                        problems.push(format!("{title}: {}: {query}: {found}", panel["title"]));
                    }
                }
            }
        }
        assert!(asked > 0, "the dashboards have queries");
        problems
    }

    /// Evaluates a variable of the form `label_values(METRIC, LABEL)`.
    async fn values(&self, definition: &Value) -> Result<(), String> {
        let parts = text(definition).strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (metric, label) = parts.and_then(|parts| parts.rsplit_once(", ")).expect("label_values(METRIC, LABEL)");
        let path = format!("/api/v1/label/{label}/values?match[]={}", encode(metric));
        let values = self.query(&path).await?;
        if list(&values).is_empty() { Err("no values".to_owned()) } else { Ok(()) }
    }

    async fn samples(&self, query: &str) -> Result<(), String> {
        let found = self.query(&format!("/api/v1/query?query={}", encode(query))).await?;
        let is_finite = |sample: &Value| text(&sample["value"][1]).parse::<f64>().is_ok_and(f64::is_finite);
        if list(&found["result"]).iter().any(is_finite) { Ok(()) } else { Err(found["result"].to_string()) }
    }
}

/// The configuration of the native system with the addresses of this cluster, and a shorter evaluation interval.
fn configure(cluster: &Cluster) -> String {
    let text = std::fs::read_to_string(infra().join("native/prometheus.yml")).expect("the native configuration");
    let gateways = ["127.0.0.1:18081", "127.0.0.1:18082"].into_iter().zip(&cluster.gateways);
    let consumers = ["127.0.0.1:18181", "127.0.0.1:18182", "127.0.0.1:18183"].into_iter().zip(&cluster.consumers);
    let addresses = gateways.chain(consumers).map(|(native, process)| (native, process.admin.to_string()));
    let others = [
        ("evaluation_interval: 15s", "evaluation_interval: 5s".to_owned()),
        ("../prometheus/rules", infra().join("prometheus/rules").display().to_string()),
    ];
    addresses.chain(others).fold(text, |text, (native, own)| {
        assert!(text.contains(native), "{native} is not in {text}");
        text.replace(native, &own)
    })
}

/// Replaces variables as Grafana does when it opens a dashboard.
fn fill_in(query: &str, variables: &[Value]) -> String {
    let filled = query.replace("$__rate_interval", RATE_INTERVAL);
    let filled = variables.iter().fold(filled, |query, variable| {
        query.replace(&format!("${}", text(&variable["name"])), text(&variable["allValue"]))
    });
    assert!(!filled.contains('$'), "a variable that is not filled in: {filled}");
    filled
}

fn dashboards() -> Vec<Value> {
    let files = std::fs::read_dir(infra().join("grafana/dashboards")).expect("the dashboards");
    let read = |path: PathBuf| std::fs::read(path).expect("a dashboard");
    files.map(|file| serde_json::from_slice(&read(file.expect("a file").path())).expect("JSON")).collect()
}

fn infra() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace").join("infra")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// For a query of a URL.
fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
