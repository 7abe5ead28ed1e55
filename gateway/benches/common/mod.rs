//! Shared by the benchmarks: servers in child processes, and the load.

#![allow(dead_code, reason = "no benchmark uses all of it")]

pub(crate) mod backlog;
pub(crate) mod delay;
pub(crate) mod distributed;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

pub(crate) const CONNECTIONS: usize = 256;
pub(crate) const ROUND: Duration = Duration::from_secs(3);
const COUPON: u64 = 7;
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

    /// `sluice serve` on free ports.
    pub(crate) fn sluice(role: &str, variables: &[(&str, &str)]) -> Self {
        let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command
            .args(["serve", "--role", role])
            .env("SLUICE__HTTP__LISTEN", "127.0.0.1:0")
            .env("SLUICE__ADMIN__LISTEN", "127.0.0.1:0")
            .env("SLUICE__TELEMETRY__LOG_FORMAT", "json")
            .env("SLUICE__POLICIES__DIR", policies)
            .envs(variables.iter().map(|(name, value)| (format!("SLUICE__{name}"), *value)));
        Self::start(&mut command)
    }

    /// Creates the campaign that the load requests, with stock for every request.
    pub(crate) async fn open_campaign(&self) {
        let campaign = json!({ "couponId": COUPON, "policyId": 21, "total": 100_000_000, "shards": 12 });
        let created = reqwest::Client::new().post(self.admin_url("/admin/coupons")).json(&campaign).send().await;
        let status = created.expect("answers").status();
        assert!(status.is_success(), "{status}");
    }

    /// Accepted records that are not settled.
    pub(crate) async fn lag(&self) -> f64 {
        let metrics = reqwest::get(self.admin_url("/metrics")).await.expect("answers").text().await.expect("is read");
        let lag = metrics.lines().filter(|line| line.starts_with("sluice_log_lag_records"));
        lag.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
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

/// Requests coupons on all connections for one round; returns responses a second.
pub(crate) async fn load(http: SocketAddr, users: &Arc<AtomicU64>) -> f64 {
    let begun = Instant::now();
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| tokio::spawn(client(http, Arc::clone(users), begun))).collect();
    let mut answers = 0;
    for client in clients {
        answers += client.await.expect("a client does not panic");
    }
    f64::from(answers) / begun.elapsed().as_secs_f64()
}

/// The body of the write-up's load script.
pub(crate) fn body(user: u64) -> String {
    format!(
        "{{\"userId\":{user},\"couponId\":{COUPON},\"policyId\":21,\"typeSnapshot\":\"FIXED\",\
         \"discountRateSnapshot\":10.0,\"discountAmountSnapshot\":1000,\"minimumOrderAmountSnapshot\":5000,\
         \"usagePeriodSnapshot\":30,\"expiredAt\":\"2025-12-31T23:59:59\"}}"
    )
}

/// Requests coupons on one connection until the round is over; returns the number of responses.
async fn client(http: SocketAddr, users: Arc<AtomicU64>, begun: Instant) -> u32 {
    let mut stream = BufReader::new(TcpStream::connect(http).await.expect("connects"));
    stream.get_ref().set_nodelay(true).expect("no delay");
    let mut answer = Vec::with_capacity(1024);
    let mut answers = 0;
    while begun.elapsed() < ROUND {
        let body = body(users.fetch_add(1, Ordering::Relaxed));
        let request = format!(
            "POST /coupon/issue HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.expect("is sent");
        read_answer(&mut stream, &mut answer).await;
        let status = answer.get(9..12);
        assert_eq!(status, Some(&b"202"[..]), "{}", String::from_utf8_lossy(&answer));
        answers += 1;
    }
    answers
}

/// Reads one complete response by its Content-Length.
async fn read_answer(stream: &mut BufReader<TcpStream>, answer: &mut Vec<u8>) {
    answer.clear();
    loop {
        assert!(stream.read_buf(answer).await.expect("is read") > 0, "the server closed the connection");
        let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        if length.and_then(|length| length.parse::<usize>().ok()) == Some(body.len()) {
            return;
        }
    }
}

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
