//! The accept path compared with a bare axum handler: how much of the machine's throughput remains when a response is
//! durable, decided by three policies, and settled at the same time.
//!
//! Three servers take turns under the same load from this process. The ratios are of medians.

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use common::{Server, load, median};
use serde::Deserialize;
use serde_json::json;
use sluice::app::{Ports, System};
use sluice::config::Config;
use sluice::policy::CompilerProgram;
use sluice::telemetry::{self, LogFormat};

const ROUNDS: usize = 6;
/// Tells a child process which server to run.
const SERVER: &str = "SLUICE_BENCH_SERVER";
const BARE: &str = "bare";
const WASM: &str = "wasm";
const NATIVE: &str = "native";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match std::env::var(SERVER).as_deref() {
        Ok(BARE) => runtime.block_on(bare()),
        Ok(policies) => sluice::app::runtime().expect("a runtime").block_on(gateway(policies == NATIVE)),
        Err(_) => runtime.block_on(compare()),
    }
}

/// The bare handler reads the same body and answers 202.
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

/// The whole system in the working folder. Only the flag distinguishes the two gateways that are compared.
async fn gateway(native: bool) {
    let mut config = Config::default();
    config.http.listen.set_port(0);
    config.admin.listen.set_port(0);
    config.telemetry.log_format = LogFormat::Json;
    config.policies.dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    config.policies.native = native;
    config.policies.compiler = CompilerProgram::Other(env!("CARGO_BIN_EXE_sluice").into());
    telemetry::start_logging(&config.telemetry).expect("logs");
    let ports = Ports::open(&config).await.expect("opens the ports");
    let mut running = System::start(config, ports).await.expect("run policies/build first");
    let failure = running.wait().await;
    panic!("{failure}");
}

async fn compare() {
    let users = Arc::new(AtomicU64::new(1));
    let [bare, wasm, native] = [BARE, WASM, NATIVE].map(start);
    wasm.open_campaign().await;
    native.open_campaign().await;
    let mut rates = [const { Vec::new() }; 3];
    let servers = [&bare, &wasm, &native];
    for round in 0..ROUNDS {
        // Each goes first as often as last.
        for turn in 0..servers.len() {
            let which = (round + turn) % servers.len();
            rates[which].push(load(servers[which].http.expect("it listens"), &users).await);
            if which > 0 {
                settle(servers[which]).await;
            }
        }
    }
    let [bare, wasm, native] = rates.map(median);
    println!("bare axum handler               {bare:8.0}/s");
    println!("gateway, three policies in wasm {wasm:8.0}/s   {:.2} of bare (target 0.50)", wasm / bare);
    println!("gateway, the same three native  {native:8.0}/s   wasm is {:.2} of it (target 0.95)", wasm / native);
}

fn start(server: &str) -> Server {
    Server::start(Command::new(std::env::current_exe().expect("this program")).env(SERVER, server))
}

/// Waits until the gateway has settled what it accepted: otherwise it would take processor time from the next server.
async fn settle(gateway: &Server) {
    let begun = Instant::now();
    let left = gateway.lag().await;
    while gateway.lag().await > 0.0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("  {left} were not yet settled at the end of the round; {:.1?} later all were", begun.elapsed());
}
