//! Memory under a backlog: what took the write-up's application down.

use std::time::{Duration, Instant};

use crate::crowd::Crowd;
use crate::harness::{Campaign, Gateway, Launch, machine};
use crate::load;

/// The lag that the write-up saw.
const BACKLOG: usize = 250_000;
const MEMORY_MAX_BYTES: u64 = 200 << 20;
const CONNECTIONS: usize = 128;
const DRAINED_WITHIN: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_quarter_of_a_million_waiting_records_take_less_than_200_mib() {
    machine::exclusive();
    let mut gateway = Gateway::launch(Launch::default().with_role("gateway")).await;
    let campaign = Campaign::of(300_000, 12);
    let crowd = Crowd::before(&gateway, gateway.create(campaign).await);
    let begun = Instant::now();
    crowd.rush(CONNECTIONS, 1..=BACKLOG as u64).await;
    let waiting = gateway.memory();
    println!("{BACKLOG} accepted at {:.0}/s, {}; {waiting}", load::per_second(BACKLOG, begun), crowd.latencies());
    // Whoever was refused, for want of a processor perhaps, asks once more.
    let refused: Vec<u64> = crowd.refused_users();
    println!("{} were refused and ask again", refused.len());
    crowd.rush(1, refused).await;
    assert_eq!(crowd.history.receipts().len(), BACKLOG);
    assert!(waiting.peak < MEMORY_MAX_BYTES, "{waiting}");

    gateway.stop().await;
    gateway.start_again_as(Launch::default()).await;
    let begun = Instant::now();
    gateway.drained(DRAINED_WITHIN).await;
    let drained = gateway.memory();
    println!("{BACKLOG} settled at {:.0}/s; {drained}", load::per_second(BACKLOG, begun));
    assert!(drained.peak < MEMORY_MAX_BYTES, "{drained}");

    let audit = gateway.audit(campaign.coupon).await;
    assert_eq!((audit.granted, audit.users), (BACKLOG as u64, BACKLOG as u64));
    assert!(audit.balanced && audit.users_over_limit == 0, "{audit:?}");
    let receipts = crowd.history.receipts().into_iter().step_by(25).collect();
    crowd.history.glance(&gateway.client, receipts).await;
    let outcomes = crowd.history.sightings();
    assert_eq!(outcomes.len(), BACKLOG / 25);
    assert!(outcomes.keys().all(|id| crowd.history.outcome(id).is_some_and(|outcome| outcome.is_issued())));
}
