//! Brokers that require TLS and SASL, and every option that can be wrong for them.

use std::path::PathBuf;
use std::time::Instant;

use tempfile::NamedTempFile;

use super::*;
use crate::log::SaslMechanism;
use crate::services::{PASSWORD, WRONG_PASSWORD, assert_shows_no_password, certificate, file_with};

/// A request that times out takes 5 s. The rest is for a busy machine.
const REJECTED_WITHIN: Duration = Duration::from_secs(40);

/// Valid options, as long as the password file lives.
fn secure() -> (Options, NamedTempFile) {
    let brokers = std::env::var("SLUICE_TEST_KAFKA_TLS");
    let brokers = brokers.unwrap_or_else(|_| "127.0.0.1:19292,127.0.0.1:19293,127.0.0.1:19294".to_owned());
    let (name, options) = new_topic();
    let password = file_with(&format!("{PASSWORD}\n"));
    let options = Options {
        url: format!("kafka://{brokers}/{name}"),
        tls: true,
        tls_ca_file: Some(certificate("ca")),
        username: Some("sluice".to_owned()),
        password_file: Some(password.path().to_owned()),
        ..options
    };
    (options, password)
}

contract_tests!(over_tls => create_and_open(&secure().0).await; acknowledged_records_are_read_back_unchanged,);

/// Both opening and `sluice topic ensure` must fail with an error that is not retried.
async fn assert_rejected(options: &Options, beginning: &str) {
    let address = Address::parse(&options.url).expect("a URL");
    let (telemetry, begun) = (Telemetry::new(), Instant::now());
    let (opened, ensured) = tokio::join!(Kafka::open(address.clone(), options, &telemetry), ensure(&address, options));
    assert!(begun.elapsed() < REJECTED_WITHIN, "{:?}", begun.elapsed());
    for error in [opened.err(), ensured.err()] {
        let error = error.expect("is rejected");
        assert!(!error.is_transient() && error.to_string().starts_with(beginning), "{error}");
        assert_shows_no_password(&error);
    }
}

#[tokio::test]
async fn wrong_credentials_fail_the_start_and_name_the_password_file() {
    let (valid, _password) = secure();
    let wrong = file_with(WRONG_PASSWORD);
    let wrong_password = Options { password_file: Some(wrong.path().to_owned()), ..valid.clone() };
    let unknown_user = Options { username: Some("nobody".to_owned()), ..valid.clone() };
    let wrong_mechanism = Options { sasl_mechanism: SaslMechanism::Plain, ..valid };
    let beginning = "log.password_file: Kafka authentication failed: ";
    tokio::join!(
        assert_rejected(&wrong_password, beginning),
        assert_rejected(&unknown_user, beginning),
        assert_rejected(&wrong_mechanism, beginning),
    );
}

#[tokio::test]
async fn missing_credentials_fail_the_start_and_name_the_username() {
    let (valid, _password) = secure();
    let anonymous = Options { username: None, password_file: None, ..valid };
    assert_rejected(&anonymous, "log.username: Kafka closed the unauthenticated connection: ").await;
}

#[tokio::test]
async fn credentials_for_brokers_without_authentication_fail_the_start() {
    let (valid, _password) = secure();
    let url = new_topic().1.url;
    let plain = Options { url, tls: false, tls_ca_file: None, ..valid };
    assert_rejected(&plain, "log.password_file: Kafka authentication failed: ").await;
}

#[tokio::test]
async fn a_certificate_of_an_untrusted_ca_fails_the_start() {
    let (valid, _password) = secure();
    let wrong_ca = Options { tls_ca_file: Some(certificate("stranger")), ..valid.clone() };
    let system_trust_store = Options { tls_ca_file: None, ..valid };
    let beginning = "log.tls_ca_file: Kafka's certificate is not trusted: ";
    tokio::join!(assert_rejected(&wrong_ca, beginning), assert_rejected(&system_trust_store, beginning));
}

#[tokio::test]
async fn plaintext_to_a_tls_port_and_tls_to_a_plaintext_port_fail_the_start() {
    let (valid, _password) = secure();
    let plain = Options { tls: false, tls_ca_file: None, ..valid.clone() };
    let plain_and_anonymous = Options { username: None, password_file: None, ..plain.clone() };
    let tls = Options { url: new_topic().1.url, ..valid };
    tokio::join!(
        assert_rejected(&plain, "log.tls: Kafka closed the plaintext connection: "),
        assert_rejected(&plain_and_anonymous, "log.tls: Kafka closed the plaintext connection: "),
        assert_rejected(&tls, "log.tls: Kafka closed the TLS connection: "),
    );
}

#[tokio::test]
async fn contradictory_options_are_rejected_before_connecting() {
    let (valid, _password) = secure();
    let (empty, noise) = (file_with("\n"), file_with("noise"));
    let nowhere = PathBuf::from("no/such/file");
    let password_file = |file: Option<&std::path::Path>| Options {
        password_file: file.map(std::path::Path::to_owned),
        ..valid.clone()
    };
    let ca_file = |file: &std::path::Path| Options { tls_ca_file: Some(file.to_owned()), ..valid.clone() };
    for (options, beginning) in [
        (password_file(None), "log.password_file: expected a file with the password of log.username"),
        (password_file(Some(&nowhere)), "log.password_file: read no/such/file: No such file"),
        (password_file(Some(empty.path())), "log.password_file: "),
        (Options { username: None, ..valid.clone() }, "log.username: "),
        (ca_file(&nowhere), "log.tls_ca_file: read no/such/file: No such file"),
        (ca_file(noise.path()), "log.tls_ca_file: expected certificates in PEM: "),
        (Options { tls: false, ..valid.clone() }, "log.tls_ca_file: "),
        (
            Options { tls: false, tls_ca_file: None, sasl_mechanism: SaslMechanism::Plain, ..valid.clone() },
            "log.sasl_mechanism: ",
        ),
    ] {
        assert_rejected(&options, beginning).await;
    }
}
