//! Requests that share one HTTP/2 connection.

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::harness::{Files, Fixture, eventually};
use sluice::config::Role;

async fn get(mut sender: SendRequest<Empty<Bytes>>, url: String) -> (StatusCode, Value) {
    let request = Request::get(url).body(Empty::new()).expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    let status = response.status();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_has_no_more_requests_in_progress_than_a_listener_has_connections() {
    let two_at_most = |config: &mut sluice::config::Config| {
        // Nothing settles, so that status calls wait.
        config.role = Role::Gateway;
        config.http.connections_max = 2;
        config.http.drain_seconds = 0;
    };
    let fixture = Fixture::with(Files::new(), two_at_most, |ports| ports).await;
    let waiting = format!("{}&wait=30s", fixture.accepted(1).await);
    let address = fixture.running.http.expect("a gateway");
    let stream = TokioIo::new(TcpStream::connect(address).await.expect("connects"));
    let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let url = |path: &str| format!("http://{address}{path}");
    let polls = [(); 2].map(|()| tokio::spawn(get(sender.clone(), url(&waiting))));
    eventually("the third request is refused", async || {
        let (status, problem) = get(sender.clone(), url("/livez")).await;
        (status == StatusCode::SERVICE_UNAVAILABLE && problem["reason"] == "OVERLOADED").then_some(())
    })
    .await;
    for poll in polls {
        poll.abort();
    }
    eventually("a place is free again", async || {
        (get(sender.clone(), url("/livez")).await.0 == StatusCode::OK).then_some(())
    })
    .await;
    fixture.stop().await;
}
