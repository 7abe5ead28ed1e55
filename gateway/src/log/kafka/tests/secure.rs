//! Brokers that ask for TLS and a login, and every way not to get along with them.

use std::path::PathBuf;
use std::time::Instant;

use tempfile::NamedTempFile;

use super::*;
use crate::log::SaslMechanism;
use crate::services::{PASSWORD, WRONG_PASSWORD, assert_shows_no_password, certificate, file_with};

/// One question to brokers that do not answer, and what a busy machine adds.
const TOLD_WITHIN: Duration = Duration::from_secs(15);

/// Options that are right as long as the file lives.
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

contract_tests!(over_tls => fresh(&secure().0).await; what_is_acknowledged_is_read_as_it_was_appended,);

/// How a start ends, and how `sluice topic ensure` does: with an error that nobody waits out.
async fn assert_refused(options: &Options, beginning: &str) {
    let address = Address::parse(&options.url).expect("a URL");
    let (telemetry, begun) = (Telemetry::new(), Instant::now());
    let (opened, ensured) = tokio::join!(Kafka::open(address.clone(), options, &telemetry), ensure(&address, options));
    assert!(begun.elapsed() < TOLD_WITHIN, "{:?}", begun.elapsed());
    for error in [opened.err(), ensured.err()] {
        let error = error.expect("is refused");
        assert!(!error.is_transient() && error.to_string().starts_with(beginning), "{error}");
        assert_shows_no_password(&error);
    }
}

#[tokio::test]
async fn a_login_that_is_refused_ends_the_start() {
    let (right, _password) = secure();
    let wrong = file_with(WRONG_PASSWORD);
    let with_wrong_password = Options { password_file: Some(wrong.path().to_owned()), ..right.clone() };
    let of_nobody = Options { username: Some("nobody".to_owned()), ..right.clone() };
    let shown_otherwise = Options { sasl_mechanism: SaslMechanism::Plain, ..right };
    let beginning = "log.password_file: Kafka refuses the login: ";
    tokio::join!(
        assert_refused(&with_wrong_password, beginning),
        assert_refused(&of_nobody, beginning),
        assert_refused(&shown_otherwise, beginning),
    );
}

#[tokio::test]
async fn who_does_not_log_in_is_told_so() {
    let (right, _password) = secure();
    let anonymous = Options { username: None, password_file: None, ..right };
    assert_refused(&anonymous, "log.username: Kafka hangs up on who does not log in: ").await;
}

#[tokio::test]
async fn a_login_where_nobody_asks_for_one_ends_the_start() {
    let (right, _password) = secure();
    let url = new_topic().1.url;
    let plain = Options { url, tls: false, tls_ca_file: None, ..right };
    assert_refused(&plain, "log.password_file: Kafka refuses the login: ").await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_ends_the_start() {
    let (right, _password) = secure();
    let of_a_stranger = Options { tls_ca_file: Some(certificate("stranger")), ..right.clone() };
    let of_the_system = Options { tls_ca_file: None, ..right };
    let beginning = "log.tls_ca_file: Kafka shows a certificate that is not trusted: ";
    tokio::join!(assert_refused(&of_a_stranger, beginning), assert_refused(&of_the_system, beginning));
}

#[tokio::test]
async fn plain_text_where_tls_is_spoken_and_the_reverse_end_the_start() {
    let (right, _password) = secure();
    let plain = Options { tls: false, tls_ca_file: None, ..right.clone() };
    let plain_and_anonymous = Options { username: None, password_file: None, ..plain.clone() };
    let reversed = Options { url: new_topic().1.url, ..right };
    tokio::join!(
        assert_refused(&plain, "log.tls: Kafka hangs up on plain text: "),
        assert_refused(&plain_and_anonymous, "log.tls: Kafka hangs up on plain text: "),
        assert_refused(&reversed, "log.tls: Kafka hangs up on TLS: "),
    );
}

#[tokio::test]
async fn options_that_do_not_go_together_are_refused_before_anybody_is_asked() {
    let (right, _password) = secure();
    let (empty, noise) = (file_with("\n"), file_with("noise"));
    let nowhere = PathBuf::from("no/such/file");
    let password_file = |file: Option<&std::path::Path>| Options {
        password_file: file.map(std::path::Path::to_owned),
        ..right.clone()
    };
    let ca_file = |file: &std::path::Path| Options { tls_ca_file: Some(file.to_owned()), ..right.clone() };
    for (options, says) in [
        (password_file(None), "log.password_file: expected a file with the password of log.username"),
        (password_file(Some(&nowhere)), "log.password_file: read no/such/file: No such file"),
        (password_file(Some(empty.path())), "log.password_file: "),
        (Options { username: None, ..right.clone() }, "log.username: "),
        (ca_file(&nowhere), "log.tls_ca_file: read no/such/file: No such file"),
        (ca_file(noise.path()), "log.tls_ca_file: expected certificates in PEM: "),
        (Options { tls: false, ..right.clone() }, "log.tls_ca_file: "),
        (
            Options { tls: false, tls_ca_file: None, sasl_mechanism: SaslMechanism::Plain, ..right.clone() },
            "log.sasl_mechanism: ",
        ),
    ] {
        assert_refused(&options, says).await;
    }
}
