//! Turning what the client library reports about brokers into errors that name the option to fix.

use std::sync::{Mutex, PoisonError};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::address::Address;
use super::security::refused;
use crate::log::OpenError;

/// How the library says that a broker closed an established connection.
const DISCONNECTED: [&str; 3] = ["Disconnected", "Broken pipe", "Connection reset"];

/// Collects the errors that the library reports while a request waits. They say why it timed out; the time-out itself
/// does not. Keeps the most specific one.
#[derive(Default)]
pub(super) struct BrokerErrors(Mutex<Option<(Cause, String)>>);

/// What a reported error points to, the most specific last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// The broker closed the connection. It also does when it stops, but then it rejects the next connection.
    Disconnected,
    /// Anything that may pass, such as a broker that is not running.
    Unreachable,
    Certificate,
    Authentication,
}

/// What to tell the operator about an error that a retry does not solve.
struct Diagnosis {
    option: &'static str,
    problem: &'static str,
    fix: &'static str,
}

impl Cause {
    fn of(code: Option<RDKafkaErrorCode>, reason: &str) -> Self {
        match code {
            Some(RDKafkaErrorCode::Authentication) => Self::Authentication,
            // For the rest, the library has only words.
            _ if reason.contains("certificate verify failed") => Self::Certificate,
            _ if DISCONNECTED.iter().any(|words| reason.contains(words)) => Self::Disconnected,
            _ => Self::Unreachable,
        }
    }

    /// `None` if a retry may succeed.
    fn diagnose(self, protocol: &str, reason: &str) -> Option<Diagnosis> {
        match self {
            Self::Unreachable => None,
            Self::Disconnected => diagnose_disconnect(protocol, reason),
            Self::Certificate => Some(Diagnosis {
                option: "log.tls_ca_file",
                problem: "Kafka's certificate is not trusted",
                fix: "name the PEM file of the CA that signed it, and use the host of the certificate in log.url",
            }),
            Self::Authentication => Some(Diagnosis {
                option: "log.password_file",
                problem: "Kafka authentication failed",
                fix: "check log.username, log.password_file and log.sasl_mechanism, or create the user on the brokers",
            }),
        }
    }
}

/// The state in which a broker closes the connection tells which setting it does not accept.
fn diagnose_disconnect(protocol: &str, reason: &str) -> Option<Diagnosis> {
    let in_state = |state: &str| reason.contains(&format!("in state {state}"));
    if in_state("SSL_HANDSHAKE") {
        Some(Diagnosis {
            option: "log.tls",
            problem: "Kafka closed the TLS connection",
            fix: "set log.tls = false, or use the TLS ports in log.url",
        })
    } else if in_state("APIVERSION_QUERY") && protocol.ends_with("plaintext") {
        Some(Diagnosis {
            option: "log.tls",
            problem: "Kafka closed the plaintext connection",
            fix: "set log.tls = true, or use the plaintext ports in log.url",
        })
    } else if in_state("UP") && !protocol.starts_with("sasl") {
        Some(Diagnosis {
            option: "log.username",
            problem: "Kafka closed the unauthenticated connection",
            fix: "set log.username and log.password_file",
        })
    } else {
        None
    }
}

impl BrokerErrors {
    fn record(&self, cause: Cause, reason: &str) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Several brokers report the same cause in any order. The choice among them must be stable: a changed reason
        // would be logged as a new one.
        let replaces =
            |(known, known_reason): &(Cause, String)| (cause > *known) || (cause == *known && reason < &**known_reason);
        if kept.as_ref().is_none_or(replaces) {
            *kept = Some((cause, reason.to_owned()));
        }
    }

    fn take(&self) -> Option<(Cause, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The reported reason, or else the error.
    pub(super) fn reason(&self, error: &KafkaError) -> String {
        self.take().map_or_else(|| error.to_string(), |(_, reason)| reason)
    }

    /// Names the option to fix, unless a retry may succeed.
    pub(super) fn explain(&self, address: &Address, config: &ClientConfig, error: &KafkaError) -> OpenError {
        let (cause, reason) = self.take().unwrap_or_else(|| (Cause::Unreachable, error.to_string()));
        // The library adds times and counts, which differ in every attempt.
        let stable = reason.rsplit_once(" (after ").map_or(&*reason, |(stable, _)| stable);
        match cause.diagnose(config.get("security.protocol").unwrap_or_default(), &reason) {
            Some(Diagnosis { option, problem, fix }) => refused(option, format!("{problem}: {stable}: {fix}")),
            None => address.unreachable(stable),
        }
    }
}

impl ClientContext for BrokerErrors {
    /// The library reports closed connections only in its log.
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "kafka");
        if facility == "FAIL" && Cause::of(None, message) == Cause::Disconnected {
            // The library prefixes the name of its thread.
            let reason = message.split_once("]: ").map_or(message, |(_, reason)| reason);
            self.record(Cause::Disconnected, reason);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka");
        let code = error.rdkafka_error_code();
        // "All brokers are down" does not say why.
        if code != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.record(Cause::of(code, reason), reason);
        }
    }
}

impl ConsumerContext for BrokerErrors {}

/// The library could not create a client: its configuration is invalid.
pub(super) fn client_creation_failed(address: &Address, error: KafkaError) -> OpenError {
    match error {
        KafkaError::ClientCreation(reason) if reason.contains("ssl.ca") => {
            refused("log.tls_ca_file", format!("expected certificates in PEM: {reason}"))
        }
        error => OpenError::Failed { path: address.brokers.clone(), source: error.into() },
    }
}
