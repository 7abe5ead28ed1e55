//! What a sequence promises, and the order of answers.

use std::collections::HashSet;

use super::*;

const SEQUENCE: Measure = Measure::Sequence { scope: Scope::Coupon };

pub(crate) async fn a_sequence_goes_up_by_one(counters: Arc<dyn Counters>) {
    let first = somebody();
    for number in 0..5 {
        assert_eq!(reserve(&*counters, SEQUENCE, first.again()).await, Measured::Sequence(number));
    }
}

pub(crate) async fn no_two_that_race_get_the_same_number(counters: Arc<dyn Counters>) {
    let first = somebody();
    let racing = (0..64).map(|_| first.again()).collect();
    let reserved = take_at_once(counters, SEQUENCE, racing).await;
    let numbers: HashSet<_> = reserved
        .into_iter()
        .map(|measured| match measured {
            Measured::Sequence(number) => number,
            other => panic!("expected a number, found {other:?}"),
        })
        .collect();
    assert_eq!(numbers, (0..64).collect());
}

pub(crate) async fn a_number_given_back_leaves_a_gap(counters: Arc<dyn Counters>) {
    let first = somebody();
    let reserved = reserve_all(&*counters, HOOK, &[SEQUENCE], first).await;
    assert_eq!(reserved.added, 0, "there is nothing to give back");
    release(&*counters, SEQUENCE, first, reserved.added).await;
    assert_eq!(reserve(&*counters, SEQUENCE, first.again()).await, Measured::Sequence(1));
}

pub(crate) async fn answers_stand_in_the_order_of_the_measures(counters: Arc<dyn Counters>) {
    let first = somebody();
    let measures = [SEQUENCE, bucket(1, 1_000, 1), count(Scope::User, 0), count(Scope::User, 1_000)];
    let reserved = reserve_all(&*counters, HOOK, &measures, first).await;
    assert_eq!(
        reserved.measured,
        [Measured::Sequence(0), Measured::Conforming, Measured::Count(1), Measured::Count(1)]
    );
    assert_eq!(reserved.added, 0b1110);

    let reserved = reserve_all(&*counters, HOOK, &measures, first.again()).await;
    assert_eq!(
        reserved.measured,
        [Measured::Sequence(1), Measured::ConformingInMs(1_000), Measured::Count(2), Measured::Count(2)]
    );
    assert_eq!(reserved.added, 0b1100);
}
