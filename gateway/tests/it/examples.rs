//! The examples run by themselves and show what they say.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::{Ended, Process, turn};

/// The first build of a policy elsewhere compiles its dependencies.
const WITHIN: Duration = Duration::from_secs(180);

async fn run(example: &str) -> Ended {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut command = Command::new(examples.join(example).join("run"));
    command.env("SLUICE", env!("CARGO_BIN_EXE_sluice"));
    let ended = Process::run(command, WITHIN).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    ended
}

fn assert_says(ended: &Ended, lines: &[&str]) {
    let mut said = ended.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    for line in lines {
        assert!(said.any(|said| said.contains(line)), "`{line}` is not said, or not in its place: {ended}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_midnight_drop_gives_a_thousand_coupons_to_a_thousand_people() {
    let _turn = turn::alone().await;
    let ended = run("midnight-drop").await;
    assert_says(
        &ended,
        &["\"reason\":\"NOT_OPEN\"", "900 people", "900 202", "again", "100 429", "600 more", "granted 1000"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_of_ones_own_decides_and_is_taken_back() {
    let _turn = turn::alone().await;
    let ended = run("own-policy").await;
    let told = [
        "user 666: 202",
        "world user-limit",
        "\"reason\":\"POLICY_REFUSED\"",
        "\"generation\":2",
        "user 667: 429",
        "user 668: 202",
        "user 668: 429",
        "\"generation\":3",
        "user 667: 202",
    ];
    assert_says(&ended, &told);
}
