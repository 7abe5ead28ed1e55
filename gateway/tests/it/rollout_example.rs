//! The worked example of `docs/rollouts.md` works as it is written, on a gateway under load.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::crowd::Crowd;
use crate::harness::{Campaign, Exit, Gateway, Process, machine};

/// A minute, longer on a slow machine.
const TIMEOUT: Duration = Duration::from_secs(600);
/// Enough for each step to be judged within seconds.
const PER_SECOND: f64 = 300.0;
/// More coupons than there are requests.
const CAMPAIGN: Campaign = Campaign::of(500_000, 4);

/// The commands of the example: its blocks that name no language.
fn script(gateway: &Gateway) -> String {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rollouts.md");
    let guide = std::fs::read_to_string(guide).expect("the guide");
    let (_, rest) = guide.split_once("## A worked example\n").expect("the section begins");
    let (section, _) = rest.split_once("\n## ").expect("the section ends");
    let blocks = section.split("```").skip(1).step_by(2);
    let commands: String = blocks.filter_map(|block| block.strip_prefix('\n')).collect();
    commands.replace("127.0.0.1:8081", &gateway.admin.to_string())
}

/// Runs it in the gateway's folder, which has the policies as the repository does.
async fn run(gateway: &Gateway, script: &str) -> Exit {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice")).parent().expect("a folder").display();
    let path = std::env::var("PATH").expect("there is one");
    let mut shell = Command::new("bash");
    shell
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(gateway.home.path())
        .env("PATH", format!("{binary}:{path}"))
        .env("SLUICE_ADMIN", format!("http://{}", gateway.admin));
    Process::run(shell, TIMEOUT).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worked_example_leads_from_a_shadow_to_all_users_and_back_and_no_request_fails() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    let crowd = Crowd::at(&gateway, gateway.create(CAMPAIGN).await);
    let is_over = AtomicBool::new(false);
    let example = async {
        let ended = run(&gateway, &script(&gateway)).await;
        is_over.store(true, Ordering::Relaxed);
        ended
    };
    let users = (1..).take_while(|_| !is_over.load(Ordering::Relaxed));
    let (ended, ()) = tokio::join!(example, crowd.send_at_rate(PER_SECOND, users));
    println!("{}\n{}", ended.stdout, crowd.latencies());
    if ended.code != Some(0) {
        println!("{}", gateway.run(&["rollout", "history", "1"]).await);
    }
    assert_eq!(ended.code, Some(0), "{ended}");
    let expected = [
        "rollout 1 of the default pipeline, started by local at ",
        "shard-picker: picker (",
        "the candidate only shadows the active policies",
        "spread",
        "the candidate serves 10 % of the users, and shadows the others",
        "being promoted",
        "serves all users, as generation 2",
        "{\"generation\":3}",
        "rollout 2 of",
        "the candidate serves 50 % of the users",
        "serves all users, as generation 4",
        "rollout 3 of",
        "rolled back: rate-shaper: ",
        "beyond",
        "exit code 1",
        "promoted: the candidate serves all users, as generation 4",
    ];
    assert_prints_in_order(&ended, &expected);

    let report = crowd.verify(&gateway, CAMPAIGN).await;
    report.assert_holds();
    let sent = crowd.history.exchanges().len();
    assert_eq!((report.accepted, report.issued()), (sent, sent), "0 failed requests");
    let canary = gateway.metrics().await.sum("sluice_rollout_decisions_total", &[("arm", "canary")]);
    println!("{sent} requests, {canary} by a canary");
    assert!(canary > 400.0, "the canaries served users");
    let pipeline = gateway.pipeline().await;
    let active = ["shard-picker", "rate-shaper"].map(|hook| pipeline["pipeline"][hook]["policy"].clone());
    assert_eq!(active, ["picker", "token-bucket"], "the bad candidate serves nobody: {pipeline}");
}

fn assert_prints_in_order(ended: &Exit, expected: &[&str]) {
    let mut rest = ended.stdout.as_str();
    for text in expected {
        let Some((_, after)) = rest.split_once(text) else { panic!("`{text}` is missing or out of order: {ended}") };
        rest = after;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_about_no_rollout_says_what_to_do() {
    let gateway = Gateway::start().await;
    for (arguments, message) in [
        (&["rollout", "status"][..], "sluice: there is no rollout: start one, see `sluice rollout start --help`"),
        (&["rollout", "promote", "7"], "sluice: ROLLOUT_NOT_FOUND: no rollout has the number 7"),
        (&["rollout", "watch", "7"], "sluice: ROLLOUT_NOT_FOUND: no rollout has the number 7"),
    ] {
        let ended = gateway.run(arguments).await;
        assert_eq!((ended.code, ended.stderr.trim_end()), (Some(1), message));
    }
    let listed = gateway.run(&["rollout", "history", "--json"]).await;
    assert_eq!((listed.code, listed.stdout.trim_end()), (Some(0), "[]"));
}
