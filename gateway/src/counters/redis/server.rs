//! A Redis server: its address, its credentials, and how to connect to it.

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::io::tcp::TcpSettings;
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo, RedisError, RedisResult,
    TlsCertificates,
};

use super::commands::{Commands, RESERVE, run};
use crate::counters::OpenError;

/// Connecting and authenticating takes three round trips within a data centre. Also bounds a probe.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// TLS reads the whole system trust store for each connection, which is slow on a busy machine.
const CONNECT_WITH_TLS_MAX: Duration = Duration::from_secs(3);
/// Much longer than any caller waits: a late answer tells what to release.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Calls queued in the connection and not yet written. Further calls wait for room, within their own timeout.
const QUEUED_CALLS_MAX: usize = 4_096;

/// All keys share one hash tag, because a script uses keys of a user, a coupon and the gateway at once: in a Redis
/// Cluster they are all on one node. The gateway does not follow redirections, so counters.url must name that node, a
/// proxy in front of the cluster, or a single Redis with replicas.
const PREFIX: &str = "{sluice}";

#[derive(Debug, Clone)]
pub struct Server {
    client: Client,
    pub(super) commands: Commands,
}

impl Server {
    pub(crate) fn new(url: &str, password: Option<String>, certificates: Option<Vec<u8>>) -> Result<Self, OpenError> {
        if url.contains(['?', '#']) {
            return Err(OpenError::Url("expected `redis://[user@]host:port[/db]`, found a `?` or `#`".to_owned()));
        }
        let invalid = |error: RedisError| OpenError::Url(error.to_string());
        let info = url.into_connection_info().map_err(invalid)?;
        let mut settings = info.redis_settings().clone();
        if settings.password().is_some() {
            return Err(OpenError::PasswordInUrl);
        }
        match password {
            Some(password) => settings = settings.set_password(password),
            // The client would connect without authenticating, as the user `default`.
            None if settings.username().is_some() => return Err(OpenError::NoPassword),
            None => {}
        }
        // Calls are small, and a client waits for each.
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = info.set_redis_settings(settings).set_tcp_settings(tcp);
        let client = match certificates {
            None => Client::open(info).map_err(invalid)?,
            Some(root) => Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(root) })
                .map_err(|error| OpenError::Certificates(error.to_string()))?,
        };
        Ok(Self { client, commands: Commands::new(PREFIX) })
    }

    pub(super) fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// Redis calls the user `default` if none is named.
    fn user(&self) -> String {
        self.client.get_connection_info().redis_settings().username().unwrap_or("default").to_owned()
    }

    /// Connects, authenticates and probes.
    pub(super) async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connect_max(self.client.get_connection_info().addr())))
            .set_response_timeout(Some(ANSWER_MAX))
            .set_pipeline_buffer_size(QUEUED_CALLS_MAX);
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        self.probe(&connection).await?;
        Ok(connection)
    }

    /// The cause of a failed connection if retrying cannot help, otherwise `None`.
    pub(super) async fn permanent_error(&self, error: &RedisError) -> Option<OpenError> {
        let (server, reason) = (self.address(), error.to_string());
        if is_authentication_error(error) {
            Some(OpenError::AuthenticationFailed { server, user: self.user(), reason })
        } else if reason.contains("certificate verify failed") {
            Some(OpenError::UntrustedCertificate { server, reason })
        } else if error.code().is_some() {
            // Redis answered, so URL and port agree about TLS.
            None
        } else {
            let requires_tls = self.probe_other_scheme().await?;
            Some(OpenError::TlsMismatch { server, requires_tls })
        }
    }

    /// Tries TLS where the URL has none, and the reverse. `Some` if Redis answers to that: whether it used TLS. A failed
    /// handshake cannot tell, because a port of the other kind closes the connection or waits. Sends no credentials.
    async fn probe_other_scheme(&self) -> Option<bool> {
        let (address, uses_tls) = match self.client.get_connection_info().addr().clone() {
            ConnectionAddr::Tcp(host, port) => {
                (ConnectionAddr::TcpTls { host, port, insecure: true, tls_params: None }, true)
            }
            ConnectionAddr::TcpTls { host, port, .. } => (ConnectionAddr::Tcp(host, port), false),
            _ => return None,
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connect_max(&address)))
            .set_response_timeout(Some(CONNECT_MAX));
        let client = Client::open(address).ok()?;
        let ping = async {
            let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            ::redis::cmd("PING").exec_async(&mut connection).await
        };
        let answer = ping.await;
        // "Authentication required" is an answer too.
        let is_answer = answer.as_ref().map_or_else(is_authentication_error, |()| true);
        is_answer.then_some(uses_tls)
    }

    /// Runs a script that writes. A Redis that is full, read-only or forbids scripts would still answer a ping.
    pub(super) async fn probe(&self, connection: &MultiplexedConnection) -> RedisResult<()> {
        let probe = run::<Vec<u64>>(connection.clone(), &RESERVE, self.commands.probe());
        match tokio::time::timeout(CONNECT_MAX, probe).await {
            Ok(answer) => answer.map(|_| ()),
            Err(_) => Err((ErrorKind::Io, "no answer", format!("in {} ms", CONNECT_MAX.as_millis())).into()),
        }
    }
}

fn connect_max(address: &ConnectionAddr) -> Duration {
    match address {
        ConnectionAddr::TcpTls { .. } => CONNECT_WITH_TLS_MAX,
        _ => CONNECT_MAX,
    }
}

fn is_authentication_error(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed
        || error.code().is_some_and(|code| ["NOAUTH", "WRONGPASS", "NOPERM"].contains(&code))
}
