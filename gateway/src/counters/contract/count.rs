//! What a count promises.

use super::*;
use crate::counters::COUNTED_BY_NAME;

const CAMPAIGN: Measure = count(Scope::UserOfCoupon, 0);
const SECOND: Measure = count(Scope::UserOfCoupon, 1_000);

pub(crate) async fn requests_are_numbered_as_they_come(counters: Arc<dyn Counters>) {
    let first = somebody();
    assert_eq!(reserve(&*counters, CAMPAIGN, first).await, Measured::Count(1));
    assert_eq!(reserve(&*counters, CAMPAIGN, first.again()).await, Measured::Count(2));
    assert_eq!(reserve(&*counters, CAMPAIGN, first.again()).await, Measured::Count(3));
}

pub(crate) async fn a_retry_is_counted_once(counters: Arc<dyn Counters>) {
    let first = somebody();
    for measure in [CAMPAIGN, SECOND] {
        let reserved = reserve_all(&*counters, HOOK, &[measure], first).await;
        assert_eq!((reserved.measured[0], reserved.added), (Measured::Count(1), 1));
        reserve(&*counters, measure, first.again()).await;

        let retried = reserve_all(&*counters, HOOK, &[measure], first.after_ms(10)).await;
        assert_eq!((retried.measured[0], retried.added), (Measured::Count(1), 0), "it keeps its place");
        assert_eq!(reserve(&*counters, measure, first.again()).await, Measured::Count(3));
    }
}

pub(crate) async fn two_that_race_for_the_last_place_cannot_both_have_it(counters: Arc<dyn Counters>) {
    for measure in [CAMPAIGN, SECOND] {
        let first = somebody();
        let racing = (0..64).map(|behind_ms| first.again().after_ms(-(behind_ms % 3))).collect();
        let places = take_at_once(Arc::clone(&counters), measure, racing).await;
        for place in (1..=64).map(Measured::Count) {
            assert_eq!(
                places.iter().filter(|reserved| **reserved == place).count(),
                1,
                "{place:?} is somebody's alone"
            );
        }
    }
}

pub(crate) async fn retries_that_race_are_counted_once(counters: Arc<dyn Counters>) {
    let first = somebody();
    let places = take_at_once(Arc::clone(&counters), CAMPAIGN, vec![first; 64]).await;
    assert_eq!(places, vec![Measured::Count(1); 64]);
    assert_eq!(reserve(&*counters, CAMPAIGN, first.again()).await, Measured::Count(2));
}

pub(crate) async fn what_was_given_back_is_free_again(counters: Arc<dyn Counters>) {
    for measure in [CAMPAIGN, SECOND] {
        let first = somebody();
        let second = first.again();
        reserve(&*counters, measure, first).await;
        reserve(&*counters, measure, second).await;

        release(&*counters, measure, first, 1).await;
        assert_eq!(reserve(&*counters, measure, second).await, Measured::Count(1), "it moves up");
        assert_eq!(reserve(&*counters, measure, first.again()).await, Measured::Count(2));
    }
}

pub(crate) async fn giving_back_a_retry_takes_nothing_away(counters: Arc<dyn Counters>) {
    let first = somebody();
    reserve(&*counters, CAMPAIGN, first).await;
    let retried = reserve_all(&*counters, HOOK, &[CAMPAIGN], first).await;
    release(&*counters, CAMPAIGN, first, retried.added).await;
    assert_eq!(reserve(&*counters, CAMPAIGN, first.again()).await, Measured::Count(2));
}

pub(crate) async fn a_window_slides(counters: Arc<dyn Counters>) {
    let first = somebody();
    reserve(&*counters, SECOND, first).await;
    reserve(&*counters, SECOND, first.again().after_ms(600)).await;
    assert_eq!(reserve(&*counters, SECOND, first.again().after_ms(999)).await, Measured::Count(3));
    assert_eq!(
        reserve(&*counters, SECOND, first.again().after_ms(1_000)).await,
        Measured::Count(3),
        "the first has left"
    );
    assert_eq!(reserve(&*counters, SECOND, first.again().after_ms(5_000)).await, Measured::Count(1), "all have left");
}

pub(crate) async fn a_window_holds_a_retry_no_longer_than_others(counters: Arc<dyn Counters>) {
    let first = somebody();
    reserve(&*counters, SECOND, first).await;
    reserve(&*counters, SECOND, first.after_ms(900)).await;
    assert_eq!(reserve(&*counters, SECOND, first.again().after_ms(1_000)).await, Measured::Count(1));
}

pub(crate) async fn a_clock_that_is_behind_takes_no_place_that_is_taken(counters: Arc<dyn Counters>) {
    let first = somebody();
    let behind = first.again().after_ms(-5);
    assert_eq!(reserve(&*counters, SECOND, first).await, Measured::Count(1));
    assert_eq!(reserve(&*counters, SECOND, behind).await, Measured::Count(2));
    assert_eq!(reserve(&*counters, SECOND, first).await, Measured::Count(1));
    assert_eq!(reserve(&*counters, SECOND, behind).await, Measured::Count(2));
}

