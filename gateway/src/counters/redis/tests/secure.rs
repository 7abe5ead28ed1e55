//! A Redis that asks for TLS and a login, and every way not to get along with it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use super::*;
use crate::services::{PASSWORD, WRONG_PASSWORD, assert_shows_no_password, certificate, file_with};

/// A call that is not answered, another that tries the other way, and what a busy machine adds.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// Options that are right as long as the file lives.
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
    options.server().expect("is right").expect("of Redis")
}

async fn over_tls() -> Redis {
    open(server_of(&secure().0)).await.expect("opens")
}

contract_tests! { over_tls => over_tls().await; requests_are_numbered_as_they_come, }

/// How a start ends, whether or not it could do without the counters.
async fn assert_refused(options: &Options, beginning: &str) {
    let begun = Instant::now();
    let opened = open(server_of(options)).await;
    assert!(begun.elapsed() < TOLD_WITHIN, "{:?}", begun.elapsed());
    let opened_if_there = open_if_there(server_of(options)).await;
    for error in [opened.err(), opened_if_there.err()] {
        let error = error.expect("is refused");
        assert!(error.to_string().starts_with(beginning), "{error}");
        assert_shows_no_password(&error);
    }
    let shown = format!("{options:?} {:?}", server_of(options));
    assert!(!shown.contains(PASSWORD) && !shown.contains(WRONG_PASSWORD), "{shown}");
}

#[tokio::test]
async fn a_login_that_is_refused_ends_the_start() {
    let (right, _password) = secure();
    let wrong = file_with(WRONG_PASSWORD);
    let with_wrong_password = Options { password_file: Some(wrong.path().to_owned()), ..right.clone() };
    let of_nobody = Options { url: right.url.replace("sluice@", "nobody@"), ..right };
    for options in [with_wrong_password, of_nobody] {
        assert_refused(&options, "counters.url: 127.0.0.1:16380 refuses the login: ").await;
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_ends_the_start() {
    let (right, _password) = secure();
    let of_a_stranger = Options { tls_ca_file: Some(certificate("stranger")), ..right.clone() };
    let of_the_system = Options { tls_ca_file: None, ..right };
    for options in [of_a_stranger, of_the_system] {
        let beginning = "counters.tls_ca_file: 127.0.0.1:16380 shows a certificate that is not trusted: ";
        assert_refused(&options, beginning).await;
    }
}

#[tokio::test]
async fn plain_text_where_tls_is_spoken_and_the_reverse_end_the_start() {
    let (right, _password) = secure();
    let plain = Options { url: right.url.replace("rediss:", "redis:"), tls_ca_file: None, ..right.clone() };
    let says = "counters.url: 127.0.0.1:16380 speaks TLS only; say `rediss://…`, or give it the other port";
    assert_refused(&plain, says).await;
    let reversed = Options { url: right.url.replace("16380", "16379"), ..right };
    let says = "counters.url: 127.0.0.1:16379 speaks no TLS; say `redis://…`, or give it the other port";
    assert_refused(&reversed, says).await;
}

#[tokio::test]
async fn files_that_are_of_no_use_are_refused_before_anybody_is_asked() {
    let (right, _password) = secure();
    let empty = file_with("\n");
    let nowhere = PathBuf::from("no/such/file");
    for (options, beginning) in [
        (Options { password_file: Some(nowhere.clone()), ..right.clone() }, "counters.password_file: no/such/file: "),
        (Options { password_file: Some(empty.path().to_owned()), ..right.clone() }, "counters.password_file: "),
        (Options { tls_ca_file: Some(nowhere), ..right }, "counters.tls_ca_file: no/such/file: "),
    ] {
        let error = options.server().expect_err("is refused");
        assert!(error.to_string().starts_with(beginning), "{error}");
    }
}
