//! Clients that post and close at once.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{Campaign, Gateway, eventually, payload};

const USER: u64 = 1;
const LIMIT: u64 = 10;
/// Until all is settled, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends one request and closes the connection. An error means that the request did not arrive as a whole.
pub(crate) async fn post_and_hang_up(http: SocketAddr, user: u64, coupon: u64, after: Duration) -> std::io::Result<()> {
    let body = payload(user, coupon);
    let head = format!(
        "POST /coupon/issue HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut client = TcpStream::connect(http).await?;
    client.write_all((head + &body).as_bytes()).await?;
    tokio::time::sleep(after).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_up_gets_a_user_no_more_than_the_window_allows() {
    let gateway = Gateway::start().await;
    let campaign = Campaign { per_user_limit: 1_000, ..Campaign::of(1_000, 4) };
    let coupon = gateway.create(campaign).await;
    let window = json!({ "policy": "sliding-window", "config": { "limit": LIMIT, "window_ms": 600_000 } });
    gateway.change_pipeline(json!({ "user-limit": window })).await;
    for attempt in 0..300 {
        let after = Duration::from_micros(attempt * 10 % 2_000);
        post_and_hang_up(gateway.http, USER, coupon, after).await.expect("the gateway runs");
    }
    while gateway.client.post("/coupon/issue", payload(USER, coupon)).await.status == 202 {}
    // A request whose client hung up may be counted already, and not yet be in the log.
    let is_used_up = async || (gateway.audit(coupon).await.granted >= LIMIT).then_some(());
    eventually("the window is used up", PATIENCE, is_used_up).await;
    gateway.wait_until_drained(PATIENCE).await;
    assert_eq!(gateway.audit(coupon).await.granted, LIMIT);
}