pub(crate) async fn a_whole_campaign_does_not_slide(counters: Arc<dyn Counters>) {
    let first = somebody();
    let a_year_ms = 365 * 24 * 3_600_000;
    reserve(&*counters, CAMPAIGN, first).await;
    assert_eq!(reserve(&*counters, CAMPAIGN, first.again().after_ms(a_year_ms)).await, Measured::Count(2));
}

pub(crate) async fn forgetting_lets_a_user_come_again(counters: Arc<dyn Counters>) {
    let rejected = [somebody(), somebody(), somebody()];
    for subject in rejected {
        reserve(&*counters, CAMPAIGN, subject).await;
    }
    forget(&*counters, &rejected).await;
    for subject in rejected {
        assert_eq!(reserve(&*counters, CAMPAIGN, subject.again()).await, Measured::Count(1));
    }
}

pub(crate) async fn forgetting_reaches_every_hook_and_scope(counters: Arc<dyn Counters>) {
    let first = somebody();
    let measures = [Scope::UserOfCoupon, Scope::User, Scope::Coupon].map(|scope| count(scope, 0));
    for hook in Hook::ALL {
        reserve_all(&*counters, hook, &measures, first).await;
    }
    forget(&*counters, &[first]).await;
    for hook in Hook::ALL {
        let reserved = reserve_all(&*counters, hook, &measures, first.again()).await;
        assert_eq!(reserved.measured, [Measured::Count(1); 3], "{}", hook.as_str());
    }
}

pub(crate) async fn forgetting_leaves_windows_alone(counters: Arc<dyn Counters>) {
    let first = somebody();
    reserve(&*counters, SECOND, first).await;
    forget(&*counters, &[first]).await;
    assert_eq!(reserve(&*counters, SECOND, first.again()).await, Measured::Count(2));
}

pub(crate) async fn forgetting_what_was_never_counted_changes_nothing(counters: Arc<dyn Counters>) {
    let first = somebody();
    reserve(&*counters, CAMPAIGN, first).await;
    forget(&*counters, &[first.again(), somebody()]).await;
    assert_eq!(reserve(&*counters, CAMPAIGN, first.again()).await, Measured::Count(2));
}

pub(crate) async fn a_scope_counts_together_what_it_says(counters: Arc<dyn Counters>) {
    // The gateway's own count is everybody's: a window that nobody else has makes it this test's.
    let window_ms = rand::random_range(1_000_000_000..2_000_000_000);
    let measures = Scope::ALL.map(|scope| count(scope, window_ms));
    let first = somebody();
    let other_coupon = Subject { coupon_id: somebody().coupon_id, ..first.again() };
    let other_user = Subject { user_id: somebody().user_id, ..first.again() };
    for (subject, places) in [(first, [1, 1, 1, 1]), (other_coupon, [1, 2, 1, 2]), (other_user, [1, 1, 2, 3])] {
        let reserved = reserve_all(&*counters, HOOK, &measures, subject).await;
        assert_eq!(reserved.measured, places.map(Measured::Count));
    }
}

pub(crate) async fn the_hooks_do_not_see_each_others_counters(counters: Arc<dyn Counters>) {
    let first = somebody();
    for hook in Hook::ALL {
        let reserved = reserve_all(&*counters, hook, &[CAMPAIGN], first.again()).await;
        assert_eq!(reserved.measured, [Measured::Count(1)]);
    }
}

pub(crate) async fn windows_of_different_lengths_count_apart(counters: Arc<dyn Counters>) {
    let first = somebody();
    let minute = count(Scope::UserOfCoupon, 60_000);
    reserve_all(&*counters, HOOK, &[SECOND, minute], first).await;
    let reserved = reserve_all(&*counters, HOOK, &[SECOND, minute], first.again().after_ms(1_000)).await;
    assert_eq!(reserved.measured, [Measured::Count(1), Measured::Count(2)]);
}

pub(crate) async fn a_crowd_is_counted_to_the_last(counters: Arc<dyn Counters>) {
    let by_name = COUNTED_BY_NAME as u64;
    let anybody = somebody();
    for measure in [CAMPAIGN, count(Scope::UserOfCoupon, 60_000)] {
        let crowd: Vec<_> = (0..3 * by_name).map(|_| anybody.again()).collect();
        for (subject, place) in crowd.iter().zip(1..) {
            assert_eq!(reserve(&*counters, measure, *subject).await, Measured::Count(place));
        }
        for (subject, place) in crowd.iter().zip(1..).skip(2 * COUNTED_BY_NAME) {
            assert_eq!(
                reserve(&*counters, measure, *subject).await,
                Measured::Count(place),
                "the newest keep their place"
            );
        }
        let a_minute_later = anybody.again().after_ms(60_000);
        let still_counted = if measure == CAMPAIGN { 3 * by_name } else { 0 };
        assert_eq!(reserve(&*counters, measure, a_minute_later).await, Measured::Count(still_counted + 1));
    }
}
