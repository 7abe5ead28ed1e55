//! What is deleted, and what stays.

use std::collections::BTreeSet;

use super::{PARTITION, begin, campaign, coupon, issued, settled};
use crate::coupon::{
    Audit, CampaignChange, CouponId, GroupNo, NewCampaign, Outcome, Reason, RequestId, Settled, now_ms,
};
use crate::ledger::{Deletion, Ledger, ListedOutcome};

const REJECTED: Outcome = Outcome::Rejected(Reason::UserLimit);

async fn insert(ledger: &dyn Ledger, rows: &[Settled]) {
    let mut transaction = begin(ledger).await;
    transaction.insert_outcomes(rows).await.expect("inserts");
    transaction.commit().await.expect("commits");
}

async fn list(ledger: &dyn Ledger, rows_max: u32) -> Vec<ListedOutcome> {
    let mut all: Vec<ListedOutcome> = Vec::new();
    loop {
        let page = ledger.outcomes(coupon(), all.last(), rows_max).await.expect("reads");
        assert!(page.len() <= rows_max as usize);
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

pub(crate) async fn outcomes_are_listed_page_by_page_each_once(ledger: &dyn Ledger) {
    ledger.create_campaign(&campaign(10, 1)).await.expect("creates");
    let unreadable = Settled { subject: None, ..settled(99, 1, Outcome::Rejected(Reason::Invalid)) };
    let rows: Vec<Settled> = [
        settled(7, 1, issued(1)),
        settled(3, 2, REJECTED),
        settled(9, 2, issued(2)),
        settled(8, 2, REJECTED),
        settled(4, 2, issued(1)),
        settled(1, 2, REJECTED),
        settled(6, 3, REJECTED),
    ]
    .into();
    insert(ledger, &rows).await;
    insert(ledger, &[unreadable]).await;
    for rows_max in [1, 2, 3, 100] {
        let all = list(ledger, rows_max).await;
        let names: Vec<u8> = all.iter().map(|listed| listed.request_id.as_bytes()[0]).collect();
        assert_eq!(names, [7, 1, 3, 8, 4, 9, 6], "{rows_max} a page");
    }
    let first = list(ledger, 100).await[0];
    assert_eq!((first.outcome, first.user_id.get(), first.partition, first.offset), (issued(1), 1, PARTITION, 7));
    assert_eq!((first.generation, first.arrived_at_ms, first.settled_at_ms), (7, 1, 2));
    let other = 105_u64.try_into().expect("in range");
    assert_eq!(ledger.outcomes(other, None, 9).await.expect("reads"), []);
}

pub(crate) async fn deleted_outcomes_are_gone_and_the_campaign_stays(ledger: &dyn Ledger) {
    let created = ledger.create_campaign(&campaign(10, 1)).await.expect("creates");
    insert(ledger, &[settled(1, 1, issued(1)), settled(2, 1, REJECTED), settled(3, 2, REJECTED)]).await;
    let recount = async || ledger.recount(coupon()).await.expect("reads").expect("exists");
    let before = recount().await;
    assert!(before.recount.as_ref().is_some_and(|recount| recount.agrees && !recount.outcomes_deleted));
    assert_eq!(ledger.outcomes_deleted(coupon()).await.expect("reads"), Some(false));
    let deleted: BTreeSet<RequestId> = [2, 3, 4].map(|name| RequestId::from([name; 16])).into();
    let delete = || ledger.delete_outcomes(coupon(), &deleted);
    let (one, other) = tokio::join!(delete(), delete());
    one.and(other).expect("both delete");
    assert_eq!(list(ledger, 9).await.len(), 1);
    assert_eq!(ledger.outcome(GroupNo::FIRST, RequestId::from([2; 16])).await.expect("reads"), None);
    assert_eq!(ledger.campaign(coupon()).await.expect("reads"), Some(created));
    assert_eq!(ledger.outcomes_deleted(coupon()).await.expect("reads"), Some(true));
    let after = recount().await;
    assert!(after.recount.as_ref().is_some_and(|recount| !recount.agrees && recount.outcomes_deleted));
    assert_eq!(Audit { recount: None, ..after }, Audit { recount: None, ..before }, "the tallies stay");
}

/// A grant of a coupon, with terms that expire at this minute.
fn grant(name: u8, coupon: CouponId, minute: u8) -> Settled {
    let mut settled = settled(name, name.into(), issued(1));
    let subject = settled.subject.as_mut().expect("a subject");
    subject.coupon_id = coupon;
    subject.terms.expired_at = Some(format!("2026-01-01T00:{minute:02}:00").parse().expect("a date"));
    settled
}

pub(crate) async fn the_terms_of_grants_are_read_as_written(ledger: &dyn Ledger) {
    let rows = [grant(1, coupon(), 1), grant(2, coupon(), 2), grant(3, coupon(), 1), settled(4, 4, REJECTED)];
    insert(ledger, &rows).await;
    let written = rows[..3].iter().map(|row| (row.request_id, row.subject.as_ref().expect("a subject").terms.clone()));
    let names: Vec<_> = (1..=9).map(|name| RequestId::from([name; 16])).collect();
    assert_eq!(ledger.terms(coupon(), &names).await.expect("reads"), written.collect());
    assert_eq!(ledger.terms(coupon(), &[]).await.expect("reads").len(), 0);
}

pub(crate) async fn the_terms_of_a_campaign_are_deleted_in_bounded_steps(ledger: &dyn Ledger) {
    let other = 105_u64.try_into().expect("in range");
    let rows = [
        grant(1, coupon(), 1),
        grant(2, coupon(), 1),
        grant(3, coupon(), 2),
        grant(4, coupon(), 3),
        grant(5, other, 1),
        grant(6, other, 4),
    ];
    insert(ledger, &rows).await;
    let delete = async |coupon, rows_max| ledger.delete_terms(coupon, rows_max).await.expect("deletes");
    assert_eq!(delete(coupon(), 2).await, 2);
    assert_eq!(delete(coupon(), 2).await, 1);
    assert_eq!(delete(coupon(), 2).await, 0);
    assert_eq!(delete(other, 9).await, 2, "the other campaign has its own");
}

pub(crate) async fn a_campaign_is_expired_until_its_deletion_is_recorded(ledger: &dyn Ledger) {
    let open = NewCampaign { closes_at_ms: None, coupon_id: 7_u64.try_into().expect("in range"), ..campaign(1, 1) };
    ledger.create_campaign(&open).await.expect("creates");
    ledger.create_campaign(&campaign(1, 1)).await.expect("creates");
    let expired =
        async |deletion, before| ledger.expired_campaigns(GroupNo::FIRST, deletion, before, 9).await.expect("reads");
    assert_eq!(expired(Deletion::All, 5_000).await, [], "it closes at 5,000");
    assert_eq!(expired(Deletion::All, now_ms()).await, [coupon()]);
    assert_eq!(expired(Deletion::Rejections, now_ms()).await, [coupon()]);
    ledger.record_deletion(coupon(), Deletion::Rejections).await.expect("stores");
    assert_eq!(expired(Deletion::Rejections, now_ms()).await, []);
    assert_eq!(expired(Deletion::All, now_ms()).await, [coupon()]);
    ledger.record_deletion(coupon(), Deletion::All).await.expect("stores");
    ledger.record_deletion(coupon(), Deletion::Rejections).await.expect("changes nothing");
    assert_eq!(expired(Deletion::All, now_ms()).await, []);

    let before = now_ms();
    ledger.change_campaign(open.coupon_id, CampaignChange::Close, None).await.expect("closes");
    assert_eq!(expired(Deletion::All, before).await, []);
    assert_eq!(expired(Deletion::All, now_ms() + 1).await, [open.coupon_id]);
}
