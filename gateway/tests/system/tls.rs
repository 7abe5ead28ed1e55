//! TLS on both listeners: certificates, their renewal, and clients that do not complete a handshake.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hyper::{StatusCode, Version};
use openssl::ssl::{SslConnectorBuilder, SslVersion};
use sluice::app::Running;
use sluice::config::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::certificates::{Authority, Pair};
use crate::harness::{Files, PATIENCE, eventually};
use crate::tls_client::{Connection, connect, shake_hands};

const VALID_DAYS: u32 = 10;

impl Files {
    fn certificate(&self) -> PathBuf {
        self.path("tls.crt")
    }

    fn key(&self) -> PathBuf {
        self.path("tls.key")
    }

    fn install(&self, pair: &Pair) {
        std::fs::write(self.certificate(), &pair.certificate).expect("writes");
        std::fs::write(self.key(), &pair.key).expect("writes");
    }
}

/// Both listeners use the certificate in these files.
fn with_tls(config: &mut Config, certificate: PathBuf, key: PathBuf) {
    config.http.tls_certificate_file = Some(certificate.clone());
    config.http.tls_key_file = Some(key.clone());
    config.admin.tls_certificate_file = Some(certificate);
    config.admin.tls_key_file = Some(key);
}

async fn start(authority: &Authority) -> (Files, Running) {
    let files = Files::new();
    files.install(&authority.sign(VALID_DAYS));
    let mut config = files.config();
    with_tls(&mut config, files.certificate(), files.key());
    let running = sluice::app::System::open(config).await.expect("the system starts");
    (files, running)
}

fn listeners(running: &Running) -> [SocketAddr; 2] {
    [running.http.expect("a gateway"), running.admin]
}

