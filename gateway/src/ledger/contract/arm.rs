//! Which arm of a rollout decided.

use super::{begin, campaign, coupon, issued, settled};
use crate::coupon::{Arm, Fingerprint, GroupNo, Outcome, Reason, Settled};
use crate::ledger::Ledger;

fn of_canary(mut settled: Settled) -> Settled {
    settled.subject.as_mut().expect("a subject").arm = Arm::Canary;
    settled
}

pub(crate) async fn the_arm_of_an_outcome_is_read_as_written(ledger: &dyn Ledger) {
    ledger.create_campaign(&campaign(10, 2)).await.expect("creates");
    let unreadable = Settled { subject: None, ..settled(4, 1, Outcome::Rejected(Reason::Invalid)) };
    let rows = [
        settled(1, 1, issued(1)),
        of_canary(settled(2, 2, issued(1))),
        of_canary(settled(3, 3, Outcome::Rejected(Reason::SoldOut))),
        unreadable,
    ];
    let mut transaction = begin(ledger).await;
    transaction.insert_outcomes(&rows).await.expect("inserts");
    transaction.commit().await.expect("commits");
    let expected = [Arm::Active, Arm::Canary, Arm::Canary, Arm::Active];
    for (row, arm) in rows.iter().zip(expected) {
        let recorded = ledger.outcome(GroupNo::FIRST, row.request_id).await.expect("reads").expect("exists");
        assert_eq!(recorded.arm, arm, "{row:?}");
        let under_key = ledger.outcome_under_key(GroupNo::FIRST, row.request_id, Fingerprint(1)).await.expect("reads");
        assert_eq!(under_key.expect("exists").1.arm, arm, "{row:?}");
    }
    let listed = ledger.outcomes(coupon(), None, 9).await.expect("reads");
    assert_eq!(listed.iter().map(|listed| listed.arm).collect::<Vec<_>>(), expected[..3]);
}
