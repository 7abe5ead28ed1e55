//! Where Redis is, and how the gateway logs in there.

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::io::tcp::TcpSettings;
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo, RedisError, RedisResult,
    TlsCertificates,
};

use super::commands::{Commands, RESERVE, run};
use crate::counters::OpenError;

/// To connect and log in takes three round trips to a server that is not far. Also the longest that a
/// proof of life may take, which nobody waits for.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// With TLS, all certificates that the system trusts are read each time, which a busy machine takes long for.
const CONNECT_WITH_TLS_MAX: Duration = Duration::from_secs(3);
/// Nobody waits for an answer for so long; what comes until then is at least given back.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Requests that are handed to the connection and not yet written; more wait for their turn, and
/// their time runs on.
const WAITING_MAX: usize = 4_096;

/// All keys of a gateway carry one hash tag, because a script touches those of a user, a coupon and
/// the gateway at once: in a Redis Cluster they all lie on one node. The gateway follows no
/// redirection, so it wants that node, a proxy before it, or simply one Redis with replicas.
const PREFIX: &str = "{sluice}";

/// A Redis, and who asks there.
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
        let wrong = |error: RedisError| OpenError::Url(error.to_string());
        let info = url.into_connection_info().map_err(wrong)?;
        let mut login = info.redis_settings().clone();
        if login.password().is_some() {
            return Err(OpenError::PasswordInUrl);
        }
        match password {
            Some(password) => login = login.set_password(password),
            // Redis would not be told of them.
            None if login.username().is_some() => return Err(OpenError::NoPassword),
            None => {}
        }
        // Small requests, each of which somebody waits for.
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = info.set_redis_settings(login).set_tcp_settings(tcp);
        let client = match certificates {
            None => Client::open(info).map_err(wrong)?,
            Some(root) => Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(root) })
                .map_err(|error| OpenError::Certificates(error.to_string()))?,
        };
        Ok(Self { client, commands: Commands::new(PREFIX) })
    }

    /// Its host and port.
    pub(super) fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// Connects, logs in, and sees to it that Redis does what it is for.
    pub(super) async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connect_max(self.client.get_connection_info().addr())))
            .set_response_timeout(Some(ANSWER_MAX))
            .set_pipeline_buffer_size(WAITING_MAX);
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        self.prove(&connection).await?;
        Ok(connection)
    }

    /// Why connecting failed, where trying again does not help.
    pub(super) async fn refusal(&self, error: &RedisError) -> Option<OpenError> {
        let (server, reason) = (self.address(), error.to_string());
        if is_refused_login(error) {
            Some(OpenError::LoginRefused { server, reason })
        } else if reason.contains("certificate verify failed") {
            Some(OpenError::Untrusted { server, reason })
        } else if error.code().is_some() {
            // It has answered, so this is the way.
            None
        } else {
            let with_tls = self.answers_the_other_way().await?;
            Some(OpenError::OtherWay { server, with_tls })
        }
    }

    /// Whether with TLS, where Redis answers only to who does otherwise about it than the URL. What is behind a
    /// port tells it in no other way: it hangs up or waits. Nobody logs in here.
    async fn answers_the_other_way(&self) -> Option<bool> {
        let (address, with_tls) = match self.client.get_connection_info().addr().clone() {
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
        // That one must log in first is an answer, too.
        let is_answer = answer.as_ref().map_or_else(is_refused_login, |()| true);
        is_answer.then_some(with_tls)
    }

    /// A ping would also be answered by a Redis that is full, read-only or forbids scripts.
    pub(super) async fn prove(&self, connection: &MultiplexedConnection) -> RedisResult<()> {
        let proof = run::<Vec<u64>>(connection.clone(), &RESERVE, self.commands.proof());
        match tokio::time::timeout(CONNECT_MAX, proof).await {
            Ok(proven) => proven.map(|_| ()),
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

/// Whether Redis turned the gateway away for who it is: trying again does not help.
fn is_refused_login(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed
        || error.code().is_some_and(|code| ["NOAUTH", "WRONGPASS", "NOPERM"].contains(&code))
}
