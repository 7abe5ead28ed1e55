//! A client of a listener with TLS, over one connection.

use std::net::SocketAddr;
use std::pin::Pin;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper::{Request, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use crate::certificates::Authority;

pub(crate) type Stream = SslStream<TcpStream>;

/// Sends requests one after the other.
pub(crate) enum Connection {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

/// Connects and checks the certificate. `configure` restricts the client further.
pub(crate) async fn shake_hands(
    address: SocketAddr,
    authority: &Authority,
    configure: impl FnOnce(&mut SslConnectorBuilder),
) -> Result<Stream, openssl::ssl::Error> {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).expect("a client");
    builder.cert_store_mut().add_cert(authority.certificate.clone()).expect("a certificate");
    configure(&mut builder);
    let ssl = builder.build().configure().and_then(|client| client.into_ssl("localhost")).expect("a client");
    let stream = TcpStream::connect(address).await.expect("connects");
    let mut stream = SslStream::new(ssl, stream).expect("a stream");
    Pin::new(&mut stream).connect().await.map(|()| stream)
}

/// Connects for HTTP/1.1 or HTTP/2, which the server must select.
pub(crate) async fn connect(address: SocketAddr, authority: &Authority, version: Version) -> Connection {
    let offered: &[u8] = if version == Version::HTTP_2 { b"\x02h2" } else { b"\x08http/1.1" };
    let offer = |builder: &mut SslConnectorBuilder| builder.set_alpn_protos(offered).expect("protocols");
    let stream = shake_hands(address, authority, offer).await.expect("a handshake");
    assert_eq!(stream.ssl().selected_alpn_protocol(), Some(&offered[1..]), "{version:?}");
    Connection::over(TokioIo::new(stream), version).await
}

impl Connection {
    async fn over(stream: TokioIo<Stream>, version: Version) -> Self {
        if version == Version::HTTP_2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
            tokio::spawn(connection);
            Self::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(stream).await.expect("HTTP/1.1");
            tokio::spawn(connection);
            Self::Http1(sender)
        }
    }

    /// `host` is what the client believes to call.
    pub(crate) async fn get(&mut self, host: &str, path: &str) -> (StatusCode, Value) {
        let (status, body) = self.call(host, path).await;
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    pub(crate) async fn metrics(&mut self) -> String {
        let (status, body) = self.call("localhost", "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        String::from_utf8(body.to_vec()).expect("text")
    }

    async fn call(&mut self, host: &str, path: &str) -> (StatusCode, Bytes) {
        let response = match self {
            Self::Http1(sender) => {
                sender.ready().await.expect("the connection is open");
                let request = Request::get(path).header("host", host).body(Empty::new());
                sender.send_request(request.expect("a request")).await
            }
            Self::Http2(sender) => {
                sender.ready().await.expect("the connection is open");
                let request = Request::get(format!("https://{host}{path}")).body(Empty::new());
                sender.send_request(request.expect("a request")).await
            }
        };
        let response = response.expect("an answer");
        let status = response.status();
        (status, response.into_body().collect().await.expect("a body").to_bytes())
    }
}
