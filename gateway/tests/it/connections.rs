//! Connections that are silent, slow, greedy or unusual. Each is bounded, and answered where HTTP allows it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Answer, raw};
use crate::harness::{Gateway, Launch, payload};

/// A client has 10 s for its first bytes. The rest is for a busy machine, and less than the other timeouts, of which the
/// shortest closes a connection after 30 s.
const CLOSED_WITHIN: Duration = Duration::from_secs(25);
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

fn post(body: &str, more: &str) -> String {
    format!(
        "POST /coupon/issue HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{more}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// How long a connection stays open after its client has sent some bytes.
async fn open_for(address: SocketAddr, bytes: &[u8]) -> Duration {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(bytes).await.expect("writes");
    let _ = tokio::time::timeout(CLOSED_WITHIN, stream.read_to_end(&mut Vec::new())).await;
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_request_is_closed_on_both_listeners() {
    let gateway = Gateway::start().await;
    let openings: [&[u8]; 4] = [b"", b"P", b"PRI * HTTP/2.0\r\n\r\nSM", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"];
    let mut open = Vec::new();
    for address in [gateway.http, gateway.admin] {
        for opening in openings {
            open.push(tokio::spawn(async move { (address, opening, open_for(address, opening).await) }));
        }
    }
    for closed in open {
        let (address, opening, after) = closed.await.expect("does not panic");
        let expected = Duration::from_secs(5)..CLOSED_WITHIN;
        assert!(expected.contains(&after), "{address} {:?}: closed after {after:?}", String::from_utf8_lossy(opening));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_do_not_end_are_answered_408() {
    let gateway = Gateway::start().await;
    for address in [gateway.http, gateway.admin] {
        let answer = raw(address, b"GET /livez HTTP/1.1\r\nHost:", CLOSED_WITHIN).await;
        let answer = Answer::of_text(&answer).expect("an answer");
        assert_eq!(answer.refusal(), (408, "TIMEOUT".to_owned()), "{answer}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
}

async fn get_livez(stream: &mut TcpStream) -> usize {
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("writes");
    stream.read(&mut [0; 1024]).await.expect("reads")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_stays_open_for_the_configured_time() {
    let gateway = Gateway::start().await;
    let mut stream = TcpStream::connect(gateway.http).await.expect("connects");
    assert!(get_livez(&mut stream).await > 0);
    // Longer than a client has for its headers.
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert!(get_livez(&mut stream).await > 0, "the connection was closed");

    // Long enough for the first request of a client that the machine keeps waiting.
    let gateway = Gateway::with(&[("HTTP__KEEP_ALIVE_SECONDS", "3")]).await;
    let mut stream = TcpStream::connect(gateway.http).await.expect("connects");
    assert!(get_livez(&mut stream).await > 0);
    let closed = tokio::time::timeout(CLOSED_WITHIN, stream.read(&mut [0; 1024])).await;
    assert_eq!(closed.expect("it is closed").expect("reads"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_end_behind_the_body_does_not_delay_the_answer() {
    let gateway = Gateway::start().await;
    let request = format!("{}\r\n", post(&payload(1, 104), ""));
    let mut stream = TcpStream::connect(gateway.http).await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = [0; 1024];
    let count = tokio::time::timeout(ANSWERED_WITHIN, stream.read(&mut answer)).await.expect("is answered");
    assert!(answer[..count.expect("reads")].starts_with(b"HTTP/1.1 202"));
    assert!(get_livez(&mut stream).await > 0, "the next request of the connection is answered too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_said_to_be_too_large_is_refused_before_the_client_sends_it() {
    let gateway = Gateway::start().await;
    let expecting = |path: &str, bytes: usize| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n\
             Content-Length: {bytes}\r\n\r\n"
        )
    };
    for (address, path, bytes) in [
        (gateway.http, "/coupon/issue", 17 * 1024),
        (gateway.admin, "/admin/coupons", 17 * 1024),
        (gateway.admin, "/admin/policies?name=x", 33 * 1024 * 1024),
    ] {
        let answer = raw(address, expecting(path, bytes).as_bytes(), ANSWERED_WITHIN).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{path}: {answer}");
    }
    let answer = raw(gateway.http, expecting("/coupon/issue", 10).as_bytes(), ANSWERED_WITHIN).await;
    assert!(answer.starts_with("HTTP/1.1 100"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_its_side_after_the_request_is_answered() {
    let gateway = Gateway::start().await;
    let mut stream = TcpStream::connect(gateway.http).await.expect("connects");
    stream.write_all(post(&payload(1, 104), "").as_bytes()).await.expect("writes");
    stream.shutdown().await.expect("closes its side");
    let mut answer = String::new();
    let read = tokio::time::timeout(ANSWERED_WITHIN, stream.read_to_string(&mut answer)).await;
    read.expect("the connection is closed after the answer").expect("reads");
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_parsed_is_answered_with_problem_details() {
    let gateway = Gateway::start().await;
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(150));
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "x".repeat(90_000));
    for (request, refusal) in [
        ("GET / HTTP/1.1\r\nno header\r\n\r\n", (400, "MALFORMED")),
        ("GET / HTTP/2.0\r\n\r\n", (400, "MALFORMED")),
        ("\u{16}\u{3}\u{1}\r\n\r\n", (400, "MALFORMED")),
        (&many, (431, "HEADERS_TOO_LARGE")),
        (&long, (431, "HEADERS_TOO_LARGE")),
    ] {
        for address in [gateway.http, gateway.admin] {
            let answer = Answer::of_text(&raw(address, request.as_bytes(), ANSWERED_WITHIN).await).expect("an answer");
            assert_eq!(answer.refusal(), (refusal.0, refusal.1.to_owned()), "{answer}");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_offers_h2c_is_answered_in_http_1() {
    let gateway = Gateway::start().await;
    let offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n";
    let answer = raw(gateway.http, post(&payload(1, 104), offer).as_bytes(), ANSWERED_WITHIN).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
}

/// A client that pipelines requests until the gateway reads no more of them.
async fn send_without_reading(address: SocketAddr, requests_max: usize) -> usize {
    let request = format!("GET /nowhere-{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(400));
    let requests = request.repeat(100);
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let mut sent = 0;
    while sent < requests_max
        && tokio::time::timeout(Duration::from_secs(2), stream.write_all(requests.as_bytes())).await.is_ok()
    {
        sent += 100;
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_no_answers_is_held_back() {
    const GROWTH_MAX: u64 = 20 * 1024 * 1024;
    const REQUESTS_MAX: usize = 150_000;
    let gateway = Gateway::start().await;
    let before = gateway.memory().now;
    for address in [gateway.http, gateway.admin] {
        let sent = send_without_reading(address, REQUESTS_MAX).await;
        let grown = gateway.memory().now.saturating_sub(before);
        assert!(sent < REQUESTS_MAX && grown < GROWTH_MAX, "{sent} requests, memory grew by {grown} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_call_that_waits_is_answered_as_soon_as_shutdown_begins() {
    // Shutdown would wait for the call for a minute, and the call for half of it.
    const STOPPED_WITHIN: Duration = Duration::from_secs(20);
    let launch = Launch::with(&[("HTTP__DRAIN_SECONDS", "60")]).with_role("gateway");
    let mut gateway = Gateway::launch(launch).await;
    let accepted = gateway.client.post("/coupon/issue", payload(1, 104)).await.json();
    let url = format!("{}&wait=30s", accepted["statusUrl"].as_str().expect("a status URL"));
    let client = gateway.client.clone();
    let waiting = tokio::spawn(async move { client.get(&url).await });
    // Nothing shows that the gateway has read the call. On a busy machine that may take a moment.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let begun = Instant::now();
    gateway.terminate();
    let answer = waiting.await.expect("does not panic");
    assert_eq!((answer.status, &answer.json()["status"]), (200, &"PENDING".into()), "{answer}");
    assert!(begun.elapsed() < ANSWERED_WITHIN, "answered after {:?}", begun.elapsed());
    assert_eq!(gateway.wait_for_exit().await.code, Some(0));
    assert!(begun.elapsed() < STOPPED_WITHIN, "stopped after {:?}", begun.elapsed());
}
