use std::collections::HashSet;

use super::*;

const SEQUENCE: Measure = Measure::Sequence { scope: Scope::Coupon };

pub(crate) async fn a_sequence_increments_by_one(counters: Arc<dyn Counters>) {
    let first = new_subject();
    for number in 0..5 {
        assert_eq!(reserve(&*counters, SEQUENCE, first.another_request()).await, Measured::Sequence(number));
    }
}

pub(crate) async fn concurrent_requests_get_different_sequence_numbers(counters: Arc<dyn Counters>) {
    let first = new_subject();
    let requests = (0..64).map(|_| first.another_request()).collect();
    let measured = reserve_concurrently(counters, SEQUENCE, requests).await;
    let numbers: HashSet<_> = measured
        .into_iter()
        .map(|measured| match measured {
            Measured::Sequence(number) => number,
            other => panic!("expected a number, found {other:?}"),
        })
        .collect();
    assert_eq!(numbers, (0..64).collect());
}

pub(crate) async fn a_released_sequence_number_is_not_reused(counters: Arc<dyn Counters>) {
    let first = new_subject();
    let reserved = reserve_all(&*counters, HOOK, &[SEQUENCE], first).await;
    assert_eq!(reserved.added, 0, "there is nothing to release");
    release(&*counters, SEQUENCE, first, reserved.added).await;
    assert_eq!(reserve(&*counters, SEQUENCE, first.another_request()).await, Measured::Sequence(1));
}

pub(crate) async fn answers_are_in_the_order_of_the_measures(counters: Arc<dyn Counters>) {
    let first = new_subject();
    let measures = [SEQUENCE, bucket(1, 1_000, 1), count(Scope::User, 0), count(Scope::User, 1_000)];
    let reserved = reserve_all(&*counters, HOOK, &measures, first).await;
    assert_eq!(
        reserved.measured[..],
        [Measured::Sequence(0), Measured::Conforming, Measured::Count(1), Measured::Count(1)]
    );
    assert_eq!(reserved.added, 0b1110);

    let reserved = reserve_all(&*counters, HOOK, &measures, first.another_request()).await;
    assert_eq!(
        reserved.measured[..],
        [Measured::Sequence(1), Measured::ConformingInMs(1_000), Measured::Count(2), Measured::Count(2)]
    );
    assert_eq!(reserved.added, 0b1100);
}
