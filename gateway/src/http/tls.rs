//! TLS of a listener: the certificate that it shows, and the handshake.

mod files;
mod identity;
mod watch;

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use openssl::error::ErrorStack;
use openssl::ssl::{self, Ssl};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use self::files::Files;
use self::identity::Identity;
use super::error::Problem;
use crate::background::Background;
use crate::telemetry::Telemetry;

pub use self::files::TlsError;

/// Every TLS client begins with a record of this type.
const HANDSHAKE_RECORD: u8 = 22;
/// Longer than the head of most requests. What a client has sent and nobody reads may cost it the answer.
const PLAIN_TEXT_BYTES_READ: usize = 4096;

/// The certificate of a listener. Clones share it.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    files: Files,
    /// New connections use it; open ones keep theirs.
    identity: ArcSwap<Identity>,
}

/// Why a connection has no TLS.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    /// The client closed the connection before it sent anything, as a TCP probe does.
    #[error("the client closed the connection")]
    Closed,
    #[error("the client does not use TLS")]
    PlainText,
    #[error("not completed in time")]
    TimedOut,
    #[error("{0}")]
    Connection(#[from] io::Error),
    #[error("{0}")]
    Protocol(#[from] ssl::Error),
    #[error("{0}")]
    Library(#[from] ErrorStack),
}

impl Tls {
    /// Reads the files of `SECTION.tls_certificate_file` and `SECTION.tls_key_file`. `None` if neither is set.
    ///
    /// # Errors
    /// If only one is set, a file cannot be read, or the key does not belong to the certificate.
    pub fn open(
        section: &'static str,
        certificate: Option<&Path>,
        key: Option<&Path>,
    ) -> Result<Option<Self>, TlsError> {
        let Some(files) = Files::new(section, certificate, key)? else { return Ok(None) };
        let identity = Identity::new(&files, files.read()?)?;
        Ok(Some(Self(Arc::new(Shared { files, identity: ArcSwap::from_pointee(identity) }))))
    }

    /// The section of the listener.
    pub(super) fn section(&self) -> &'static str {
        self.0.files.section
    }

    /// Loads the files again when they change.
    pub(super) fn watch(&self, telemetry: &Telemetry) -> Background {
        watch::background(self, telemetry)
    }

    /// The server's side of a handshake. The caller bounds how long it may take.
    pub(super) async fn accept(&self, mut stream: TcpStream) -> Result<SslStream<TcpStream>, HandshakeError> {
        let mut first = [0];
        match stream.peek(&mut first).await.unwrap_or_default() {
            0 => return Err(HandshakeError::Closed),
            _ if first[0] != HANDSHAKE_RECORD => {
                explain(&mut stream).await?;
                return Err(HandshakeError::PlainText);
            }
            _ => {}
        }
        let ssl = Ssl::new(self.0.identity.load().acceptor.context())?;
        let mut stream = SslStream::new(ssl, stream)?;
        Pin::new(&mut stream).accept().await?;
        Ok(stream)
    }
}

/// Tells a client that speaks HTTP without TLS what is wrong.
async fn explain(stream: &mut TcpStream) -> io::Result<()> {
    // Closed with unread bytes, the connection would be reset, and the answer lost.
    let mut request = [0; PLAIN_TEXT_BYTES_READ];
    let _ = stream.read(&mut request).await?;
    stream.write_all(&Problem::tls_required().to_http1()).await?;
    stream.shutdown().await
}
