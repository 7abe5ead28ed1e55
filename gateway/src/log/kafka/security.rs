//! The client library's configuration, with TLS and SASL.

use std::path::Path;

use rdkafka::ClientConfig;

use super::address::Address;
use crate::log::{OpenError, Options, SaslMechanism};
use crate::secret::read_secret;

/// The settings that producer, consumer and admin client share.
///
/// # Errors
/// [`OpenError::Refused`] if options contradict each other, or a file that they name cannot be read.
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
            return Err(refused("log.tls_ca_file", "requires log.tls = true"));
        }
        read("log.tls_ca_file", file)?;
        config.set("ssl.ca.location", file.display().to_string());
    }
    match &options.username {
        Some(username) => {
            if options.sasl_mechanism == SaslMechanism::Plain && !options.tls {
                let problem = "PLAIN sends the password unencrypted: set log.tls = true, or use SCRAM-SHA-512";
                return Err(refused("log.sasl_mechanism", problem));
            }
            config.set("sasl.mechanism", options.sasl_mechanism.as_str()).set("sasl.username", username);
            config.set("sasl.password", password(options.password_file.as_deref())?);
        }
        None if options.password_file.is_some() => {
            return Err(refused(
                "log.username",
                "required by log.password_file: set the user whose password the file holds",
            ));
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

pub(super) fn refused(option: &'static str, problem: impl Into<String>) -> OpenError {
    OpenError::Refused { option, problem: problem.into() }
}
