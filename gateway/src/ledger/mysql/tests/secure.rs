//! A server that requires TLS and a password, and every misconfiguration against it.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::*;
use crate::ledger::contract::contract_tests;
use crate::services::{PASSWORD, WRONG_PASSWORD, assert_shows_no_password, certificate, file_with};

fn server_for_tls() -> String {
    std::env::var("SLUICE_TEST_MYSQL_TLS").unwrap_or_else(|_| "mysql://sluice_tls@127.0.0.1:13306".to_owned())
}

/// Valid options for a user who must use TLS, as long as the password file exists.
fn secure(database: &str) -> (Options, NamedTempFile) {
    let server = server_for_tls();
    let password = file_with(&format!("{PASSWORD}\n"));
    let options = Options {
        url: format!("{server}/{database}"),
        password_file: Some(password.path().to_owned()),
        tls_ca_file: Some(certificate("ca")),
        ..Options::default()
    };
    (options, password)
}

async fn fresh_over_tls() -> (Mysql, Database) {
    let server = server_for_tls().replace('@', &format!(":{PASSWORD}@"));
    let database = Database::empty_on(format!("{server}/sluice?ssl-mode=REQUIRED")).await;
    let (options, _password) = secure(&database.0);
    ledger::migrate(&options).await.expect("migrates");
    (Mysql::open(&Server::parse(&options).expect("is valid")).await.expect("opens"), database)
}

contract_tests!(over_tls => fresh_over_tls().await; a_committed_settlement_is_visible_completely,);

/// Both the start and `sluice migrate` fail at once instead of retrying.
async fn assert_fails_at_once(options: &Options, expected: &str) {
    for error in [ledger::open(options, 12).await.err(), ledger::migrate(options).await.err()] {
        let error = error.expect("fails");
        assert!(!error.is_transient() && error.to_string().contains(expected), "{error}");
        assert!(error.to_string().contains("ledger."), "{error}");
        assert_shows_no_password(&error);
    }
}

#[tokio::test]
async fn a_wrong_password_fails_the_start() {
    let (right, _password) = secure("sluice");
    let wrong = file_with(WRONG_PASSWORD);
    let options = Options { password_file: Some(wrong.path().to_owned()), ..right.clone() };
    assert_fails_at_once(
        &options,
        "authentication failed for user `sluice_tls` at the database server 127.0.0.1:13306: Access denied",
    )
    .await;
    let in_the_url = right.url.replace('@', &format!(":{WRONG_PASSWORD}@"));
    let options = Options { url: in_the_url, password_file: None, ..right };
    assert_fails_at_once(
        &options,
        "authentication failed for user `sluice_tls` at the database server 127.0.0.1:13306: Access denied",
    )
    .await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_fails_the_start() {
    let (right, _password) = secure("sluice");
    let of_a_stranger = Options { tls_ca_file: Some(certificate("stranger")), ..right.clone() };
    let url = format!("{}?ssl-mode=VERIFY_IDENTITY", right.url);
    let of_the_system = Options { tls_ca_file: None, url, ..right };
    for options in [of_a_stranger, of_the_system] {
        assert_fails_at_once(&options, "ledger.tls_ca_file: TLS with the database server at 127.0.0.1:13306 failed: ")
            .await;
    }
}

#[tokio::test]
async fn disabled_tls_where_the_user_requires_it_fails_the_start() {
    let (right, _password) = secure("sluice");
    let url = format!("{}?ssl-mode=DISABLED", right.url);
    let plain = Options { tls_ca_file: None, url, ..right };
    assert_fails_at_once(&plain, "if the user must use TLS, remove ssl-mode=DISABLED from ledger.url").await;
}

/// Sends the greeting of a server without TLS.
fn greet_without_tls(listener: &TcpListener) {
    const CAPABILITIES_BUT_TLS: u16 = 0xf7ff;
    let mut greeting = b"\x0a8.0.0\0\x01\0\0\0saltsalt\0".to_vec();
    greeting.extend(CAPABILITIES_BUT_TLS.to_le_bytes());
    greeting.extend(b"\x2d\x02\0\x08\0\x15\0\0\0\0\0\0\0\0\0\0saltsaltsalt\0mysql_native_password\0");
    let length = u8::try_from(greeting.len()).expect("is short");
    let (mut client, _) = listener.accept().expect("a client");
    client.write_all(&[length, 0, 0, 0]).and_then(|()| client.write_all(&greeting)).expect("greets");
    // Waits until the client has read the greeting and disconnects.
    let _ = std::io::copy(&mut client, &mut std::io::sink());
}

#[tokio::test]
async fn required_tls_that_the_server_does_not_support_fails_the_start() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("mysql://sluice:{PASSWORD}@{}/sluice", listener.local_addr().expect("an address"));
    let greeter = std::thread::spawn(move || (0..4).for_each(|_| greet_without_tls(&listener)));
    let required = Options { url: format!("{url}?ssl-mode=REQUIRED"), ..Options::default() };
    let verified = Options { url, tls_ca_file: Some(certificate("ca")), ..Options::default() };
    for options in [required, verified] {
        assert_fails_at_once(&options, "does not support TLS: enable TLS on the server").await;
    }
    greeter.join().expect("greets");
}

#[tokio::test]
async fn unusable_files_are_reported_before_connecting() {
    let (right, _password) = secure("sluice");
    let (empty, noise) = (file_with("\n"), file_with("noise"));
    let nowhere = PathBuf::from("no/such/file");
    let password_file = |file: &Path| Options { password_file: Some(file.to_owned()), ..right.clone() };
    let ca_file = |file: &Path| Options { tls_ca_file: Some(file.to_owned()), ..right.clone() };
    for (options, key) in [
        (password_file(&nowhere), "ledger.password_file: read no/such/file: No such file"),
        (password_file(empty.path()), "the first line is empty"),
        (ca_file(&nowhere), "ledger.tls_ca_file: read no/such/file: No such file"),
        (ca_file(noise.path()), "contains no certificate in PEM format"),
    ] {
        assert_fails_at_once(&options, key).await;
        assert!(ledger::check(&options).is_err(), "`sluice config check` reports it, too");
    }
}
