//! A Redis that requires TLS and a password, and every way to fail to connect to it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use super::*;
use crate::services::{PASSWORD, WRONG_PASSWORD, assert_shows_no_password, certificate, file_with};

/// A connection attempt that times out, a second one with the other scheme, and tolerance for a busy machine.
const FAILS_WITHIN: Duration = Duration::from_secs(30);

/// Valid options, as long as the password file is not dropped.
fn secure() -> (Options, NamedTempFile) {
    let url = std::env::var("SLUICE_TEST_REDIS_TLS");
    let password = file_with(&format!("{PASSWORD}\n"));
    let options = Options {
        url: url.unwrap_or_else(|_| "rediss://sluice@127.0.0.1:16380".to_owned()),
        password_file: Some(password.path().to_owned()),
        tls_ca_file: Some(certificate("ca")),
        ..Options::default()
    };
    (options, password)
}

fn server_of(options: &Options) -> Server {
    options.server().expect("valid options").expect("a Redis URL")
}

async fn over_tls() -> Redis {
    open(server_of(&secure().0)).await.expect("opens")
}

contract_tests! { over_tls => over_tls().await; requests_are_numbered_in_order, }

/// The nodes name their TLS ports.
async fn cluster_over_tls() -> Redis {
    let (valid, _password) = secure();
    let url = std::env::var("SLUICE_TEST_REDIS_CLUSTER_TLS");
    let url = url.unwrap_or_else(|_| "rediss+cluster://sluice@127.0.0.1:16491,127.0.0.1:16492".to_owned());
    let counters = open(server_of(&Options { url, ..valid })).await.expect("opens");
    Redis { call_max: PATIENT, ..counters }
}

contract_tests! { cluster_over_tls => cluster_over_tls().await; requests_are_numbered_in_order, a_conflict_measures_nothing }

/// In both modes of `on_unavailable`.
async fn assert_start_fails(options: &Options, beginning: &str) {
    let begun = Instant::now();
    let opened = open(server_of(options)).await;
    assert!(begun.elapsed() < FAILS_WITHIN, "{:?}", begun.elapsed());
    let opened_or_retrying = open_or_retry(server_of(options)).await;
    for error in [opened.err(), opened_or_retrying.err()] {
        let error = error.expect("the start fails");
        assert!(error.to_string().starts_with(beginning), "{error}");
        assert_shows_no_password(&error);
    }
    let shown = format!("{options:?} {:?}", server_of(options));
    assert!(!shown.contains(PASSWORD) && !shown.contains(WRONG_PASSWORD), "{shown}");
}

#[tokio::test]
async fn bad_credentials_fail_the_start() {
    let (valid, _password) = secure();
    let wrong = file_with(WRONG_PASSWORD);
    let with_wrong_password = Options { password_file: Some(wrong.path().to_owned()), ..valid.clone() };
    let with_unknown_user = Options { url: valid.url.replace("sluice@", "nobody@"), ..valid };
    for (options, user) in [(with_wrong_password, "sluice"), (with_unknown_user, "nobody")] {
        let beginning = format!("counters.url: authentication failed for user `{user}` at 127.0.0.1:16380: ");
        assert_start_fails(&options, &beginning).await;
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca_fails_the_start() {
    let (valid, _password) = secure();
    let with_another_ca = Options { tls_ca_file: Some(certificate("stranger")), ..valid.clone() };
    let with_the_system_trust_store = Options { tls_ca_file: None, ..valid };
    for options in [with_another_ca, with_the_system_trust_store] {
        let beginning = "counters.tls_ca_file: certificate of 127.0.0.1:16380 is not trusted: ";
        assert_start_fails(&options, beginning).await;
    }
}

#[tokio::test]
async fn a_url_that_disagrees_with_the_port_about_tls_fails_the_start() {
    let (valid, _password) = secure();
    let plain = Options { url: valid.url.replace("rediss:", "redis:"), tls_ca_file: None, ..valid.clone() };
    let error = "counters.url: 127.0.0.1:16380 requires TLS: use `rediss://` or the plaintext port";
    assert_start_fails(&plain, error).await;
    let reversed = Options { url: valid.url.replace("16380", "16379"), ..valid };
    let error = "counters.url: 127.0.0.1:16379 does not support TLS: use `redis://` or the TLS port";
    assert_start_fails(&reversed, error).await;
}

#[tokio::test]
async fn unreadable_or_empty_files_are_rejected_before_connecting() {
    let (valid, _password) = secure();
    let empty = file_with("\n");
    let missing = PathBuf::from("no/such/file");
    for (options, beginning) in [
        (
            Options { password_file: Some(missing.clone()), ..valid.clone() },
            "counters.password_file: read no/such/file: ",
        ),
        (Options { password_file: Some(empty.path().to_owned()), ..valid.clone() }, "counters.password_file: "),
        (Options { tls_ca_file: Some(missing), ..valid }, "counters.tls_ca_file: no/such/file: "),
    ] {
        let error = options.server().expect_err("invalid options");
        assert!(error.to_string().starts_with(beginning), "{error}");
    }
}
