//! Bad configurations: each is refused with where it is wrong and what was expected.

use std::time::Duration;

use tempfile::TempDir;

use crate::harness::{Ended, Launch, Process, policy};

const WITHIN: Duration = Duration::from_secs(20);

/// What is checked: a file, perhaps a variable, and what standard error must say.
struct Case {
    file: &'static str,
    variable: Option<(&'static str, &'static str)>,
    says: &'static str,
}

impl Case {
    const fn file(file: &'static str, says: &'static str) -> Self {
        Self { file, variable: None, says }
    }

    const fn variable(name: &'static str, value: &'static str, says: &'static str) -> Self {
        Self { file: "", variable: Some((name, value)), says }
    }

    async fn check(&self, folder: &TempDir) -> Ended {
        std::fs::write(folder.path().join("sluice.toml"), self.file).expect("writes");
        let launch = Launch::with(self.variable.as_slice());
        Process::run(launch.command(folder.path(), &["config", "check", "--config", "sluice.toml"]), WITHIN).await
    }
}

/// A folder with the policies that the default pipeline names.
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
        let expected = format!("sluice: {}", case.says);
        if ended.code != Some(2) || ended.stderr.trim_end() != expected || !ended.stdout.is_empty() {
            wrong.push(format!("{:?} {:?}\n  expected {expected}\n  found {ended}", case.file, case.variable));
        }
    }
    assert!(wrong.is_empty(), "{} of {} are told otherwise:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[tokio::test]
async fn the_defaults_are_right() {
    let folder = folder_with_policies();
    let ended = Case::file("", "").check(&folder).await;
    assert_eq!((ended.code, ended.stdout.trim_end()), (Some(0), "the configuration is right"), "{ended}");
}

#[tokio::test]
async fn a_file_that_is_wrong_is_refused_with_line_and_column() {
    assert_refused(&FILES).await;
}

#[tokio::test]
async fn a_variable_that_is_wrong_is_refused_by_its_name() {
    assert_refused(&VARIABLES).await;
}

#[tokio::test]
async fn a_pipeline_that_cannot_be_loaded_is_refused_before_anything_runs() {
    assert_refused(&PIPELINES).await;
}

const FILES: [Case; 18] = [
    Case::file("[http\n", ""),
    Case::file("[http]\nlisten = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"\n", ""),
    Case::file("[htpp]\nlisten = \"127.0.0.1:1\"\n", ""),
    Case::file("[http]\nlisen = \"127.0.0.1:1\"\n", ""),
    Case::file("[http]\nlisten = \"localhost\"\n", ""),
    Case::file("[http]\nlisten = 8080\n", ""),
    Case::file("[http]\nin_flight_max = 0\n", ""),
    Case::file("[http]\ndrain_seconds = -1\n", ""),
    Case::file("[log]\npartitions = \"many\"\n", ""),
    Case::file("[log]\npartitions = 0\n", ""),
    Case::file("[log]\npartitions = 257\n", ""),
    Case::file("[log]\nurl = \"carrier-pigeon:loft\"\n", ""),
    Case::file("[ledger]\nurl = \"paper:book\"\n", ""),
    Case::file("[counters]\nurl = \"fingers:\"\n", ""),
    Case::file("[settlement]\nbatch_records_max = 5000\n", ""),
    Case::file("[telemetry]\nlog_format = \"xml\"\n", ""),
    Case::file("[telemetry]\nlog_filter = \"a=b=c\"\n", ""),
    Case::file("[admin]\ntoken_file = \"no/such/file\"\n", ""),
];

const VARIABLES: [Case; 7] = [
    Case::variable("LOG__PARTITIONS", "0", "SLUICE__LOG__PARTITIONS: expected an integer from 1 to 256, found 0"),
    Case::variable("LOG__PARTITIONS", "many", ""),
    Case::variable("LOG__PARTITION", "3", ""),
    Case::variable("LOGG__PARTITIONS", "3", ""),
    Case::variable("HTTP__LISTEN", "nowhere", ""),
    Case::variable("HTTP", "x", ""),
    Case::variable("PIPELINE__SHARD_PICKER__DEADLINE_MS", "1001", ""),
];

const PIPELINES: [Case; 8] = [
    Case::file("[pipeline.shard-picker]\nconfig = {}\n", ""),
    Case::file("[pipeline.shard-pciker]\npolicy = \"random\"\n", ""),
    Case::file("[pipeline.shard-picker]\npolicy = \"random\"\non_failure = \"cry\"\n", ""),
    Case::file("[pipeline.shard-picker]\npolicy = \"random\"\non_failure = \"skip\"\n", ""),
    Case::file("[pipeline.shard-picker]\npolicy = \"../random\"\n", ""),
    Case::file("[pipeline.shard-picker]\npolicy = \"clairvoyant\"\n", ""),
    Case::file("[pipeline.shard-picker]\npolicy = \"quota\"\n", ""),
    Case::file("[pipeline.user-limit]\npolicy = \"quota\"\nconfig = { limit = 0 }\n", ""),
];

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let folder = folder_with_policies();
    let launch = Launch::default();
    let ended = Process::run(launch.command(folder.path(), &["config", "check", "--config", "no.toml"]), WITHIN).await;
    assert_eq!(ended.code, Some(2), "{ended}");
    assert_eq!(ended.stderr.trim_end(), "sluice: read no.toml: No such file or directory (os error 2)");
}

#[tokio::test]
async fn what_show_prints_is_a_configuration_with_the_overrides_in_it() {
    let folder = folder_with_policies();
    let launch = Launch::with(&[("LOG__PARTITIONS", "3"), ("PIPELINE__SHARD_PICKER__POLICY", "hash-user")]);
    let shown = Process::run(launch.command(folder.path(), &["config", "show"]), WITHIN).await;
    assert_eq!(shown.code, Some(0), "{shown}");
    assert!(shown.stdout.contains("partitions = 3"), "{shown}");
    std::fs::write(folder.path().join("sluice.toml"), &shown.stdout).expect("writes");
    let again = Process::run(Launch::default().command(folder.path(), &["config", "show"]), WITHIN).await;
    assert_eq!(again.stdout, shown.stdout);
}
