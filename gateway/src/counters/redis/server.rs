//! The Redis that `counters.url` names: its nodes, its credentials, and how to connect to it.

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::io::tcp::TcpSettings;
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, RedisError, RedisResult, ServerErrorKind, TlsCertificates,
};

use super::address::Address;
use super::commands::probe;
use super::keys::Keys;
use super::slots::{Node, Range, parse_ranges};
use crate::counters::OpenError;

/// Connecting and authenticating takes three round trips within a data centre. Also bounds a probe.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// TLS reads the whole system trust store for each connection, which is slow on a busy machine.
const CONNECT_WITH_TLS_MAX: Duration = Duration::from_secs(3);
/// Much longer than any caller waits: a late answer tells what to release.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Calls queued in the connection and not yet written. Further calls wait for room, within their own timeout.
const QUEUED_CALLS_MAX: usize = 4_096;

#[derive(Debug, Clone)]
pub struct Server {
    /// Of the first seed. The other nodes have the same credentials and certificates.
    client: Client,
    /// The single server, or the nodes of the cluster that the URL names.
    pub(super) seeds: Vec<Node>,
    pub(super) is_cluster: bool,
    pub(super) keys: Keys,
}

impl Server {
    /// `key_prefix` is valid.
    pub(crate) fn new(
        url: &str,
        key_prefix: &str,
        password: Option<String>,
        certificates: Option<Vec<u8>>,
    ) -> Result<Self, OpenError> {
        let Address { is_cluster, seeds } = Address::parse(url)?;
        let invalid = |error: RedisError| OpenError::Url(error.to_string());
        let nodes = seeds.iter().map(|seed| node_of(seed.addr())).collect::<Option<Vec<_>>>();
        let nodes = nodes.ok_or_else(|| OpenError::Url("expected the address of a TCP port".to_owned()))?;
        let Some(info) = seeds.into_iter().next() else { return Err(OpenError::Url("names no server".to_owned())) };
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
        let keys = if is_cluster { Keys::in_cluster(key_prefix) } else { Keys::on_one_server(key_prefix) };
        Ok(Self { client, seeds: nodes, is_cluster, keys })
    }

    /// Redis calls the user `default` if none is named.
    fn user(&self) -> String {
        self.client.get_connection_info().redis_settings().username().unwrap_or("default").to_owned()
    }

    /// The address of a node, with TLS if the URL has it.
    fn address(&self, node: &Node) -> ConnectionAddr {
        let Node { host, port } = node.clone();
        match self.client.get_connection_info().addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(host, port),
        }
    }

    /// Connects and authenticates.
    pub(super) async fn connect(&self, node: &Node) -> RedisResult<MultiplexedConnection> {
        let address = self.address(node);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connect_max(&address)))
            .set_response_timeout(Some(ANSWER_MAX))
            .set_pipeline_buffer_size(QUEUED_CALLS_MAX);
        let client = Client::open(self.client.get_connection_info().clone().set_addr(address))?;
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Connects, and probes the connection with a write of that key.
    pub(super) async fn connect_and_probe(&self, node: &Node, key: &str) -> RedisResult<MultiplexedConnection> {
        let connection = self.connect(node).await?;
        self.probe(&connection, key).await?;
        Ok(connection)
    }

    /// Runs a script that writes. A Redis that is full, read-only or forbids scripts would still answer a ping.
    pub(super) async fn probe(&self, connection: &MultiplexedConnection, key: &str) -> RedisResult<()> {
        let (probe, mut connection) = (probe(key.to_owned()), connection.clone());
        match in_time(probe.run::<Vec<u64>>(&mut connection, false)).await {
            // The slot of the key has moved.
            Err(error) if self.is_cluster && is_redirection(&error) => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    /// Asks a node of a cluster which node serves which slots.
    pub(super) async fn ranges(&self, node: &Node, connection: &MultiplexedConnection) -> RedisResult<Vec<Range>> {
        let mut connection = connection.clone();
        let answer = in_time(::redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection)).await?;
        let unexpected = || (ErrorKind::UnexpectedReturnType, "unexpected answer to CLUSTER SLOTS").into();
        parse_ranges(&answer, node).ok_or_else(unexpected)
    }

    /// The cause of a failed connection if retrying cannot help, otherwise `None`.
    pub(super) async fn permanent_error(&self, node: &Node, error: &RedisError) -> Option<OpenError> {
        let (server, reason) = (node.to_string(), error.to_string());
        if is_authentication_error(error) {
            Some(OpenError::AuthenticationFailed { server, user: self.user(), reason })
        } else if reason.contains("certificate verify failed") {
            Some(OpenError::UntrustedCertificate { server, reason })
        } else if reason.contains("cluster support disabled") {
            Some(OpenError::NoCluster { server })
        } else if error.code().is_some() {
            // Redis answered, so URL and port agree about TLS.
            None
        } else {
            let requires_tls = self.probe_other_scheme(node).await?;
            Some(OpenError::TlsMismatch { server, requires_tls })
        }
    }

    /// Tries TLS where the URL has none, and the reverse. `Some` if Redis answers to that: whether it used TLS. A failed
    /// handshake cannot tell, because a port of the other kind closes the connection or waits. Sends no credentials.
    async fn probe_other_scheme(&self, node: &Node) -> Option<bool> {
        let Node { host, port } = node.clone();
        let (address, uses_tls) = match self.client.get_connection_info().addr() {
            ConnectionAddr::TcpTls { .. } => (ConnectionAddr::Tcp(host, port), false),
            _ => (ConnectionAddr::TcpTls { host, port, insecure: true, tls_params: None }, true),
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
}

fn node_of(address: &ConnectionAddr) -> Option<Node> {
    match address {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            Some(Node { host: host.clone(), port: *port })
        }
        _ => None,
    }
}

fn connect_max(address: &ConnectionAddr) -> Duration {
    match address {
        ConnectionAddr::TcpTls { .. } => CONNECT_WITH_TLS_MAX,
        _ => CONNECT_MAX,
    }
}

async fn in_time<T>(answer: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    let no_answer = || (ErrorKind::Io, "no answer", format!("in {} ms", CONNECT_MAX.as_millis())).into();
    tokio::time::timeout(CONNECT_MAX, answer).await.unwrap_or_else(|_| Err(no_answer()))
}

fn is_authentication_error(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed
        || error.code().is_some_and(|code| ["NOAUTH", "WRONGPASS", "NOPERM"].contains(&code))
}

fn is_redirection(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask))
}
