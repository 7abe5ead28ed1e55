//! The guide to a first policy, `policies/README.md`, works as it is written.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::{Exit, Gateway, Process, machine};

/// The first build compiles the dependencies of a policy twice: for its tests, and for WebAssembly. That takes
/// minutes on a slow machine.
const TIMEOUT: Duration = Duration::from_mins(10);

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the repository")
}

/// The section of the guide as one shell script. Commands stay as they are; a file is written to the name that the
/// text before it gives.
fn script(gateway: &Gateway) -> String {
    let guide = std::fs::read_to_string(repository().join("policies/README.md")).expect("the guide");
    let (_, rest) = guide.split_once("## Write your first policy\n").expect("the section begins");
    let (section, _) = rest.split_once("\n## ").expect("the section ends");
    let mut script = String::new();
    let mut parts = section.split("   ```");
    while let (Some(text), Some(block)) = (parts.next(), parts.next()) {
        let (language, body) = block.split_once('\n').expect("a block begins with a line of its own");
        let body: String = body.lines().map(|line| format!("{}\n", line.strip_prefix("   ").unwrap_or(line))).collect();
        let written = match language {
            "" => write!(script, "{body}"),
            _ => write!(script, "cat > {} <<'END OF FILE'\n{body}END OF FILE\n", file_name(text)),
        };
        written.expect("a string takes any text");
    }
    script
        .replace("$REPOSITORY/target/release/sluice", env!("CARGO_BIN_EXE_sluice"))
        .replace("/path/to/sluice", repository().to_str().expect("a path in UTF-8"))
        .replace("127.0.0.1:8080", &gateway.http.to_string())
        .replace("127.0.0.1:8081", &gateway.admin.to_string())
}

/// The last "Write `NAME`" of a text.
fn file_name(text: &str) -> &str {
    let (_, named) = text.rsplit_once("Write `").expect("the file has a name");
    named.split('`').next().expect("the name ends")
}

/// The crates of the policies have been downloaded for the other tests, and their dependencies compiled.
fn cargo_variables() -> [(&'static str, PathBuf); 2] {
    [("CARGO_NET_OFFLINE", "true".into()), ("CARGO_TARGET_DIR", repository().join("target/policies"))]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_leads_from_an_empty_folder_to_a_policy_that_decides() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    let folder = tempfile::tempdir().expect("an empty folder");
    let mut shell = Command::new("bash");
    shell.args(["-euxo", "pipefail", "-c", &script(&gateway)]).current_dir(folder.path()).envs(cargo_variables());
    let ended = Process::run(shell, TIMEOUT).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    let expected = [
        "test tests::a_second_request_within_the_wait_is_refused ... ok",
        "world     user-limit",
        "measures  {\"measure\":\"count\",\"scope\":\"user\",\"window_ms\":5000}",
        "trial     Admit",
        "\"name\":\"cooldown\"",
        "{\"generation\":2}",
        "HTTP/1.1 202",
        "HTTP/1.1 429",
        "retry-after: 5",
        "\"reason\":\"COOLDOWN\"",
        "{\"generation\":3}",
    ];
    assert_prints_in_order(&ended, &expected);
    let pipeline = gateway.pipeline().await;
    assert_eq!(pipeline["pipeline"]["user-limit"]["policy"], "quota", "rolled back: {pipeline}");
}

fn assert_prints_in_order(ended: &Exit, expected: &[&str]) {
    let mut rest = ended.stdout.as_str();
    for text in expected {
        let Some((_, after)) = rest.split_once(text) else { panic!("`{text}` is missing or out of order: {ended}") };
        rest = after;
    }
}

#[tokio::test]
async fn building_a_policy_whose_name_no_pipeline_accepts_names_the_rule() {
    let folder = tempfile::tempdir().expect("an empty folder");
    std::fs::write(folder.path().join("Cargo.toml"), "[package]\nname = \"two_words\"\n").expect("writes");
    let mut build = Command::new(repository().join("policies/build"));
    build.args(["--package", "."]).current_dir(folder.path()).env("SLUICE", env!("CARGO_BIN_EXE_sluice"));
    let ended = Process::run(build, TIMEOUT).await;
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.stderr.contains("a pipeline accepts only 1 to 64 of a-z, 0-9 and -"), "{ended}");
    assert!(ended.stderr.contains("rename the package, for example to `two-words`"), "{ended}");
}
