//! TLS as operators meet it: the warning at the start, the commands, and the log.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::certificates::{Authority, Pair};
use crate::client::raw;
use crate::harness::{Exit, Gateway, Launch, Process, free_address};

const TIMEOUT: Duration = Duration::from_secs(120);
const WARNING: &str = "other machines can reach the admin listener without TLS, and tokens can be read on the way: set \
                       admin.tls_certificate_file and admin.tls_key_file, or set admin.listen to a loopback address";

/// A CA, and a gateway with a certificate of it on the admin listener.
struct Secured {
    folder: tempfile::TempDir,
    gateway: Gateway,
}

impl Secured {
    async fn at(admin: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = Authority::new();
        let Pair { certificate, key } = authority.sign(10);
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("ca.pem"), authority.certificate.to_pem().expect("PEM")).expect("writes");
        std::fs::write(path("stranger.pem"), Authority::new().certificate.to_pem().expect("PEM")).expect("writes");
        std::fs::write(path("tls.crt"), certificate).expect("writes");
        std::fs::write(path("tls.key"), key).expect("writes");
        let (certificate, key) = (path("tls.crt"), path("tls.key"));
        let files = [("ADMIN__TLS_CERTIFICATE_FILE", &*certificate), ("ADMIN__TLS_KEY_FILE", &*key)];
        Self { gateway: Gateway::with_admin_at(admin, &files).await, folder }
    }

    async fn list(&self, admin: &str, ca: Option<&str>) -> Exit {
        let mut arguments = vec!["coupon".to_owned(), "list".to_owned(), "--json".to_owned()];
        arguments.extend(["--admin".to_owned(), admin.to_owned()]);
        arguments.extend(ca.map(|ca| format!("--ca-file={}", self.folder.path().join(ca).display())));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Process::run(Launch::default().command(self.folder.path(), &arguments), TIMEOUT).await
    }
}

fn everywhere() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], free_address().port()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_warns_of_an_admin_listener_without_tls_that_other_machines_can_reach() {
    let reachable = everywhere();
    let gateway = Gateway::with_admin_at(reachable, &[]).await;
    let warnings = gateway.log_lines(WARNING);
    assert_eq!(warnings.len(), 1);
    assert_eq!((&warnings[0]["level"], &warnings[0]["listen"]), (&"WARN".into(), &reachable.to_string().into()));
    for gateway in [Gateway::start().await, Secured::at(everywhere()).await.gateway] {
        assert_eq!(gateway.log_lines(WARNING), [Value::Null; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_call_an_admin_listener_with_tls() {
    let secured = Secured::at(free_address()).await;
    let port = secured.gateway.admin.port();
    for host in ["127.0.0.1", "localhost"] {
        let listed = secured.list(&format!("https://{host}:{port}"), Some("ca.pem")).await;
        assert_eq!(listed.code, Some(0), "{listed}");
        let campaigns: Value = serde_json::from_str(&listed.stdout).expect("JSON");
        assert_eq!(campaigns[0]["couponId"], 104);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_cannot_use_tls_says_what_to_change() {
    let secured = Secured::at(free_address()).await;
    let (admin, public) = (secured.gateway.admin, secured.gateway.http);
    for (url, ca, code, expected) in [
        (format!("https://{admin}"), None, 1, "name the CA of its certificate with --ca-file"),
        (format!("https://{admin}"), Some("stranger.pem"), 1, "name the CA of its certificate with --ca-file"),
        (format!("http://{admin}"), None, 1, "TLS_REQUIRED: this port requires TLS: call it with https://"),
        (format!("https://{public}"), Some("ca.pem"), 1, "the admin listener has no TLS: use http://"),
        (format!("https://{admin}"), Some("absent.pem"), 2, "--ca-file: read "),
        (format!("https://{admin}"), Some("tls.key"), 2, "no certificate found: expected PEM"),
    ] {
        let ended = secured.list(&url, ca).await;
        assert!(ended.code == Some(code) && ended.stderr.contains(expected), "{url} {ca:?}: {ended}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_without_tls_leave_no_line_in_the_log() {
    let secured = Secured::at(free_address()).await;
    let address = secured.gateway.admin;
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"\x16\x03\x01\x00\x05hello",
        b"\0\0\0\0",
        b"PRI * HTTP/2.0\r\n\r\n",
    ] {
        raw(address, bytes, TIMEOUT).await;
    }
    let problems = secured.gateway.logged_problems();
    assert!(problems.is_empty(), "{problems:?}");
}
