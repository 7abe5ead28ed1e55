//! The accept path beside a bare axum handler: how much of what the machine can answer is left when the
//! answer is durable, decided by three policies, and settled at the same time.
//!
//! Three servers take turns under the same load from this process, and ratios of medians are printed.

mod common;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use common::{Server, load, median};
use serde::Deserialize;
use serde_json::json;

const ROUNDS: usize = 6;
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
    let wasm = gateway("warm").await;
    let native = gateway("native").await;
    let mut rates = [const { Vec::new() }; 3];
    let servers = [&bare, &wasm, &native];
    for round in 0..ROUNDS {
        // Each goes first as often as last.
        for turn in 0..servers.len() {
            let which = (round + turn) % servers.len();
            rates[which].push(load(servers[which].http.expect("it listens"), &users).await);
            if which > 0 {
                rest(servers[which]).await;
            }
        }
    }
    let [bare, wasm, native] = rates.map(median);
    println!("bare axum handler               {bare:8.0}/s");
    println!("gateway, three policies in wasm {wasm:8.0}/s   {:.2} of bare (target 0.50)", wasm / bare);
    println!("gateway, the same three native  {native:8.0}/s   wasm is {:.2} of it (target 0.95)", wasm / native);
}

async fn gateway(isolation: &str) -> Server {
    let variables = ["RATE_SHAPER", "USER_LIMIT", "SHARD_PICKER"].map(|hook| format!("PIPELINE__{hook}__ISOLATION"));
    let server = Server::sluice("all", &variables.each_ref().map(|name| (name.as_str(), isolation)));
    server.open_campaign().await;
    server
}

/// Waits until what a gateway accepted is settled, so that nobody's turn pays for another's.
async fn rest(gateway: &Server) {
    let begun = Instant::now();
    let left = gateway.lag().await;
    while gateway.lag().await > 0.0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("  {left} were not yet settled at the end of the round; {:.1?} later all were", begun.elapsed());
}
