//! The accept path beside a bare axum handler: how much of what the machine can answer is left when the
//! answer is durable, decided by three policies, and settled at the same time.
//!
//! Three servers take turns under the same load from this process, and ratios of medians are printed.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const CONNECTIONS: usize = 256;
const ROUNDS: usize = 6;
const ROUND: Duration = Duration::from_secs(3);
/// Set in the child that is the bare handler.
const BARE: &str = "SLUICE_BENCH_BARE";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if std::env::var_os(BARE).is_some() {
        runtime.block_on(bare());
    } else {
        runtime.block_on(compare());
    }
}

/// What the bare handler does: reads the same body, and answers 202.
async fn bare() {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        #[serde(rename = "userId")]
        _user_id: u64,
        #[serde(rename = "couponId")]
        _coupon_id: u64,
        type_snapshot: String,
    }
    let handler = |axum::Json(body): axum::Json<Body>| async move {
        let answer = json!({ "requestId": body.type_snapshot, "status": "PENDING", "statusUrl": "/coupon/issue/" });
        (axum::http::StatusCode::ACCEPTED, axum::Json(answer))
    };
    let router = axum::Router::new().route("/coupon/issue", axum::routing::post(handler));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    println!("{}", json!({ "message": "serving", "http": listener.local_addr().expect("bound").to_string() }));
    axum::serve(listener, router).await.expect("serves");
}

async fn compare() {
    let users = Arc::new(AtomicU64::new(1));
    let bare = Server::start(Command::new(std::env::current_exe().expect("this program")).env(BARE, "1"));
    let wasm = Server::gateway("warm").await;
    let native = Server::gateway("native").await;
    let mut rates = [const { Vec::new() }; 3];
    let servers = [&bare, &wasm, &native];
    for round in 0..ROUNDS {
        // Each goes first as often as last.
        for turn in 0..servers.len() {
            let which = (round + turn) % servers.len();
            rates[which].push(load(servers[which].http, &users).await);
            servers[which].rest().await;
        }
    }
    let [bare, wasm, native] = rates.map(median);
    println!("bare axum handler               {bare:8.0}/s");
    println!("gateway, three policies in wasm {wasm:8.0}/s   {:.2} of bare (target 0.50)", wasm / bare);
    println!("gateway, the same three native  {native:8.0}/s   wasm is {:.2} of it (target 0.95)", wasm / native);
}

/// A server in a process of its own, which ends with it.
struct Server {
    process: Child,
    http: SocketAddr,
    admin: Option<SocketAddr>,
    _data: tempfile::TempDir,
}

impl Server {
    fn start(command: &mut Command) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        let mut process = command.current_dir(data.path()).stdout(Stdio::piped()).spawn().expect("starts");
        let stdout = std::io::BufReader::new(process.stdout.take().expect("is piped"));
        let serving = std::io::BufRead::lines(stdout)
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .find(|line| line["message"] == "serving")
            .expect("says that it serves");
        let address = |key: &str| serving[key].as_str().map(|address| address.parse().expect("an address"));
        Self { process, http: address("http").expect("listens"), admin: address("admin"), _data: data }
    }

    async fn gateway(isolation: &str) -> Self {
        let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command
            .arg("serve")
            .env("SLUICE__HTTP__LISTEN", "127.0.0.1:0")
            .env("SLUICE__ADMIN__LISTEN", "127.0.0.1:0")
            .env("SLUICE__TELEMETRY__LOG_FORMAT", "json")
            .env("SLUICE__POLICIES__DIR", policies);
        for hook in ["RATE_SHAPER", "USER_LIMIT", "SHARD_PICKER"] {
            command.env(format!("SLUICE__PIPELINE__{hook}__ISOLATION"), isolation);
        }
        let server = Self::start(&mut command);
        let url = format!("http://{}/admin/coupons", server.admin.expect("a gateway has an admin listener"));
        let campaign = json!({ "couponId": 7, "policyId": 21, "total": 100_000_000, "shards": 12 });
        let made = reqwest::Client::new().post(url).json(&campaign).send().await.expect("answers");
        assert!(made.status().is_success(), "{}", made.status());
        server
    }
}

impl Server {
    /// Waits until what it accepted is settled, so that nobody's turn pays for another's.
    async fn rest(&self) {
        let Some(admin) = self.admin else { return };
        let begun = Instant::now();
        let mut lag_begun = None;
        loop {
            let metrics = reqwest::get(format!("http://{admin}/metrics")).await.expect("answers");
            let metrics = metrics.text().await.expect("is read");
            let lag: f64 = metrics
                .lines()
                .filter(|line| line.starts_with("sluice_log_lag_records"))
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum();
            let begun_with = *lag_begun.get_or_insert(lag);
            if lag == 0.0 {
                println!(
                    "  {begun_with} were not yet settled at the end of the round; {:.1?} later all were",
                    begun.elapsed()
                );
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn load(http: SocketAddr, users: &Arc<AtomicU64>) -> f64 {
    let begun = Instant::now();
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| tokio::spawn(client(http, Arc::clone(users), begun))).collect();
    let mut answers = 0;
    for client in clients {
        answers += client.await.expect("a client ends well");
    }
    f64::from(answers) / begun.elapsed().as_secs_f64()
}

/// Asks for coupons on one connection until the round is over.
async fn client(http: SocketAddr, users: Arc<AtomicU64>, begun: Instant) -> u32 {
    let mut stream = BufReader::new(TcpStream::connect(http).await.expect("connects"));
    stream.get_ref().set_nodelay(true).expect("no delay");
    let mut answer = Vec::with_capacity(1024);
    let mut answers = 0;
    while begun.elapsed() < ROUND {
        let user = users.fetch_add(1, Ordering::Relaxed);
        let body = format!(
            "{{\"userId\":{user},\"couponId\":7,\"policyId\":21,\"typeSnapshot\":\"FIXED\",\
             \"discountRateSnapshot\":10.0,\"discountAmountSnapshot\":1000,\"minimumOrderAmountSnapshot\":5000,\
             \"usagePeriodSnapshot\":30,\"expiredAt\":\"2025-12-31T23:59:59\"}}"
        );
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

/// Reads one answer whole, as its Content-Length says.
async fn read_answer(stream: &mut BufReader<TcpStream>, answer: &mut Vec<u8>) {
    answer.clear();
    loop {
        assert!(stream.read_buf(answer).await.expect("is read") > 0, "the server hung up");
        let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        if length.and_then(|length| length.parse::<usize>().ok()) == Some(body.len()) {
            return;
        }
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
