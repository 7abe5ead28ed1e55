//! Memory while a backlog waits for settlement, which exhausted the original application.

use std::time::{Duration, Instant};

use crate::crowd::Crowd;
use crate::harness::{Campaign, Gateway, Launch, machine, soak};
use crate::load;

/// The long form is the largest backlog of the original application. Fewer records have a lower limit, because the
/// memory of an idle gateway is most of it.
const BACKLOG: (usize, usize) = (40_000, 250_000);
const MEMORY_MAX_BYTES: (u64, u64) = (128 << 20, 200 << 20);
const CONNECTIONS: usize = 128;
const DRAINED_WITHIN: Duration = Duration::from_mins(10);

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_bounded_while_records_wait_for_settlement() {
    machine::exclusive();
    let backlog = soak::short_or_long(BACKLOG.0, BACKLOG.1);
    let memory_max_bytes = soak::short_or_long(MEMORY_MAX_BYTES.0, MEMORY_MAX_BYTES.1);
    let mut gateway = Gateway::launch(Launch::default().with_role("gateway")).await;
    let campaign = Campaign::of(300_000, 12);
    let crowd = Crowd::at(&gateway, gateway.create(campaign).await);
    let begun = Instant::now();
    crowd.send_burst(CONNECTIONS, 1..=backlog as u64).await;
    let waiting = gateway.memory();
    println!("{backlog} accepted at {:.0}/s, {}; {waiting}", load::per_second(backlog, begun), crowd.latencies());
    // On a busy machine some requests may be shed; the backlog must be complete before memory is compared.
    let refused: Vec<u64> = crowd.refused_users();
    println!("{} were refused and retry", refused.len());
    crowd.send_burst(1, refused).await;
    assert_eq!(crowd.history.receipts().len(), backlog);
    assert!(waiting.peak < memory_max_bytes, "{waiting}");

    gateway.stop().await;
    gateway.restart_as(Launch::default()).await;
    let begun = Instant::now();
    gateway.wait_until_drained(DRAINED_WITHIN).await;
    let drained = gateway.memory();
    println!("{backlog} settled at {:.0}/s; {drained}", load::per_second(backlog, begun));
    assert!(drained.peak < memory_max_bytes, "{drained}");

    let audit = gateway.audit(campaign.coupon).await;
    assert_eq!((audit.granted, audit.users), (backlog as u64, backlog as u64));
    assert!(audit.balanced && audit.recount.users_over_limit == 0, "{audit:?}");
    let receipts = crowd.history.receipts().into_iter().step_by(25).collect();
    crowd.history.poll_once(&gateway.client, receipts).await;
    let outcomes = crowd.history.observations();
    assert_eq!(outcomes.len(), backlog / 25);
    assert!(outcomes.keys().all(|id| crowd.history.outcome(id).is_some_and(|outcome| outcome.is_issued())));
}
