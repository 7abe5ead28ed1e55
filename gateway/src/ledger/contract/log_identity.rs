//! Which log the ledger settles, and what an operator does when it is another one or lacks records.

use super::PARTITION;
use crate::coupon::{GroupNo, LogId, PartitionNo};
use crate::ledger::{Ledger, LogIdentity, OffsetChange, OffsetChangeReason};

pub(crate) async fn the_first_proposed_log_is_kept(ledger: &dyn Ledger) {
    assert_eq!(ledger.log_identity(GroupNo::FIRST).await.expect("reads"), None);
    let first = LogId::random();
    assert_eq!(ledger.propose_log(first).await.expect("stores"), first);
    assert_eq!(ledger.propose_log(LogId::random()).await.expect("reads"), first);
    let stored = |seen_at_ms| Some(LogIdentity { log_id: first, seen_at_ms });
    assert_eq!(ledger.log_identity(GroupNo::FIRST).await.expect("reads"), stored(None));
    ledger.see_log(first, 7).await.expect("stores");
    ledger.see_log(LogId::random(), 8).await.expect("is another log");
    assert_eq!(ledger.log_identity(GroupNo::FIRST).await.expect("reads"), stored(Some(7)));
}

pub(crate) async fn a_skip_moves_only_the_offset_that_it_names(ledger: &dyn Ledger) {
    ledger.claim(PARTITION).await.expect("claims");
    assert!(!ledger.skip(PARTITION, 1, 4, 7).await.expect("is refused"), "the partition is at 0");
    assert!(!ledger.skip(PartitionNo(9), 0, 4, 7).await.expect("is refused"), "no such partition");
    assert!(ledger.skip(PARTITION, 0, 4, 7).await.expect("skips"));
    assert!(!ledger.skip(PARTITION, 0, 4, 8).await.expect("is refused"), "a skip applies once");
    assert_eq!(ledger.next_offset(PARTITION).await.expect("reads"), 4);
    let claim = ledger.claim(PARTITION).await.expect("claims");
    assert_eq!((claim.next_offset, claim.released_offset), (4, 0), "requests before the gap may not be released yet");
    let reason = OffsetChangeReason::Skip;
    let change = OffsetChange { partition: PARTITION, from: 0, to: 4, reason, changed_at_ms: 7 };
    assert_eq!(ledger.offset_changes(GroupNo::FIRST, 9).await.expect("reads"), [change]);
}

pub(crate) async fn adopting_a_log_resets_every_partition_and_fences_all_claims(ledger: &dyn Ledger) {
    let before = ledger.propose_log(LogId::random()).await.expect("stores");
    ledger.see_log(before, 7).await.expect("stores");
    let claim = ledger.claim(PartitionNo(0)).await.expect("claims");
    assert!(ledger.skip(PartitionNo(0), 0, 4, 7).await.expect("skips"));
    ledger.claim(PARTITION).await.expect("claims");
    let adopted = LogId::random();
    ledger.adopt_log(GroupNo::FIRST, adopted, PartitionNo(0), &[2, 0], 9).await.expect("adopts");
    assert_eq!(
        ledger.log_identity(GroupNo::FIRST).await.expect("reads"),
        Some(LogIdentity { log_id: adopted, seen_at_ms: None })
    );
    for (partition, expected) in [(0, 2), (1, 0), (PARTITION.0, 0)] {
        assert_eq!(ledger.next_offset(PartitionNo(partition)).await.expect("reads"), expected, "{partition}");
    }
    assert!(ledger.claim(PartitionNo(0)).await.expect("claims").epoch > claim.epoch + 1);
    let reason = OffsetChangeReason::Adopt;
    let change =
        |partition, from, to| OffsetChange { partition: PartitionNo(partition), from, to, reason, changed_at_ms: 9 };
    assert_eq!(ledger.offset_changes(GroupNo::FIRST, 2).await.expect("reads"), [change(1, 0, 0), change(0, 4, 2)]);
}
