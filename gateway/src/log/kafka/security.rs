//! Encryption and logins: how the client library is told of them, and what its complaints mean.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::Address;
use crate::log::{OpenError, Options, SaslMechanism};
use crate::secret::read_secret;

/// What producer, consumer and administration have in common.
pub(super) fn client_config(address: &Address, options: &Options) -> Result<ClientConfig, OpenError> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &address.brokers)
        .set("client.id", "sluice")
        .set("allow.auto.create.topics", "false")
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.max.ms", "1000");
    let protocol = match (&options.username, options.tls) {
        (None, false) => "plaintext",
        (None, true) => "ssl",
        (Some(_), false) => "sasl_plaintext",
        (Some(_), true) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(file) = &options.tls_ca_file {
        if !options.tls {
            return Err(refused("log.tls_ca_file", "only log.tls = true has a use for it"));
        }
        read("log.tls_ca_file", file)?;
        config.set("ssl.ca.location", file.display().to_string());
    }
    match &options.username {
        Some(username) => {
            if options.sasl_mechanism == SaslMechanism::Plain && !options.tls {
                let problem = "PLAIN sends the password as it is: set log.tls = true, or use SCRAM-SHA-512";
                return Err(refused("log.sasl_mechanism", problem));
            }
            config.set("sasl.mechanism", options.sasl_mechanism.as_str()).set("sasl.username", username);
            config.set("sasl.password", password(options.password_file.as_deref())?);
        }
        None if options.password_file.is_some() => {
            return Err(refused("log.username", "expected whose password log.password_file holds"));
        }
        None => {}
    }
    Ok(config)
}

fn password(file: Option<&Path>) -> Result<String, OpenError> {
    const OPTION: &str = "log.password_file";
    let file = file.ok_or_else(|| refused(OPTION, "expected a file with the password of log.username"))?;
    read_secret(file).map_err(|error| refused(OPTION, error.to_string()))
}

fn read(option: &'static str, file: &Path) -> Result<Vec<u8>, OpenError> {
    std::fs::read(file).map_err(|error| refused(option, format!("read {}: {error}", file.display())))
}

fn refused(option: &'static str, problem: impl Into<String>) -> OpenError {
    OpenError::Refused { option, problem: problem.into() }
}

/// Why the client library makes no client.
pub(super) fn not_made(address: &Address, error: KafkaError) -> OpenError {
    match error {
        KafkaError::ClientCreation(reason) if reason.contains("ssl.ca") => {
            refused("log.tls_ca_file", format!("expected certificates in PEM: {reason}"))
        }
        error => OpenError::Failed { path: address.brokers.clone(), source: error.into() },
    }
}

/// How the library says that a broker ended a connection that was there.
const HUNG_UP: [&str; 3] = ["Disconnected", "Broken pipe", "Connection reset"];

/// Remembers what the client library complains of, which says more than the time-out it ends in: of what it
/// heard since it was last asked, that which says the most.
#[derive(Default)]
pub(super) struct Complaints(Mutex<Option<(Obstacle, String)>>);

/// What a complaint tells of; a later one here outweighs those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Obstacle {
    /// A broker hangs up. One that is just ending does so, too, but then refuses to be connected to.
    HangUp,
    /// Anything else, such as a broker that is not there. It may be later.
    Transient,
    /// The broker's certificate is not trusted.
    Certificate,
    /// The login is refused.
    Login,
}

impl Obstacle {
    /// The library has a code for some of it, and words for the rest.
    fn of(code: Option<RDKafkaErrorCode>, reason: &str) -> Self {
        match code {
            Some(RDKafkaErrorCode::Authentication) => Self::Login,
            _ if reason.contains("certificate verify failed") => Self::Certificate,
            _ if HUNG_UP.iter().any(|words| reason.contains(words)) => Self::HangUp,
            _ => Self::Transient,
        }
    }
}

impl Complaints {
    fn note(&self, obstacle: Obstacle, reason: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Of several brokers that say the same it is always the same one, so that who waits is told once.
        let is_more =
            |(known, told): &(Obstacle, String)| obstacle > *known || obstacle == *known && reason < told.as_str();
        if known.as_ref().is_none_or(is_more) {
            *known = Some((obstacle, reason.to_owned()));
        }
    }

    fn take(&self) -> Option<(Obstacle, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The complaint, or else the error.
    pub(super) fn or(&self, error: &KafkaError) -> String {
        self.take().map_or_else(|| error.to_string(), |(_, reason)| reason)
    }

    /// What the error comes from. Where waiting does not help, it says what to mend.
    pub(super) fn explain(&self, address: &Address, config: &ClientConfig, error: &KafkaError) -> OpenError {
        let (obstacle, reason) = self.take().unwrap_or_else(|| (Obstacle::Transient, error.to_string()));
        // How long it took and how often it was so changes each time.
        let told = reason.rsplit_once(" (after ").map_or(&*reason, |(told, _)| told);
        let (option, what, mend) = match obstacle {
            Obstacle::Transient => return address.unreachable(told),
            Obstacle::HangUp => match hang_up(config.get("security.protocol").unwrap_or_default(), &reason) {
                Some(hang_up) => hang_up,
                None => return address.unreachable(told),
            },
            Obstacle::Login => (
                "log.password_file",
                "refuses the login",
                "mend the password in it, log.username or log.sasl_mechanism, or make the user there",
            ),
            Obstacle::Certificate => (
                "log.tls_ca_file",
                "shows a certificate that is not trusted",
                "name the authority that signed it there, and in log.url the host that it is for",
            ),
        };
        refused(option, format!("Kafka {what}: {told}; {mend}"))
    }
}

/// What brokers hang up on tells the state of the connection: which option, what about it, and what to do.
fn hang_up(protocol: &str, reason: &str) -> Option<(&'static str, &'static str, &'static str)> {
    let in_state = |state: &str| reason.contains(&format!("in state {state}"));
    if in_state("SSL_HANDSHAKE") {
        Some(("log.tls", "hangs up on TLS", "set it to false, or give log.url the ports for TLS"))
    } else if in_state("APIVERSION_QUERY") && protocol.ends_with("plaintext") {
        Some(("log.tls", "hangs up on plain text", "set it to true, or give log.url the ports without TLS"))
    } else if in_state("UP") && !protocol.starts_with("sasl") {
        Some(("log.username", "hangs up on who does not log in", "set it and log.password_file"))
    } else {
        None
    }
}

impl ClientContext for Complaints {
    /// Of connections that end, the library tells nowhere else.
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "kafka");
        if facility == "FAIL" && Obstacle::of(None, message) == Obstacle::HangUp {
            // The name of a thread stands before it.
            let reason = message.split_once("]: ").map_or(message, |(_, reason)| reason);
            self.note(Obstacle::HangUp, reason);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka");
        let code = error.rdkafka_error_code();
        // That all are down says nothing of why.
        if code != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.note(Obstacle::of(code, reason), reason);
        }
    }
}

impl ConsumerContext for Complaints {}
