//! An HTTP client small and fast enough to load the gateway: keep-alive connections, used one request
//! at a time.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Request, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Above the 30 s for which a status call may wait, and above what a change takes that compiles policies on a busy
/// machine.
const ANSWER_MAX: Duration = Duration::from_secs(120);

type Connection = SendRequest<Full<Bytes>>;

pub(crate) struct Client {
    address: SocketAddr,
    idle: Mutex<Vec<Connection>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SendError {
    /// The connection was refused, so the request did not arrive.
    NotSent(String),
    /// The connection broke; the request may have arrived.
    Unanswered(String),
}

impl Client {
    pub(crate) fn to(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self { address, idle: Mutex::default() })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Request::get(path).body(Full::default()).expect("a request")).await
    }

    pub(crate) async fn post(&self, path: &str, json: impl Into<Bytes>) -> Answer {
        self.call(post(path, json)).await
    }

    pub(crate) async fn put(&self, path: &str, json: impl Into<Bytes>) -> Answer {
        let mut request = post(path, json);
        *request.method_mut() = hyper::Method::PUT;
        self.call(request).await
    }

    pub(crate) async fn call(&self, request: Request<Full<Bytes>>) -> Answer {
        self.send(request).await.expect("there is an answer")
    }

    pub(crate) async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Answer, SendError> {
        let host = self.address.to_string().parse().expect("an address is a header");
        request.headers_mut().insert(header::HOST, host);
        let late = |_| SendError::Unanswered(format!("no answer within {ANSWER_MAX:?}"));
        tokio::time::timeout(ANSWER_MAX, self.exchange(request)).await.unwrap_or_else(|passed| Err(late(passed)))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, SendError> {
        loop {
            let mut connection = self.connection().await?;
            match exchange(&mut connection, request.clone()).await {
                Ok(answer) => {
                    if answer.header("connection") != Some("close") {
                        self.idle().push(connection);
                    }
                    return Ok(answer);
                }
                // The server had closed the idle connection before the request was written, so it is safe to retry.
                Err(error) if error.is_canceled() => {}
                Err(error) => return Err(SendError::Unanswered(error.to_string())),
            }
        }
    }

    async fn connection(&self) -> Result<Connection, SendError> {
        loop {
            let Some(mut idle) = self.idle().pop() else { break };
            if idle.ready().await.is_ok() {
                return Ok(idle);
            }
        }
        let stream = TcpStream::connect(self.address).await.map_err(|error| SendError::NotSent(error.to_string()))?;
        stream.set_nodelay(true).expect("a TCP option");
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| SendError::NotSent(error.to_string()))?;
        // Its error also reaches the sender, through the response future.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn exchange(connection: &mut Connection, request: Request<Full<Bytes>>) -> hyper::Result<Answer> {
    let (parts, body) = connection.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
}

pub(crate) fn post(path: &str, json: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    request.body(Full::new(json.into())).expect("a request")
}

/// Sends bytes unchanged and reads until the server closes the connection or the time is over.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8], within: Duration) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the gateway listens");
    // The server may answer and close before it has read all.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(within, stream.read_to_end(&mut answer)).await;
    String::from_utf8(answer).expect("an answer in UTF-8")
}

impl Answer {
    /// Parses the first response of what [`raw`] returned.
    pub(crate) fn of_text(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            let name: header::HeaderName = name.parse().ok()?;
            headers.append(name, value.parse().ok()?);
        }
        Some(Self { status, headers, body: Bytes::copy_from_slice(body.as_bytes()) })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status, self.reason())
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, self.text())
    }
}