async fn metric(connection: &mut Connection, series: &str) -> f64 {
    let text = connection.metrics().await;
    let line = text.lines().find_map(|line| line.strip_prefix(series)).unwrap_or_else(|| panic!("{series}: {text}"));
    line.trim().parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn both_listeners_answer_http_1_and_http_2_over_tls() {
    let authority = Authority::new();
    let (_files, running) = start(&authority).await;
    for address in listeners(&running) {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let mut connection = connect(address, &authority, version).await;
            for _ in 0..2 {
                assert_eq!(connection.get("localhost", "/readyz").await.0, StatusCode::OK, "{address} {version:?}");
            }
        }
    }
    running.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tls_1_2_and_1_3_are_accepted() {
    let authority = Authority::new();
    let (_files, running) = start(&authority).await;
    for (version, is_accepted) in [(SslVersion::TLS1_1, false), (SslVersion::TLS1_2, true), (SslVersion::TLS1_3, true)]
    {
        let only = |builder: &mut SslConnectorBuilder| {
            // The client itself would refuse the old version at its default level.
            builder.set_security_level(0);
            builder.set_cipher_list("ALL:@SECLEVEL=0").expect("ciphers");
            builder.set_min_proto_version(Some(version)).expect("a version");
            builder.set_max_proto_version(Some(version)).expect("a version");
        };
        match shake_hands(running.admin, &authority, only).await {
            Ok(stream) => assert!(is_accepted, "{}", stream.ssl().version_str()),
            Err(error) => {
                assert!(!is_accepted && error.to_string().contains("protocol version"), "{version:?}: {error}");
            }
        }
    }
    running.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_loaded_without_closing_connections() {
    let authority = Authority::new();
    let (files, running) = start(&authority).await;
    let mut open = connect(running.admin, &authority, Version::HTTP_11).await;
    let expiry = "sluice_tls_certificate_expiry_timestamp_seconds{listener=\"admin\"}";
    let before = metric(&mut open, expiry).await;
    files.install(&authority.sign(2 * VALID_DAYS));
    eventually("the renewed certificate is loaded", async || {
        let days_more = (metric(&mut open, expiry).await - before) / 86_400.0;
        (days_more.round() == f64::from(VALID_DAYS)).then_some(())
    })
    .await;
    let stream = shake_hands(running.admin, &authority, |_| {}).await.expect("a handshake");
    let shown = stream.ssl().peer_certificate().expect("a certificate").to_pem().expect("PEM");
    assert_eq!(shown, std::fs::read(files.certificate()).expect("reads"));
    running.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_cannot_be_loaded_leaves_the_certificate_in_use() {
    let authority = Authority::new();
    let (files, running) = start(&authority).await;
    let mut open = connect(running.admin, &authority, Version::HTTP_2).await;
    let loaded = "sluice_tls_certificate_loaded{listener=\"http\"}";
    assert_eq!(metric(&mut open, loaded).await, 1.0);
    let before = std::fs::read(files.key()).expect("reads");
    for broken in [&authority.sign(VALID_DAYS).key[..], b"not a key", b""] {
        std::fs::write(files.key(), broken).expect("writes");
        eventually("the key is refused", async || (metric(&mut open, loaded).await == 0.0).then_some(())).await;
        for address in listeners(&running) {
            connect(address, &authority, Version::HTTP_11).await;
        }
        std::fs::write(files.key(), &before).expect("writes");
        eventually("the key is restored", async || (metric(&mut open, loaded).await == 1.0).then_some(())).await;
    }
    running.stop().await.expect("stops");
}

#[tokio::test]
async fn a_start_with_half_a_pair_or_another_key_is_refused_with_the_option() {
    let (authority, files) = (Authority::new(), Files::new());
    let [pair, other] = [authority.sign(VALID_DAYS), authority.sign(VALID_DAYS)];
    files.install(&pair);
    let (other_key, empty) = (files.path("other.key"), files.path("empty"));
    std::fs::write(&other_key, &other.key).expect("writes");
    std::fs::write(&empty, "").expect("writes");
    let absent = files.path("absent");
    let (certificate, key) = (Some(files.certificate()), Some(files.key()));
    for (certificate, key, expected) in [
        (certificate.clone(), None, "tls_key_file: required by http.tls_certificate_file: name the file"),
        (None, key.clone(), "tls_certificate_file: required by http.tls_key_file: name the file"),
        (Some(absent), key.clone(), "tls_certificate_file: read "),
        (Some(empty.clone()), key, "no certificate found: expected PEM, this server's certificate first"),
        (certificate.clone(), Some(empty), "expected one unencrypted key in PEM"),
        (certificate, Some(other_key), "the key does not belong to the first certificate in "),
    ] {
        let mut config = files.config();
        (config.http.tls_certificate_file, config.http.tls_key_file) = (certificate.clone(), key.clone());
        let error = sluice::app::check(&config).await.expect_err("is refused").to_string();
        assert!(error.starts_with("http.tls_") && error.contains(expected), "{error}");
        (config.http.tls_certificate_file, config.http.tls_key_file) = (None, None);
        (config.admin.tls_certificate_file, config.admin.tls_key_file) = (certificate, key);
        let error = sluice::app::check(&config).await.expect_err("is refused").to_string();
        assert!(error.starts_with("admin.tls_"), "{error}");
    }
}

#[tokio::test]
async fn a_byte_order_mark_and_one_file_for_both_do_not_matter() {
    let (authority, files) = (Authority::new(), Files::new());
    let Pair { certificate, key } = authority.sign(VALID_DAYS);
    let path = files.path("both.pem");
    std::fs::write(&path, [b"\xef\xbb\xbf", &certificate[..], &key].concat()).expect("writes");
    let mut config = files.config();
    with_tls(&mut config, path.clone(), path);
    sluice::app::check(&config).await.expect("is accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_tls_is_told_so_and_a_probe_of_the_port_is_no_failure() {
    let authority = Authority::new();
    let (_files, running) = start(&authority).await;
    for address in listeners(&running) {
        drop(TcpStream::connect(address).await.expect("connects"));
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("writes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("is answered and closed");
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"reason\":\"TLS_REQUIRED\""), "{answer}");
    }
    let mut operator = connect(running.admin, &authority, Version::HTTP_11).await;
    for listener in ["http", "admin"] {
        let failures = format!("sluice_tls_handshake_failures_total{{listener=\"{listener}\"}}");
        assert_eq!(metric(&mut operator, &failures).await, 1.0, "{listener}");
    }
    running.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_complete_its_handshake_is_disconnected() {
    let authority = Authority::new();
    let (_files, running) = start(&authority).await;
    let begun = Instant::now();
    let mut open = Vec::new();
    for address in listeners(&running) {
        // Nothing, the head of a record, and a record that claims to have more.
        for opening in [&b""[..], b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
            let mut stream = TcpStream::connect(address).await.expect("connects");
            stream.write_all(opening).await.expect("writes");
            open.push(tokio::spawn(async move { stream.read_to_end(&mut Vec::new()).await }));
        }
    }
    for closed in open {
        let closed = tokio::time::timeout(PATIENCE, closed).await;
        let _ = closed.expect("is disconnected").expect("does not panic");
        assert!(begun.elapsed() > Duration::from_secs(5), "after {:?}", begun.elapsed());
    }
    running.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_handshake() {
    let authority = Authority::new();
    let (_files, running) = start(&authority).await;
    let mut open = Vec::new();
    for address in listeners(&running) {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(b"\x16\x03\x01").await.expect("writes");
        open.push(stream);
    }
    let begun = Instant::now();
    running.stop().await.expect("stops");
    // A handshake has 10 s.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_rebinds_its_name_is_refused_over_tls_too() {
    let authority = Authority::new();
    let (_files, running) = start(&authority).await;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let mut connection = connect(running.admin, &authority, version).await;
        assert_eq!(connection.get("localhost", "/admin/coupons").await.0, StatusCode::OK, "{version:?}");
        let (status, problem) = connection.get("evil.example", "/admin/coupons").await;
        assert_eq!((status, &problem["reason"]), (StatusCode::FORBIDDEN, &"FORBIDDEN".into()), "{version:?}");
    }
    running.stop().await.expect("stops");
}
