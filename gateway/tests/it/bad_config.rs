//! Invalid configurations: the message names the position and what was expected.

use std::time::Duration;

use tempfile::TempDir;

use crate::harness::{Exit, Launch, Process, policy};

/// A check compiles three policies. On a busy machine, the low priority of the compiler leaves it little time.
const TIMEOUT: Duration = Duration::from_secs(120);

struct Case {
    file: &'static str,
    variable: Option<(&'static str, &'static str)>,
    expected_message: String,
}

/// The message of the TOML parser, with an excerpt that marks `width` characters.
fn parse_error_at(line: usize, column: usize, width: usize, message: &str) -> impl Fn(&str) -> String {
    move |file| {
        let excerpt = file.lines().nth(line - 1).expect("the line is there");
        let mark = format!("{}{}", " ".repeat(column), "^".repeat(width));
        format!(
            "sluice.toml: TOML parse error at line {line}, column {column}\n  |\n{line} | {excerpt}\n  |{mark}\n{message}"
        )
    }
}

fn plain(message: &str) -> impl Fn(&str) -> String {
    move |_| message.to_owned()
}

impl Case {
    fn file(file: &'static str, expected_message: impl Fn(&str) -> String) -> Self {
        Self { file, variable: None, expected_message: expected_message(file) }
    }

    const fn variable(name: &'static str, value: &'static str, expected_message: String) -> Self {
        Self { file: "", variable: Some((name, value)), expected_message }
    }

    async fn check(&self, folder: &TempDir) -> Exit {
        std::fs::write(folder.path().join("sluice.toml"), self.file).expect("writes");
        let launch = Launch::with(self.variable.as_slice());
        Process::run(launch.command(folder.path(), &["config", "check", "--config", "sluice.toml"]), TIMEOUT).await
    }
}

/// `config check` loads the policies of the default pipeline.
fn folder_with_policies() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("policies")).expect("a folder");
    for name in ["token-bucket", "quota", "random"] {
        std::fs::write(folder.path().join(format!("policies/{name}.wasm")), policy(name)).expect("writes");
    }
    folder
}

