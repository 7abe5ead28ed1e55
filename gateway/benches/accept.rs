//! The accept path compared with a bare axum handler: how much of the machine's throughput remains when a response is
//! durable, decided by three policies, and settled at the same time.
//!
//! Three servers take turns under the same load from this process. The ratios are of medians. The load generator shares
//! the machine with the servers, so its own cost is given too.

mod common;

use std::time::Instant;

use common::crowd::Crowd;
use common::load::flood;
use common::own_server::{OwnGateway, OwnServer, serve_if_asked};
use common::{CONNECTIONS, Server, median, trial};

const ROUNDS: usize = 6;
const SECONDS: u64 = 3;

fn main() {
    serve_if_asked();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(compare());
}

async fn compare() {
    let gateway = |native| OwnServer::Gateway(OwnGateway { native, ..OwnGateway::default() });
    let servers = [OwnServer::Bare, gateway(false), gateway(true)].map(|server| server.start());
    servers[1].open_campaign().await;
    servers[2].open_campaign().await;
    let mut crowd = Crowd::strangers();
    let mut rates = [const { Vec::new() }; 3];
    for round in 0..trial::rounds(ROUNDS) {
        // Each goes first as often as last.
        for turn in 0..servers.len() {
            let which = (round + turn) % servers.len();
            rates[which].push(measure(&servers[which], which > 0, &mut crowd).await);
        }
    }
    let [bare, wasm, native] = rates.map(median);
    println!("bare axum handler               {bare:8.0}/s");
    println!("gateway, three policies in wasm {wasm:8.0}/s   {:.2} of bare (target 0.50)", wasm / bare);
    println!("gateway, the same three native  {native:8.0}/s   wasm is {:.2} of it (target 0.97)", wasm / native);
}

/// Accepted requests per second. What a gateway has accepted, it settles before the next server is measured: it would
/// otherwise take processor time from that one.
async fn measure(server: &Server, settles: bool, crowd: &mut Crowd) -> f64 {
    let settled_before = if settles { server.settled().await } else { 0.0 };
    let measured = flood(server.http.expect("it listens"), CONNECTIONS, trial::seconds(SECONDS), crowd);
    println!("  {:8.0}/s   {}", measured.per_second(), measured.cost());
    if settles {
        let (begun, accepted) = (Instant::now(), measured.responses.count() as f64);
        let left = accepted + settled_before - server.settled().await;
        server.until_settled(settled_before + accepted).await;
        println!("  {left} were not yet settled at the end of the round; {:.1?} later all were", begun.elapsed());
    }
    measured.per_second()
}
