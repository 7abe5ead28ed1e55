//! The command line: campaigns and audits through a running gateway.

use std::time::Duration;

use serde_json::{Value, json};

use crate::crowd::Crowd;
use crate::harness::{Campaign, Ended, Gateway, Launch, Process};

const WITHIN: Duration = Duration::from_secs(20);

impl Gateway {
    async fn run(&self, arguments: &[&str]) -> Ended {
        let admin = format!("http://{}", self.admin);
        let mut command = Launch::default().command(self.home.path(), arguments);
        command.env("SLUICE_ADMIN", admin);
        Process::run(command, WITHIN).await
    }

    async fn run_for_json(&self, arguments: &[&str]) -> Value {
        let ended = self.run(arguments).await;
        assert_eq!(ended.code, Some(0), "{ended}");
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_is_made_listed_shown_and_audited() {
    let gateway = Gateway::start().await;
    let create = ["coupon", "create", "--coupon", "9", "--policy", "21", "--total", "10", "--shards", "2", "--json"];
    let created = gateway.run_for_json(&create).await;
    assert_eq!((&created["couponId"], &created["remaining"]), (&json!(9), &json!(10)));
    assert_eq!(gateway.run_for_json(&["coupon", "show", "9", "--json"]).await, created);
    let listed = gateway.run_for_json(&["coupon", "list", "--json"]).await;
    assert_eq!(listed[0], created);

    let crowd = Crowd::before(&gateway, 9);
    crowd.rush(4, 1..=3).await;
    let campaign = Campaign { coupon: 9, ..Campaign::of(10, 2) };
    crowd.verdict(&gateway, campaign).await.assert_holds();
    let audit = gateway.run_for_json(&["coupon", "audit", "9", "--json"]).await;
    assert_eq!((&audit["granted"], &audit["balanced"]), (&json!(3), &json!(true)));

    let topped_up = gateway.run_for_json(&["coupon", "top-up", "9", "5", "--json"]).await;
    assert_eq!(topped_up["total"], 15);
    let closed = gateway.run_for_json(&["coupon", "close", "9", "--json"]).await;
    assert_eq!(closed["state"], "CLOSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_is_shown_to_people_as_a_table() {
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
async fn what_the_gateway_refuses_is_told_in_its_words() {
    let gateway = Gateway::start().await;
    let ended = gateway.run(&["coupon", "show", "999"]).await;
    let told = (ended.code, ended.stderr.trim_end());
    assert_eq!(told, (Some(1), "sluice: COUPON_NOT_FOUND: no campaign for coupon 999"));
}

#[tokio::test]
async fn a_gateway_that_does_not_run_is_told_apart_from_one_that_refuses() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let arguments = ["coupon", "--admin", "http://127.0.0.1:1", "list"];
    let ended = Process::run(Launch::default().command(folder.path(), &arguments), WITHIN).await;
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.stderr.contains("http://127.0.0.1:1/admin/coupons"), "{ended}");
    assert!(ended.stderr.contains("is `sluice serve` running"), "{ended}");
}

#[tokio::test]
async fn every_command_has_help_and_a_wrong_one_ends_with_2() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run =
        async |arguments: &[&str]| Process::run(Launch::default().command(folder.path(), arguments), WITHIN).await;
    for command in [
        &["--help"][..],
        &["serve", "--help"],
        &["config", "check", "--help"],
        &["config", "show", "--help"],
        &["coupon", "create", "--help"],
        &["coupon", "audit", "--help"],
        &["policy", "inspect", "--help"],
    ] {
        let ended = run(command).await;
        assert!(ended.code == Some(0) && ended.stdout.contains("Usage: sluice"), "{command:?} {ended}");
    }
    assert_eq!(run(&["issue"]).await.code, Some(2));
    assert_eq!(run(&["coupon", "create", "--coupon", "x"]).await.code, Some(2));
}
