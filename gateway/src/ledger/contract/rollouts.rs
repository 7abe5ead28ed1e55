//! Rollouts: one a scope, changed by one process at a time.

use std::sync::Arc;

use crate::ledger::generation::GENERATIONS_MAX;
use crate::ledger::{GenerationRow, Ledger, RolloutReport, RolloutRow};

fn row(id: u64, coupon: Option<u64>) -> RolloutRow {
    let coupon = coupon.map(|coupon| coupon.try_into().expect("in range"));
    RolloutRow { id, coupon, is_over: false, version: 1, record: format!("{{\"id\":{id}}}") }
}

fn next(row: &RolloutRow, is_over: bool) -> RolloutRow {
    RolloutRow { version: row.version + 1, is_over, ..row.clone() }
}

pub(crate) async fn one_rollout_of_a_scope_is_running(ledger: &dyn Ledger) {
    let rollouts = ledger.rollouts();
    let (default, coupon) = (row(1, None), row(2, Some(104)));
    assert!(rollouts.create(&default).await.expect("creates"));
    assert!(rollouts.create(&coupon).await.expect("another scope"));
    assert!(!rollouts.create(&row(3, None)).await.expect("answers"), "the scope has one");
    assert!(!rollouts.create(&row(1, Some(105))).await.expect("answers"), "the number is taken");
    assert_eq!(rollouts.running().await.expect("reads"), [default.clone(), coupon.clone()]);

    let over = next(&default, true);
    assert!(rollouts.update(&over).await.expect("updates"));
    assert!(rollouts.create(&row(3, None)).await.expect("the scope is free again"));
    assert!(rollouts.update(&next(&row(3, None), true)).await.expect("as often as one wants"));
    assert_eq!(rollouts.running().await.expect("reads"), std::slice::from_ref(&coupon));
    assert_eq!(rollouts.newest(2).await.expect("reads")[1], coupon);
    assert_eq!(rollouts.newest(9).await.expect("reads")[2], over);
    assert_eq!(rollouts.get(over.id).await.expect("reads"), Some(over));
    assert_eq!(rollouts.get(4).await.expect("reads"), None);
}

pub(crate) async fn of_two_changes_of_a_rollout_the_first_counts(ledger: &dyn Ledger) {
    let rollouts = ledger.rollouts();
    let first = row(1, None);
    assert!(rollouts.create(&first).await.expect("creates"));
    let changed = RolloutRow { record: "{}".to_owned(), ..next(&first, false) };
    let (one, two) = tokio::join!(rollouts.update(&changed), rollouts.update(&changed));
    assert_eq!([one.expect("updates"), two.expect("updates")].iter().filter(|is_first| **is_first).count(), 1);
    assert_eq!(rollouts.running().await.expect("reads"), [changed]);
}

pub(crate) async fn the_newest_report_of_each_gateway_is_kept_as_long_as_its_rollout(ledger: &dyn Ledger) {
    let rollouts = ledger.rollouts();
    let first = row(1, None);
    assert!(rollouts.create(&first).await.expect("creates"));
    let report = |gateway: &str, step_no| RolloutReport {
        rollout: 1,
        gateway: gateway.to_owned(),
        step_no,
        tallies: format!("{{\"step\":{step_no}}}"),
    };
    for (gateway, step_no) in [("a", 0), ("b", 0), ("a", 1)] {
        rollouts.report(&report(gateway, step_no)).await.expect("reports");
    }
    let mut reports = rollouts.reports(1).await.expect("reads");
    reports.sort_by(|one, other| one.gateway.cmp(&other.gateway));
    assert_eq!(reports, [report("a", 1), report("b", 0)]);
    assert_eq!(rollouts.reports(2).await.expect("reads"), []);

    assert!(rollouts.update(&next(&first, true)).await.expect("updates"));
    assert!(rollouts.create(&row(1000, None)).await.expect("creates"));
    assert_eq!(rollouts.newest(9).await.expect("reads"), [row(1000, None)], "old ones are deleted");
    assert_eq!(rollouts.reports(1).await.expect("reads"), []);
}

pub(crate) async fn the_component_of_a_running_rollout_is_kept(ledger: &dyn Ledger) {
    let publish = async |number: u64, digest: &str| {
        let row = GenerationRow { number, coupon: None, pipeline: format!("[\"{digest}\"]"), published_at_ms: 5 };
        let components: [(String, Arc<[u8]>); 1] = [(digest.to_owned(), Arc::from([1]))];
        assert!(ledger.publish_generation(&row, &components).await.expect("publishes"));
    };
    publish(1, "candidate").await;
    let running = RolloutRow { record: "{\"digest\":\"candidate\"}".to_owned(), ..row(1, None) };
    assert!(ledger.rollouts().create(&running).await.expect("creates"));
    for number in 2..=u64::from(GENERATIONS_MAX) + 1 {
        publish(number, "other").await;
    }
    assert!(ledger.component("candidate").await.expect("reads").is_some());
    assert!(ledger.rollouts().update(&next(&running, true)).await.expect("updates"));
    publish(u64::from(GENERATIONS_MAX) + 2, "other").await;
    assert!(ledger.component("candidate").await.expect("reads").is_none());
}
