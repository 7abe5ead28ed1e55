use super::*;

async fn conforming(counters: &dyn Counters, measure: Measure, subject: Subject, requests: usize) -> usize {
    let mut conforming = 0;
    for _ in 0..requests {
        conforming += usize::from(reserve(counters, measure, subject.another_request()).await == Measured::Conforming);
    }
    conforming
}

pub(crate) async fn a_bucket_allows_its_burst_and_then_its_rate(counters: Arc<dyn Counters>) {
    let first = new_subject();
    let two_in_three_ms = bucket(2, 3, 5);
    assert_eq!(conforming(&*counters, two_in_three_ms, first, 20).await, 5);

    let mut after_burst = 0;
    for ms in 1..=300 {
        after_burst += conforming(&*counters, two_in_three_ms, first.after_ms(ms), 2).await;
    }
    assert_eq!(after_burst, 200);
}

pub(crate) async fn an_empty_bucket_returns_the_time_to_the_next_token(counters: Arc<dyn Counters>) {
    let first = new_subject();
    let three_a_second = bucket(3, 1_000, 1);
    assert_eq!(reserve(&*counters, three_a_second, first).await, Measured::Conforming);
    let refused = reserve_all(&*counters, HOOK, &[three_a_second], first.after_ms(100)).await;
    assert_eq!((refused.measured[0], refused.added), (Measured::ConformingInMs(234), 0), "333.3 ms, rounded up");
    assert_eq!(reserve(&*counters, three_a_second, first.after_ms(333)).await, Measured::ConformingInMs(1));
    assert_eq!(reserve(&*counters, three_a_second, first.after_ms(334)).await, Measured::Conforming);
}

pub(crate) async fn a_bucket_never_holds_more_than_its_burst(counters: Arc<dyn Counters>) {
    let first = new_subject();
    let one_a_second = bucket(1, 1_000, 3);
    reserve(&*counters, one_a_second, first).await;
    assert_eq!(conforming(&*counters, one_a_second, first.after_ms(3_600_000), 10).await, 3);
}

pub(crate) async fn a_released_token_can_be_taken_again(counters: Arc<dyn Counters>) {
    let first = new_subject();
    let one_a_second = bucket(1, 1_000, 2);
    assert_eq!(conforming(&*counters, one_a_second, first, 5).await, 2);

    release(&*counters, one_a_second, first, 0).await;
    assert_eq!(conforming(&*counters, one_a_second, first, 5).await, 0, "nothing was added, so nothing is released");
    release(&*counters, one_a_second, first, 1).await;
    assert_eq!(conforming(&*counters, one_a_second, first, 5).await, 1);
}

pub(crate) async fn every_failed_attempt_returns_its_own_token(counters: Arc<dyn Counters>) {
    let first = new_keyed_subject();
    let without_key = first.without_key();
    let one_a_second = bucket(1, 1_000, 2);
    let attempts = [first, first.another_attempt()];
    for attempt in attempts {
        let reserved = reserve_all(&*counters, HOOK, &[one_a_second], attempt).await;
        assert_eq!((reserved.measured[0], reserved.added), (Measured::Conforming, 1 | KEY_ADDED));
    }
    assert_eq!(conforming(&*counters, one_a_second, without_key, 5).await, 0);
    for attempt in attempts {
        release(&*counters, one_a_second, attempt, 1 | KEY_ADDED).await;
        assert_eq!(conforming(&*counters, one_a_second, without_key, 5).await, 1);
    }
}

pub(crate) async fn a_token_released_to_a_full_bucket_is_lost(counters: Arc<dyn Counters>) {
    let first = new_subject();
    let one_a_second = bucket(1, 1_000, 2);
    reserve(&*counters, one_a_second, first).await;
    let full_again = first.after_ms(1_000);
    release(&*counters, one_a_second, full_again, 1).await;
    assert_eq!(conforming(&*counters, one_a_second, full_again, 5).await, 2);
}

pub(crate) async fn a_late_request_does_not_rewind_the_bucket(counters: Arc<dyn Counters>) {
    let first = new_subject();
    let ten_a_second = bucket(10, 1_000, 5);
    assert_eq!(reserve(&*counters, ten_a_second, first.after_ms(900)).await, Measured::Conforming);
    assert_eq!(conforming(&*counters, ten_a_second, first, 10).await, 4);
    assert_eq!(conforming(&*counters, ten_a_second, first.after_ms(1_000), 10).await, 1);
}

pub(crate) async fn concurrent_requests_get_no_more_than_the_burst(counters: Arc<dyn Counters>) {
    let first = new_subject();
    let requests = (0..64).map(|_| first.another_request()).collect();
    let measured = reserve_concurrently(counters, bucket(1, 1_000, 10), requests).await;
    assert_eq!(measured.iter().filter(|measured| **measured == Measured::Conforming).count(), 10);
}