async fn assert_refused(cases: &[Case]) {
    let folder = folder_with_policies();
    let mut wrong = Vec::new();
    for case in cases {
        let ended = case.check(&folder).await;
        let expected = format!("sluice: {}", case.expected_message);
        if ended.code != Some(2) || ended.stderr.trim_end() != expected || !ended.stdout.is_empty() {
            wrong.push(format!("{:?} {:?}\n  expected {expected}\n  found {ended}", case.file, case.variable));
        }
    }
    assert!(wrong.is_empty(), "{} of {} have another message:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[tokio::test]
async fn config_check_accepts_the_defaults() {
    let folder = folder_with_policies();
    let ended = Case::file("", plain("")).check(&folder).await;
    assert_eq!((ended.code, ended.stdout.trim_end()), (Some(0), "configuration OK"), "{ended}");
}

#[tokio::test]
async fn config_check_warns_of_what_has_no_effect() {
    let folder = folder_with_policies();
    std::fs::write(folder.path().join("sluice.toml"), "[ledger]\npassword_file = \"password\"\n").expect("writes");
    let mut command = Launch::default().command(folder.path(), &["config", "check"]);
    command.env("SLUICE_HTTP_LISTEN", "127.0.0.1:9080");
    let ended = Process::run(command, TIMEOUT).await;
    assert_eq!((ended.code, ended.stdout.trim_end()), (Some(0), "configuration OK"), "{ended}");
    let expected = "sluice: warning: ledger.password_file has no effect with ledger.url = \"sqlite:data/ledger.db\": \
                    remove it\n\
                    sluice: warning: SLUICE_HTTP_LISTEN has no effect: use SLUICE__HTTP__LISTEN";
    assert_eq!(ended.stderr.trim_end(), expected);
}

#[tokio::test]
async fn config_check_warns_of_a_policy_that_only_the_ledger_may_have_and_checks_the_others() {
    let folder = folder_with_policies();
    let migrated = Process::run(Launch::default().command(folder.path(), &["migrate"]), TIMEOUT).await;
    assert_eq!(migrated.code, Some(0), "{migrated}");
    let uploaded = "[pipeline.shard-picker]\npolicy = \"uploaded\"\n";
    let ended = Case::file(uploaded, plain("")).check(&folder).await;
    assert_eq!((ended.code, ended.stdout.trim_end()), (Some(0), "configuration OK"), "{ended}");
    let expected = "sluice: warning: pipeline.shard-picker: policies/uploaded.wasm does not exist: a start looks for the \
                    policy `uploaded` in the ledger";
    assert_eq!(ended.stderr.trim_end(), expected);
    let wrong = "[pipeline.shard-picker]\npolicy = \"uploaded\"\n\
                 [pipeline.user-limit]\npolicy = \"quota\"\nconfig = { limit = 0 }\n";
    let ended = Case::file(wrong, plain("")).check(&folder).await;
    assert_eq!(ended.code, Some(2), "{ended}");
    assert!(ended.stderr.starts_with("sluice: user-limit: the policy refuses its configuration"), "{ended}");
}

#[tokio::test]
async fn an_invalid_file_is_rejected_with_line_and_column() {
    assert_refused(&files()).await;
    assert_refused(&pipelines()).await;
}

#[tokio::test]
async fn an_invalid_value_is_rejected_with_its_key() {
    assert_refused(&values()).await;
}

#[tokio::test]
async fn an_invalid_environment_variable_is_rejected_with_its_name() {
    assert_refused(&variables()).await;
}

#[tokio::test]
async fn config_check_rejects_a_pipeline_that_cannot_be_loaded() {
    assert_refused(&policies()).await;
}

fn files() -> Vec<Case> {
    vec![
        Case::file("[http\n", parse_error_at(1, 6, 1, "unclosed table, expected `]`")),
        Case::file(
            "[http]\nlisten = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"\n",
            parse_error_at(3, 1, 6, "duplicate key"),
        ),
        Case::file(
            "[htpp]\nlisten = \"127.0.0.1:1\"\n",
            parse_error_at(
                1,
                2,
                4,
                "unknown field `htpp`, expected one of `http`, `admin`, `log`, `ledger`, `counters`, `policies`, \
                 `decisions`, `settlement`, `telemetry`, `pipeline`",
            ),
        ),
        Case::file(
            "[http]\nlisen = \"127.0.0.1:1\"\n",
            parse_error_at(
                2,
                1,
                5,
                "unknown field `lisen`, expected one of `listen`, `in_flight_max`, `connections_max`, \
                 `keep_alive_seconds`, `drain_seconds`, `tls_certificate_file`, `tls_key_file`, `enabled`",
            ),
        ),
        Case::file(
            "[http]\nlisten = \"localhost\"\n",
            parse_error_at(2, 10, 11, "expected an IP address and port, such as 127.0.0.1:8080, found `localhost`"),
        ),
        Case::file(
            "[http]\nlisten = 8080\n",
            parse_error_at(2, 10, 4, "expected an IP address and port, such as 127.0.0.1:8080, found integer `8080`"),
        ),
        Case::file(
            "[http]\nin_flight_max = 0\n",
            parse_error_at(2, 17, 1, "expected a whole number from 1 to 1000000, found 0"),
        ),
        Case::file(
            "[http]\ndrain_seconds = -1\n",
            parse_error_at(2, 17, 2, "expected a whole number from 0 to 3600, found -1"),
        ),
        Case::file(
            "[log]\npartitions = \"many\"\n",
            parse_error_at(2, 14, 6, "expected a whole number from 1 to 256, found string \"many\""),
        ),
        Case::file(
            "[log]\npartitions = 0\n",
            parse_error_at(2, 14, 1, "expected a whole number from 1 to 256, found 0"),
        ),
        Case::file(
            "[log]\npartitions = 257\n",
            parse_error_at(2, 14, 3, "expected a whole number from 1 to 256, found 257"),
        ),
        Case::file(
            "[settlement]\nbatch_records_max = 5000\n",
            parse_error_at(2, 21, 4, "expected a whole number from 1 to 4096, found 5000"),
        ),
        Case::file(
            "[telemetry]\nlog_format = \"xml\"\n",
            parse_error_at(2, 14, 5, "expected `text` or `json`, found `xml`"),
        ),
    ]
}

/// Strings of the right type that the port they configure cannot parse.
fn values() -> Vec<Case> {
    vec![
        Case::file(
            "[log]\nurl = \"carrier-pigeon:loft\"\n",
            plain("log.url: expected `embedded:PATH` or `kafka://BROKER:PORT,…/TOPIC`, found `carrier-pigeon:loft`"),
        ),
        Case::file(
            "[ledger]\nurl = \"paper:book\"\n",
            plain("ledger.url: expected `sqlite:PATH` or `mysql://user@host:3306/database`, found `paper:book`"),
        ),
        Case::file(
            "[ledger]\nurls = [\"mysql://sluice:secret@db/a\", \"mysql://sluice:secret@db/a\"]\n",
            plain("ledger.urls: `mysql://sluice:***@db/a` is listed twice: list each database once"),
        ),
        Case::file(
            "[ledger]\nurl = \"sqlite:one.db\"\nurls = [\"sqlite:two.db\"]\n",
            plain("ledger.url and ledger.urls are both set: remove ledger.url, and its variable, or ledger.urls"),
        ),
        Case::file(
            "[ledger]\nurl = \"mysql://sluice:secret@db:3306\"\n",
            plain(
                "ledger.url: the database is missing; expected `mysql://user@host:3306/database`, found \
                 `mysql://sluice:***@db:3306`",
            ),
        ),
        Case::file(
            "[ledger]\nurl = \"mysql://sluice@db/sluice\"\npassword_file = \"no/such/file\"\n",
            plain("ledger.password_file: read no/such/file: No such file or directory (os error 2)"),
        ),
        Case::file(
            "[counters]\nurl = \"fingers:\"\n",
            plain(
                "counters.url: expected `local:`, `redis://[user@]host:port[/db]` or \
                 `redis+cluster://[user@]host:port,…` (`rediss` with TLS), found `fingers:`",
            ),
        ),
        Case::file(
            "[counters]\nurl = \"redis://somebody:s3cret@localhost\"\n",
            plain("counters.url: contains a password: move it to a file and name that file in counters.password_file"),
        ),
        Case::file(
            "[counters]\nurl = \"redis://localhost\"\npassword_file = \"no/such/file\"\n",
            plain("counters.password_file: read no/such/file: No such file or directory (os error 2)"),
        ),
        Case::file(
            "[counters]\nurl = \"redis://localhost\"\non_unavailable = \"panic\"\n",
            parse_error_at(3, 18, 7, "expected `pass` or `refuse`, found `panic`"),
        ),
        Case::file(
            "[telemetry]\nlog_filter = \"a=b=c\"\n",
            plain(
                "telemetry.log_filter: expected an EnvFilter such as `info`: error parsing level filter: expected one \
                 of \"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\", or a number 0-5",
            ),
        ),
        Case::file(
            "[admin]\nlisten = \"127.0.0.1:8080\"\n",
            plain("http.listen and admin.listen: 127.0.0.1:8080 and 127.0.0.1:8080 overlap: give them different ports"),
        ),
        Case::file(
            "[admin]\ntoken_file = \"no/such/file\"\n",
            plain("admin.token_file: read no/such/file: No such file or directory (os error 2)"),
        ),
    ]
}

fn variables() -> Vec<Case> {
    let wrong = |name, value, expected_message: &str| {
        Case::variable(name, value, format!("SLUICE__{name}: {expected_message}"))
    };
    vec![
        wrong(
            "POLICIES__TRUSTED_KEYS",
            "[\"mine\"]",
            "expected a public key as `sluice policy keygen` prints it, found `mine`",
        ),
        wrong("LOG__PARTITIONS", "0", "expected a whole number from 1 to 256, found 0"),
        wrong("LOG__PARTITIONS", "many", "expected a whole number from 1 to 256, found string \"many\""),
        wrong(
            "LOG__PARTITION",
            "3",
            "unknown key `partition`; expected one of group, min_insync_replicas, partitions, replicas, retention_hours, \
             sasl_mechanism, tls, url",
        ),
        wrong(
            "LOGG__PARTITIONS",
            "3",
            "unknown key `logg`; expected one of admin, counters, decisions, http, ledger, log, pipeline, policies, \
             settlement, telemetry",
        ),
        wrong(
            "HTTP__LISTEN",
            "localhost:8080",
            "expected an IP address and port, such as 127.0.0.1:8080, found `localhost:8080`",
        ),
        wrong("HTTP__LISTEN__PORT", "1", "`listen` is a value, not a section"),
        wrong("PIPELINE__SHARD_PICKER__DEADLINE_MS", "1001", "expected a whole number from 1 to 1000, found 1001"),
    ]
}

/// What can be plain from the file alone.
fn pipelines() -> Vec<Case> {
    vec![
        Case::file(
            "[pipeline.shard-pciker]\npolicy = \"random\"\n",
            parse_error_at(
                1,
                11,
                12,
                "unknown field `shard-pciker`, expected one of `rate-shaper`, `user-limit`, `shard-picker`",
            ),
        ),
        Case::file(
            "[pipeline.shard-picker]\npolicy = \"random\"\non_failure = \"cry\"\n",
            parse_error_at(3, 14, 5, "expected one of `fallback`, `refuse`, `skip`, found `cry`"),
        ),
        Case::file(
            "[pipeline.shard-picker]\npolicy = \"random\"\non_failure = \"skip\"\n",
            plain(
                "pipeline.shard-picker.on_failure: expected `fallback` or `refuse`, found `skip`: \
                 a request cannot go on without a shard",
            ),
        ),
        Case::file(
            "[pipeline.shard-picker]\npolicy = \"../random\"\n",
            plain("pipeline.shard-picker.policy: expected 1 to 64 of a-z, 0-9 and -, found `../random`"),
        ),
    ]
}

/// Errors that appear when the policies are loaded.
fn policies() -> Vec<Case> {
    vec![
        Case::file(
            "[pipeline.shard-picker]\npolicy = \"clairvoyant\"\n",
            plain(
                "read policies/clairvoyant.wasm: No such file or directory (os error 2); \
                 build the policies with `policies/build`, or set policies.dir to their folder",
            ),
        ),
        Case::file(
            "[pipeline.shard-picker]\npolicy = \"quota\"\n",
            plain(
                "shard-picker: expected the world shard-picker of sluice:policy: \
                 it is of the world user-limit: name it for that hook",
            ),
        ),
        Case::file(
            "[pipeline.user-limit]\npolicy = \"quota\"\nconfig = { limit = 0 }\n",
            plain(
                "user-limit: the policy refuses its configuration: limit: invalid value: integer `0`, \
                 expected a nonzero u32 at line 1 column 10",
            ),
        ),
    ]
}

#[tokio::test]
async fn a_missing_configuration_file_is_named() {
    let folder = folder_with_policies();
    let launch = Launch::default();
    let ended = Process::run(launch.command(folder.path(), &["config", "check", "--config", "no.toml"]), TIMEOUT).await;
    assert_eq!(ended.code, Some(2), "{ended}");
    assert_eq!(ended.stderr.trim_end(), "sluice: read no.toml: No such file or directory (os error 2)");
}

#[tokio::test]
async fn config_show_prints_a_valid_file_that_includes_overrides() {
    let folder = folder_with_policies();
    let launch = Launch::with(&[("LOG__PARTITIONS", "3"), ("PIPELINE__SHARD_PICKER__POLICY", "hash-user")]);
    let shown = Process::run(launch.command(folder.path(), &["config", "show"]), TIMEOUT).await;
    assert_eq!(shown.code, Some(0), "{shown}");
    assert!(shown.stdout.contains("partitions = 3"), "{shown}");
    std::fs::write(folder.path().join("sluice.toml"), &shown.stdout).expect("writes");
    let again = Process::run(Launch::default().command(folder.path(), &["config", "show"]), TIMEOUT).await;
    assert_eq!(again.stdout, shown.stdout);
}
