//! The commands, most of them against a running gateway.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::crowd::Crowd;
use crate::harness::{Campaign, Exit, Gateway, Launch, Process, eventually, policy};

/// Some commands compile a policy. On a busy machine, the low priority of the compiler leaves it little time.
const TIMEOUT: Duration = Duration::from_secs(120);

impl Gateway {
    pub(crate) async fn run(&self, arguments: &[&str]) -> Exit {
        let admin = format!("http://{}", self.admin);
        let mut command = Launch::default().command(self.home.path(), arguments);
        command.env("SLUICE_ADMIN", admin);
        Process::run(command, TIMEOUT).await
    }

    async fn run_for_json(&self, arguments: &[&str]) -> Value {
        let ended = self.run(arguments).await;
        assert_eq!(ended.code, Some(0), "{ended}");
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn coupon_commands_create_list_show_and_audit_a_campaign() {
    let gateway = Gateway::start().await;
    let create = ["coupon", "create", "--coupon", "9", "--policy", "21", "--total", "10", "--shards", "2", "--json"];
    let created = gateway.run_for_json(&create).await;
    assert_eq!((&created["couponId"], &created["remaining"]), (&json!(9), &json!(10)));
    assert_eq!(gateway.run_for_json(&["coupon", "show", "9", "--json"]).await, created);
    let listed = gateway.run_for_json(&["coupon", "list", "--json"]).await;
    assert_eq!(listed[0], created);

    let crowd = Crowd::at(&gateway, 9);
    crowd.send_burst(4, 1..=3).await;
    let campaign = Campaign { coupon: 9, ..Campaign::of(10, 2) };
    crowd.verify(&gateway, campaign).await.assert_holds();
    let pipeline = gateway.run_for_json(&["coupon", "pipeline", "9", "--json"]).await;
    assert_eq!((&pipeline["generation"], &pipeline["hooks"]["user-limit"]["from"]), (&json!(1), &json!("default")));
    let audit = gateway.run_for_json(&["coupon", "audit", "9", "--json"]).await;
    assert_eq!((&audit["granted"], &audit["balanced"]), (&json!(3), &json!(true)));
    let recount = gateway.run_for_json(&["coupon", "audit", "9", "--recount", "--json"]).await["recount"].clone();
    assert_eq!((&recount["agrees"], &recount["usersOverLimit"]), (&json!(true), &json!(0)));

    let topped_up = gateway.run_for_json(&["coupon", "top-up", "9", "5", "--json"]).await;
    assert_eq!(topped_up["total"], 15);
    let closed = gateway.run_for_json(&["coupon", "close", "9", "--json"]).await;
    assert_eq!(closed["state"], "CLOSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_work_on_the_databases_of_all_ledger_groups() {
    let databases = ("LEDGER__URLS", "[\"sqlite:data/one.db\", \"sqlite:data/two.db\"]");
    let gateway = Gateway::with(&[databases]).await;
    let create = ["coupon", "create", "--coupon", "9", "--policy", "21", "--total", "10", "--group", "1", "--json"];
    assert_eq!(gateway.run_for_json(&create).await["group"], 1);
    assert_eq!(gateway.run_for_json(&["coupon", "list", "--group", "0", "--json"]).await, json!([]));
    assert_eq!(gateway.run_for_json(&["coupon", "list", "--group", "1", "--json"]).await[0]["couponId"], 9);
    assert_eq!(gateway.run_for_json(&["log", "show", "--json"]).await["partitions"][23]["partition"], 23);

    let folder = tempfile::tempdir().expect("a temporary folder");
    let migrate = async || Process::run(Launch::with(&[databases]).command(folder.path(), &["migrate"]), TIMEOUT).await;
    std::fs::create_dir(folder.path().join("data")).expect("a folder");
    let migrated = migrate().await;
    for expected in ["ledger group 0: applied 0001_ledger", "ledger group 1: applied 0001_ledger"] {
        assert!(migrated.stdout.contains(expected), "{migrated}");
    }
    let again = migrate().await;
    let expected = "ledger group 0: database is up to date\nledger group 1: database is up to date";
    assert_eq!((again.code, again.stdout.trim_end()), (Some(0), expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn coupon_show_prints_a_table() {
    let gateway = Gateway::start().await;
    let shown = gateway.run(&["coupon", "show", "104"]).await;
    assert_eq!(shown.code, Some(0), "{shown}");
    let lines: Vec<_> = shown.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    for expected in [["couponId", "104"], ["total", "10000"], ["0", "2500"], ["2500", "3"]] {
        let is_there = lines.iter().any(|line| *line == expected || line.iter().rev().copied().eq(expected));
        assert!(is_there, "{expected:?} is not in\n{}", shown.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_pipeline_is_logged_and_listed_with_who_made_it() {
    let gateway = Gateway::start().await;
    let change = json!({ "shard-picker": { "policy": "hash-user" } }).to_string();
    for (path, logged) in
        [("/admin/pipeline", "pipeline changed"), ("/admin/coupons/104/pipeline", "pipeline of a coupon changed")]
    {
        let changed = gateway.operator.put(path, change.clone()).await;
        assert_eq!(changed.status, 200, "{changed}");
        let line = eventually(logged, TIMEOUT, async || gateway.log_lines(logged).pop()).await;
        assert_eq!(line["who"], "local", "{line}");
    }
    let shown = gateway.run(&["coupon", "pipeline", "104"]).await;
    assert_eq!(shown.code, Some(0), "{shown}");
    let has = |words: [&str; 2]| shown.stdout.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(has(["source", "who"]) && has(["admin", "local"]), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn log_commands_show_the_log_and_skip_nothing_but_a_gap() {
    let gateway = Gateway::start().await;
    let log = gateway.run_for_json(&["log", "show", "--json"]).await;
    assert!(log["identity"].is_string(), "{log}");
    assert_eq!(log["partitions"].as_array().map(Vec::len), Some(12), "{log}");
    let refused = gateway.run(&["log", "skip", "--partition", "3", "--from", "0", "--to", "9"]).await;
    let expected = "sluice: NOT_A_GAP: [0, 9) is not the gap at which settlement stopped: partition 3 is settled up to \
                    offset 0 and has no gap there";
    assert_eq!((refused.code, refused.stderr.trim_end()), (Some(1), expected));
    assert_eq!(gateway.run_for_json(&["log", "show", "--json"]).await["changes"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_command_prints_the_reason_and_detail_of_the_gateway() {
    let gateway = Gateway::start().await;
    let ended = gateway.run(&["coupon", "show", "999"]).await;
    let result = (ended.code, ended.stderr.trim_end());
    assert_eq!(result, (Some(1), "sluice: COUPON_NOT_FOUND: no campaign for coupon 999"));
}

#[tokio::test]
async fn a_command_that_cannot_connect_asks_whether_the_gateway_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let arguments = ["coupon", "--admin", "http://127.0.0.1:1", "list"];
    let ended = Process::run(Launch::default().command(folder.path(), &arguments), TIMEOUT).await;
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.stderr.contains("http://127.0.0.1:1/admin/coupons"), "{ended}");
    assert!(ended.stderr.contains("is `sluice serve` running"), "{ended}");
}

#[tokio::test]
async fn an_embedded_log_needs_no_topic() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ended = Process::run(Launch::default().command(folder.path(), &["topic", "ensure"]), TIMEOUT).await;
    assert_eq!((ended.code, ended.stdout.trim_end()), (Some(0), "log.url is embedded: no topic needed"), "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_alone_on_an_embedded_log_warns_and_its_stop_counts_what_is_not_settled() {
    let mut gateway = Gateway::launch(Launch::default().with_role("gateway")).await;
    let warning = "accepted requests are not settled: no other process can open an embedded log; use `sluice serve \
                   --role all`";
    assert_eq!(gateway.log_lines(warning).len(), 1);
    gateway.run_for_json(&["coupon", "create", "--coupon", "9", "--policy", "21", "--total", "10", "--json"]).await;
    Crowd::at(&gateway, 9).send_burst(3, 1..=3).await;
    let log = gateway.stop().await;
    assert_eq!(log.iter().filter(|line| line["message"] == "campaign created").count(), 1);
    let unsettled = log.iter().find(|line| line["message"] == "stopping; unsettled records stay in the log");
    assert_eq!(unsettled.expect("is logged")["unsettled_records"], 3);
}

#[tokio::test]
async fn every_command_has_help_and_invalid_usage_exits_with_2() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run =
        async |arguments: &[&str]| Process::run(Launch::default().command(folder.path(), arguments), TIMEOUT).await;
    for command in [
        &["--help"][..],
        &["serve", "--help"],
        &["config", "check", "--help"],
        &["config", "show", "--help"],
        &["coupon", "create", "--help"],
        &["coupon", "audit", "--help"],
        &["policy", "inspect", "--help"],
        &["log", "show", "--help"],
        &["log", "skip", "--help"],
        &["log", "adopt", "--help"],
        &["simulate", "--help"],
    ] {
        let ended = run(command).await;
        assert!(ended.code == Some(0) && ended.stdout.contains("Usage: sluice"), "{command:?} {ended}");
    }
    assert_eq!(run(&["issue"]).await.code, Some(2));
    assert_eq!(run(&["log", "adopt"]).await.code, Some(2), "it names the old log, or says that it is lost");
    assert_eq!(run(&["coupon", "create", "--coupon", "x"]).await.code, Some(2));
}

#[test]
fn output_that_cannot_be_written_is_a_failure_and_a_closed_pipe_is_not() {
    let full = || std::fs::File::options().write(true).open("/dev/full").expect("/dev/full opens");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sluice"));
    command.args(["config", "show"]).current_dir(folder.path());
    let ended = command.stdout(full()).stderr(std::process::Stdio::piped()).output().expect("the binary starts");
    assert_eq!(ended.status.code(), Some(1));
    let message = String::from_utf8_lossy(&ended.stderr);
    assert!(message.starts_with("sluice: write to standard output: No space left on device"), "{message}");

    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    assert_eq!(command.stdout(writer).status().expect("the binary starts").code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_without_outcomes_is_empty_and_one_of_an_unknown_coupon_fails() {
    let gateway = Gateway::start().await;
    let ended = gateway.run(&["coupon", "export", "104"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{ended}");
    let ended = gateway.run(&["coupon", "export", "9"]).await;
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.stderr.starts_with("sluice: COUPON_NOT_FOUND: "), "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_address_is_read_before_and_after_the_command() {
    let gateway = Gateway::start().await;
    let admin = format!("http://{}/", gateway.admin);
    for arguments in [["coupon", "--admin", &admin, "list"], ["coupon", "list", "--admin", &admin]] {
        let ended = Process::run(Launch::default().command(gateway.home.path(), &arguments), TIMEOUT).await;
        assert_eq!(ended.code, Some(0), "{arguments:?} {ended}");
    }
    let ended = gateway.run(&["coupon", "list", "--admin", "localhost"]).await;
    assert_eq!(ended.code, Some(2), "{ended}");
    assert!(ended.stderr.contains("--admin: expected a URL such as http://127.0.0.1:8081"), "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_of_this_machine_is_called_without_the_proxy_of_the_environment() {
    let gateway = Gateway::start().await;
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        let mut command = Launch::default().command(gateway.home.path(), &["coupon", "list"]);
        command.env("SLUICE_ADMIN", format!("http://{}", gateway.admin)).env(name, "http://127.0.0.1:1");
        let ended = Process::run(command, TIMEOUT).await;
        assert_eq!(ended.code, Some(0), "{name}: {ended}");
    }
}

#[tokio::test]
async fn a_component_is_signed_by_one_key_and_verified_by_exit_code() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run =
        async |arguments: &[&str]| Process::run(Launch::default().command(folder.path(), arguments), TIMEOUT).await;
    let printed = |ended: Exit| {
        assert_eq!(ended.code, Some(0), "{ended}");
        ended.stdout.trim_end().to_owned()
    };
    std::fs::write(folder.path().join("mine.wasm"), policy("random")).expect("writes");
    let public = printed(run(&["policy", "keygen", "mine.key"]).await);
    let other = printed(run(&["policy", "keygen", "other.key"]).await);
    let mode = std::fs::metadata(folder.path().join("mine.key")).expect("is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(run(&["policy", "keygen", "mine.key"]).await.code, Some(1), "no key is overwritten");

    let verify = ["policy", "verify", "mine.wasm", "--key"];
    let unsigned = run(&[&verify[..], &[&public]].concat()).await;
    assert_eq!(unsigned.code, Some(1), "{unsigned}");
    assert!(unsigned.stderr.starts_with("sluice: mine.wasm: the component is not signed"), "{unsigned}");
    let signed = printed(run(&["policy", "sign", "mine.wasm", "--key", "mine.key"]).await);
    assert!(signed.starts_with("mine.wasm: signed by "), "{signed}");
    assert_eq!(printed(run(&[&verify[..], &[&other, "--key", &public]].concat()).await), signed);
    let unknown = run(&[&verify[..], &[&other]].concat()).await;
    assert_eq!(unknown.code, Some(1), "{unknown}");
    assert!(unknown.stderr.contains("which is not in policies.trusted_keys"), "{unknown}");

    let variable = format!("[\"{public}\"]");
    let launch = Launch::with(&[("POLICIES__TRUSTED_KEYS", &*variable)]);
    let configured = Process::run(launch.command(folder.path(), &verify[..3]), TIMEOUT).await;
    assert_eq!(printed(configured), signed);
    assert_eq!(run(&verify[..3]).await.code, Some(2), "no key is trusted");
    std::fs::write(folder.path().join("mine.wasm"), policy("weighted")).expect("writes");
    let tampered = run(&[&verify[..], &[&public]].concat()).await;
    assert!(tampered.code == Some(1) && tampered.stderr.contains("is not of this component"), "{tampered}");
}

#[tokio::test]
async fn a_variable_that_is_not_utf_8_is_passed_over_unless_it_is_of_sluice() {
    use std::os::unix::ffi::OsStringExt;

    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = async |name: &str| {
        let mut command = Launch::default().command(folder.path(), &["config", "show"]);
        command.env(name, std::ffi::OsString::from_vec(vec![b'a', 0xff]));
        Process::run(command, TIMEOUT).await
    };
    assert_eq!(run("UNRELATED").await.code, Some(0));
    let ended = run("SLUICE__LOG__USERNAME").await;
    assert_eq!((ended.code, ended.stderr.trim_end()), (Some(2), "sluice: SLUICE__LOG__USERNAME: expected UTF-8"));
}

#[tokio::test]
async fn a_variable_of_digits_is_text_where_text_is_expected() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for key in ["log.username", "log.password_file", "admin.token_file", "ledger.tls_ca_file", "counters.password_file"]
    {
        let name = key.to_uppercase().replace('.', "__");
        let launch = Launch::with(&[(&name, "12345")]);
        let ended = Process::run(launch.command(folder.path(), &["config", "show"]), TIMEOUT).await;
        let (_, key) = key.split_once('.').expect("a section");
        assert!(ended.stdout.contains(&format!("{key} = \"12345\"")), "{name}: {ended}");
    }
}
