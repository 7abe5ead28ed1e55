//! Shared by the benchmarks: servers in child processes, the load generator, and where results go.

#![allow(dead_code, unused_imports, reason = "no benchmark uses all of it")]

pub(crate) mod backlog;
pub(crate) mod crowd;
pub(crate) mod delay;
pub(crate) mod disk;
pub(crate) mod distributed;
pub(crate) mod load;
pub(crate) mod own_server;
pub(crate) mod producer;
pub(crate) mod results;
pub(crate) mod trial;

use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use backlog::{COUPON, SHARDS};

pub(crate) const CONNECTIONS: usize = 256;
/// Linux counts processor time in this unit (`USER_HZ`), on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// A server in a child process, which is killed when this is dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) http: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    _data: tempfile::TempDir,
}

impl Server {
    /// Starts a process and waits until it logs that it serves.
    pub(crate) fn start(command: &mut Command) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        let mut process = command.current_dir(data.path()).stdout(Stdio::piped()).spawn().expect("starts");
        let stdout = std::io::BufReader::new(process.stdout.take().expect("is piped"));
        let mut lines = std::io::BufRead::lines(stdout).map_while(Result::ok);
        let serving = lines
            .by_ref()
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .find(|line| line["message"] == "serving")
            .expect("logs that it serves");
        // Later lines are read too: a full pipe would block the server.
        std::thread::spawn(move || lines.for_each(drop));
        let address = |key: &str| serving[key].as_str().map(|address| address.parse().expect("an address"));
        Self { process, http: address("http"), admin: address("admin"), _data: data }
    }

    /// `sluice serve` on free ports. The variable `SLUICE` names another binary to measure, such as an earlier one.
    pub(crate) fn sluice(role: &str, variables: &[(&str, &str)]) -> Self {
        let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
        let binary = std::env::var_os("SLUICE").unwrap_or_else(|| env!("CARGO_BIN_EXE_sluice").into());
        let mut command = Command::new(binary);
        command
            .args(["serve", "--role", role])
            .env("SLUICE__HTTP__LISTEN", "127.0.0.1:0")
            .env("SLUICE__ADMIN__LISTEN", "127.0.0.1:0")
            .env("SLUICE__TELEMETRY__LOG_FORMAT", "json")
            .env("SLUICE__POLICIES__DIR", policies)
            .envs(variables.iter().map(|(name, value)| (format!("SLUICE__{name}"), *value)));
        Self::start(&mut command)
    }

    /// Creates the campaign that [`Crowd::strangers`](crowd::Crowd::strangers) ask for, with stock for all.
    pub(crate) async fn open_campaign(&self) {
        self.open_campaigns(COUPON..COUPON + 1, SHARDS, 1).await;
    }

    pub(crate) async fn open_campaigns(&self, coupons: Range<u64>, shards: u32, per_user_limit: u32) {
        let (client, url) = (reqwest::Client::new(), self.admin_url("/admin/coupons"));
        for coupon in coupons {
            let campaign = json!({
                "couponId": coupon, "policyId": 21, "total": 1_000_000_000, "shards": shards,
                "perUserLimit": per_user_limit,
            });
            let status = client.post(&url).json(&campaign).send().await.expect("answers").status();
            assert!(status.is_success(), "{status}");
        }
    }

    /// Registers a component as the newest version of a policy. Returns its digest.
    pub(crate) async fn upload(&self, policy: &str, component: Vec<u8>) -> String {
        let url = self.admin_url(&format!("/admin/policies?name={policy}"));
        let answer = reqwest::Client::new().post(url).body(component).send().await.expect("answers");
        let (status, body) = (answer.status(), answer.json::<Value>().await.expect("JSON"));
        assert!(status.is_success(), "{status}: {body}");
        body["digest"].as_str().expect("a digest").to_owned()
    }

    /// Instances of policies.
    pub(crate) async fn instances(&self) -> f64 {
        self.metric("sluice_policy_instances").await
    }

    /// Rollouts that this gateway takes part in.
    pub(crate) async fn rollouts_running(&self) -> f64 {
        self.metric("sluice_rollouts_running").await
    }

    /// Accepted records that are not settled.
    pub(crate) async fn lag(&self) -> f64 {
        self.metric("sluice_log_lag_records").await
    }

    /// Records that this process has settled.
    pub(crate) async fn settled(&self) -> f64 {
        self.metric("sluice_settled_total").await
    }

    /// Waits until this process has settled a number of records since its start.
    pub(crate) async fn until_settled(&self, records: f64) {
        while self.settled().await < records {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The sum of its series.
    async fn metric(&self, name: &str) -> f64 {
        let metrics = reqwest::get(self.admin_url("/metrics")).await.expect("answers").text().await.expect("is read");
        let series = metrics.lines().filter(|line| line.starts_with(name));
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Peak resident memory.
    pub(crate) fn peak_mib(&self) -> u64 {
        self.memory_mib("VmHWM:")
    }

    pub(crate) fn resident_mib(&self) -> u64 {
        self.memory_mib("VmRSS:")
    }

    fn memory_mib(&self, key: &str) -> u64 {
        let status = self.of_kernel("status");
        let memory = status.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel says so");
        memory.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB") / 1024
    }

    /// Processor time since the start.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = self.of_kernel("stat");
        // After the name, in parentheses: the state is field 3, user and system time are fields 14 and 15.
        let (_, fields) = stat.rsplit_once(") ").expect("the name ends");
        let ticks = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number"));
        ticks.sum::<f64>() / TICKS_PER_SECOND
    }

    fn of_kernel(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.process.id())).expect("it runs")
    }

    pub(crate) fn http_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http.expect("it has a public listener"))
    }

    pub(crate) fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin.expect("it has an admin listener"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
