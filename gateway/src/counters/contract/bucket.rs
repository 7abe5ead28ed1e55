//! What a bucket promises.

use super::*;

async fn conforming(counters: &dyn Counters, measure: Measure, subject: Subject, takes: usize) -> usize {
    let mut conforming = 0;
    for _ in 0..takes {
        conforming += usize::from(reserve(counters, measure, subject.again()).await == Measured::Conforming);
    }
    conforming
}

pub(crate) async fn a_bucket_lets_burst_through_and_then_the_rate(counters: Arc<dyn Counters>) {
    let first = somebody();
    let two_in_three_ms = bucket(2, 3, 5);
    assert_eq!(conforming(&*counters, two_in_three_ms, first, 20).await, 5);

    let mut after_burst = 0;
    for ms in 1..=3_000 {
        after_burst += conforming(&*counters, two_in_three_ms, first.after_ms(ms), 2).await;
    }
    assert_eq!(after_burst, 2_000);
}

pub(crate) async fn a_bucket_says_when_the_next_token_comes(counters: Arc<dyn Counters>) {
    let first = somebody();
    let three_a_second = bucket(3, 1_000, 1);
    assert_eq!(reserve(&*counters, three_a_second, first).await, Measured::Conforming);
    let refused = reserve_all(&*counters, HOOK, &[three_a_second], first.after_ms(100)).await;
    assert_eq!((refused.measured[0], refused.added), (Measured::ConformingInMs(234), 0), "333.3 ms, rounded up");
    assert_eq!(reserve(&*counters, three_a_second, first.after_ms(333)).await, Measured::ConformingInMs(1));
    assert_eq!(reserve(&*counters, three_a_second, first.after_ms(334)).await, Measured::Conforming);
}

pub(crate) async fn a_bucket_holds_no_more_than_full(counters: Arc<dyn Counters>) {
    let first = somebody();
    let one_a_second = bucket(1, 1_000, 3);
    reserve(&*counters, one_a_second, first).await;
    assert_eq!(conforming(&*counters, one_a_second, first.after_ms(3_600_000), 10).await, 3);
}

pub(crate) async fn a_token_put_back_can_be_taken_again(counters: Arc<dyn Counters>) {
    let first = somebody();
    let one_a_second = bucket(1, 1_000, 2);
    assert_eq!(conforming(&*counters, one_a_second, first, 5).await, 2);

    release(&*counters, one_a_second, first, 0).await;
    assert_eq!(conforming(&*counters, one_a_second, first, 5).await, 0, "nothing was added, nothing is put back");
    release(&*counters, one_a_second, first, 1).await;
    assert_eq!(conforming(&*counters, one_a_second, first, 5).await, 1);
}

pub(crate) async fn a_full_bucket_takes_no_token_back(counters: Arc<dyn Counters>) {
    let first = somebody();
    let one_a_second = bucket(1, 1_000, 2);
    reserve(&*counters, one_a_second, first).await;
    let full_again = first.after_ms(1_000);
    release(&*counters, one_a_second, full_again, 1).await;
    assert_eq!(conforming(&*counters, one_a_second, full_again, 5).await, 2);
}

pub(crate) async fn who_comes_a_little_late_finds_the_bucket_as_it_is(counters: Arc<dyn Counters>) {
    let first = somebody();
    let ten_a_second = bucket(10, 1_000, 5);
    assert_eq!(reserve(&*counters, ten_a_second, first.after_ms(900)).await, Measured::Conforming);
    assert_eq!(conforming(&*counters, ten_a_second, first, 10).await, 4);
    assert_eq!(conforming(&*counters, ten_a_second, first.after_ms(1_000), 10).await, 1);
}

pub(crate) async fn many_that_race_get_no_more_than_burst(counters: Arc<dyn Counters>) {
    let first = somebody();
    let racing = (0..64).map(|_| first.again()).collect();
    let reserved = take_at_once(counters, bucket(1, 1_000, 10), racing).await;
    assert_eq!(reserved.iter().filter(|measured| **measured == Measured::Conforming).count(), 10);
}
