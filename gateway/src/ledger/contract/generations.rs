//! The generations of the default pipeline and of coupons.

use std::sync::Arc;

use crate::coupon::{CouponId, GenerationNo};
use crate::ledger::generation::{GENERATIONS_MAX, GENERATIONS_OF_A_COUPON_MAX};
use crate::ledger::{GenerationRow, Ledger};

fn coupon(id: u64) -> Option<CouponId> {
    id.try_into().ok()
}

/// A pipeline with one component, which is named in JSON.
fn row(number: GenerationNo, coupon: Option<CouponId>, digest: &str) -> GenerationRow {
    GenerationRow { number, coupon, pipeline: format!("[\"{digest}\"]"), published_at_ms: 5 }
}

async fn publish(ledger: &dyn Ledger, number: GenerationNo, coupon: Option<CouponId>, digest: &str) -> bool {
    let components: [(String, Arc<[u8]>); 1] = [(digest.to_owned(), Arc::from([1, 2, 3]))];
    ledger.publish_generation(&row(number, coupon, digest), &components).await.expect("publishes")
}

async fn has(ledger: &dyn Ledger, digest: &str) -> bool {
    ledger.component(digest).await.expect("reads").is_some()
}

pub(crate) async fn a_generation_is_published_once_with_its_components(ledger: &dyn Ledger) {
    assert!(publish(ledger, 1, None, "d1").await);
    assert!(!publish(ledger, 1, None, "d2").await, "the number is taken");
    assert!(!publish(ledger, 1, coupon(104), "d2").await, "numbers count the generations of all pipelines");
    assert!(publish(ledger, 2, None, "d3").await);
    assert_eq!(ledger.generations(None, 1).await.expect("reads"), [row(2, None, "d3")]);
    assert_eq!(ledger.generations(None, 9).await.expect("reads"), [row(2, None, "d3"), row(1, None, "d1")]);
    assert_eq!(ledger.component("d1").await.expect("reads").map(|stored| stored.bytes), Some(vec![1, 2, 3]));
    assert_eq!(ledger.component("d2").await.expect("reads"), None);
}

pub(crate) async fn each_pipeline_has_generations_of_its_own(ledger: &dyn Ledger) {
    let (one, other) = (coupon(104), coupon(i64::MAX.unsigned_abs()));
    for (number, coupon) in [(1, None), (2, one), (3, other), (4, one), (5, None)] {
        assert!(publish(ledger, number, coupon, "d").await);
    }
    assert_eq!(ledger.generations(one, 9).await.expect("reads"), [row(4, one, "d"), row(2, one, "d")]);
    assert_eq!(ledger.generations(coupon(7), 9).await.expect("reads"), []);
    let newest = async |after, rows_max| ledger.newest_generations(after, rows_max).await.expect("reads");
    assert_eq!(newest(0, 9).await, [row(3, other, "d"), row(4, one, "d"), row(5, None, "d")]);
    assert_eq!(newest(0, 2).await, [row(3, other, "d"), row(4, one, "d")]);
    assert_eq!(newest(4, 9).await, [row(5, None, "d")]);
    assert_eq!(newest(5, 9).await, []);
}

pub(crate) async fn the_number_of_a_deleted_generation_stays_taken(ledger: &dyn Ledger) {
    let last = u64::from(GENERATIONS_OF_A_COUPON_MAX) + 2;
    for number in 1..=last {
        assert!(publish(ledger, number, coupon(104), "d").await);
    }
    let kept = ledger.generations(coupon(104), 99).await.expect("reads");
    assert_eq!(kept.len(), GENERATIONS_OF_A_COUPON_MAX as usize);
    assert!(!publish(ledger, 1, None, "d").await, "by a gateway that was suspended for long");
    assert!(publish(ledger, last + 1, None, "d").await);
}

pub(crate) async fn the_end_of_a_pipeline_deletes_what_only_its_generations_name(ledger: &dyn Ledger) {
    let (one, other) = (coupon(104), coupon(105));
    for (number, coupon, digest) in
        [(1, None, "d1"), (2, one, "d2"), (3, one, "d1"), (4, one, "d4"), (5, other, "d4"), (6, None, "d1")]
    {
        assert!(publish(ledger, number, coupon, digest).await);
    }
    for _ in 0..2 {
        ledger.end_pipeline(one.expect("a coupon")).await.expect("ends");
        assert_eq!(ledger.generations(one, 9).await.expect("reads"), []);
        assert_eq!(ledger.newest_generations(0, 9).await.expect("reads"), [row(5, other, "d4"), row(6, None, "d1")]);
        assert!(!has(ledger, "d2").await && has(ledger, "d1").await && has(ledger, "d4").await);
    }
    assert_eq!(ledger.generations(None, 9).await.expect("reads").len(), 2);
}

pub(crate) async fn the_newest_number_stays_taken_when_its_pipeline_ends(ledger: &dyn Ledger) {
    let (one, other) = (coupon(104), coupon(105));
    for (number, coupon, digest) in [(1, None, "d1"), (2, one, "d2"), (3, other, "d2"), (4, other, "d3")] {
        assert!(publish(ledger, number, coupon, digest).await);
    }
    ledger.end_pipeline(other.expect("a coupon")).await.expect("ends");
    let left = GenerationRow { pipeline: String::new(), ..row(4, other, "") };
    assert!(left.has_ended());
    let newest = ledger.newest_generations(0, 9).await.expect("reads");
    assert_eq!(newest, [row(1, None, "d1"), row(2, one, "d2"), left]);
    assert!(has(ledger, "d2").await && !has(ledger, "d3").await);
    assert!(!publish(ledger, 4, None, "d1").await);
    assert!(publish(ledger, 5, None, "d1").await);
    ledger.end_pipeline(one.expect("a coupon")).await.expect("ends");
    assert_eq!(ledger.generations(other, 9).await.expect("reads"), [], "its number is below the newest one");
    assert_eq!(ledger.newest_generations(0, 9).await.expect("reads"), [row(5, None, "d1")]);
}

pub(crate) async fn components_are_deleted_with_the_last_generation_that_names_them(ledger: &dyn Ledger) {
    let last = u64::from(GENERATIONS_MAX) + 2;
    assert!(publish(ledger, 1, None, "d1").await);
    assert!(publish(ledger, 2, coupon(104), "d2").await);
    for number in 3..last {
        assert!(publish(ledger, number, None, &format!("d{}", number % 2 + 3)).await);
    }
    assert!(has(ledger, "d1").await);
    assert!(publish(ledger, last, None, "d3").await);
    assert!(!has(ledger, "d1").await);
    assert!(has(ledger, "d2").await, "the pipeline of a coupon names it");
    for number in 1..=u64::from(GENERATIONS_OF_A_COUPON_MAX) {
        assert!(has(ledger, "d2").await);
        assert!(publish(ledger, last + number, coupon(104), "d3").await);
    }
    assert!(!has(ledger, "d2").await);
    let kept = ledger.generations(None, 999).await.expect("reads");
    assert_eq!(kept.len(), GENERATIONS_MAX as usize, "changes of a coupon delete none of the default pipeline");
    assert!(has(ledger, "d3").await && has(ledger, "d4").await);
}
