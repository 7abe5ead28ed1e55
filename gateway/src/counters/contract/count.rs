use super::*;
use crate::counters::TRACKED_IDS_MAX;

const CAMPAIGN: Measure = count(Scope::UserOfCoupon, 0);
const SECOND: Measure = count(Scope::UserOfCoupon, 1_000);
const MINUTE: Measure = count(Scope::UserOfCoupon, 60_000);

pub(crate) async fn requests_are_numbered_in_order(counters: Arc<dyn Counters>) {
    let first = new_subject();
    assert_eq!(reserve(&*counters, CAMPAIGN, first).await, Measured::Count(1));
    assert_eq!(reserve(&*counters, CAMPAIGN, first.another_request()).await, Measured::Count(2));
    assert_eq!(reserve(&*counters, CAMPAIGN, first.another_request()).await, Measured::Count(3));
}

pub(crate) async fn a_retry_is_counted_once(counters: Arc<dyn Counters>) {
    let first = new_subject();
    for measure in [CAMPAIGN, SECOND] {
        let reserved = reserve_all(&*counters, HOOK, &[measure], first).await;
        assert_eq!((reserved.measured[0], reserved.added), (Measured::Count(1), 1));
        reserve(&*counters, measure, first.another_request()).await;

        let retried = reserve_all(&*counters, HOOK, &[measure], first.after_ms(10)).await;
        assert_eq!((retried.measured[0], retried.added), (Measured::Count(1), 0), "it keeps its number");
        assert_eq!(reserve(&*counters, measure, first.another_request()).await, Measured::Count(3));
    }
}

pub(crate) async fn concurrent_requests_get_different_numbers(counters: Arc<dyn Counters>) {
    for measure in [CAMPAIGN, SECOND] {
        let first = new_subject();
        let requests = (0..64).map(|behind_ms| first.another_request().after_ms(-(behind_ms % 3))).collect();
        let numbers = reserve_concurrently(Arc::clone(&counters), measure, requests).await;
        for number in (1..=64).map(Measured::Count) {
            assert_eq!(
                numbers.iter().filter(|measured| **measured == number).count(),
                1,
                "{number:?} belongs to one request"
            );
        }
    }
}

pub(crate) async fn concurrent_retries_are_counted_once(counters: Arc<dyn Counters>) {
    let first = new_subject();
    let numbers = reserve_concurrently(Arc::clone(&counters), CAMPAIGN, vec![first; 64]).await;
    assert_eq!(numbers, vec![Measured::Count(1); 64]);
    assert_eq!(reserve(&*counters, CAMPAIGN, first.another_request()).await, Measured::Count(2));
}

pub(crate) async fn a_released_request_is_no_longer_counted(counters: Arc<dyn Counters>) {
    for measure in [CAMPAIGN, SECOND] {
        let first = new_subject();
        let second = first.another_request();
        reserve(&*counters, measure, first).await;
        reserve(&*counters, measure, second).await;

        release(&*counters, measure, first, 1).await;
        assert_eq!(reserve(&*counters, measure, second).await, Measured::Count(1), "it moves up");
        assert_eq!(reserve(&*counters, measure, first.another_request()).await, Measured::Count(2));
    }
}

pub(crate) async fn releasing_a_retry_leaves_the_first_attempt_counted(counters: Arc<dyn Counters>) {
    let first = new_subject();
    reserve(&*counters, CAMPAIGN, first).await;
    let retry = first.another_attempt();
    let retried = reserve_all(&*counters, HOOK, &[CAMPAIGN], retry).await;
    release(&*counters, CAMPAIGN, retry, retried.added).await;
    assert_eq!(reserve(&*counters, CAMPAIGN, first.another_request()).await, Measured::Count(2));
}

pub(crate) async fn a_failed_first_attempt_leaves_an_accepted_retry_counted(counters: Arc<dyn Counters>) {
    let measures = [CAMPAIGN, MINUTE, count(Scope::Coupon, 60_000)];
    let first = new_keyed_subject();
    let failed = reserve_all(&*counters, HOOK, &measures, first).await;
    let accepted = reserve_all(&*counters, HOOK, &measures, first.another_attempt()).await;
    assert_eq!(accepted.measured[..], [Measured::Count(1); 3]);
    release_all(&*counters, &measures, first, failed.added).await;
    let next = reserve_all(&*counters, HOOK, &measures, first.another_request().without_key()).await;
    assert_eq!(next.measured[..], [Measured::Count(2); 3]);
}

pub(crate) async fn attempts_that_all_fail_leave_nothing_counted_in_either_order(counters: Arc<dyn Counters>) {
    let measures = [CAMPAIGN, MINUTE, count(Scope::Coupon, 60_000)];
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let first = new_keyed_subject();
        let attempts = [0, 1, 2].map(|attempt| Subject { attempt, ..first });
        let mut added = Vec::new();
        for attempt in attempts {
            added.push(reserve_all(&*counters, HOOK, &measures, attempt).await.added);
        }
        for index in order {
            release_all(&*counters, &measures, attempts[index], added[index]).await;
        }
        let next = reserve_all(&*counters, HOOK, &measures, first.another_request()).await;
        assert_eq!((&next.measured[..], next.is_key_taken), (&[Measured::Count(1); 3][..], false), "{order:?}");
    }
}

pub(crate) async fn the_last_attempt_also_releases_hooks_that_only_an_earlier_one_reached(counters: Arc<dyn Counters>) {
    let measures = [CAMPAIGN, MINUTE, count(Scope::Coupon, 60_000)];
    let first = new_keyed_subject();
    let shaped = reserve_all(&*counters, Hook::RateShaper, &[], first).await;
    let limited = reserve_all(&*counters, Hook::UserLimit, &measures, first.without_key()).await;
    let retry = first.another_attempt();
    let shed = reserve_all(&*counters, Hook::RateShaper, &[], retry).await;
    let earlier = [
        Added { hook: Hook::RateShaper, measures: &[], bits: shaped.added },
        Added { hook: Hook::UserLimit, measures: &measures, bits: limited.added },
    ];
    counters.release(&first, &earlier).await.expect("counters available");
    let number = async || {
        let another = first.another_request().without_key();
        let reserved = reserve_all(&*counters, Hook::UserLimit, &measures, another).await;
        let added = [Added { hook: Hook::UserLimit, measures: &measures, bits: reserved.added }];
        counters.release(&another, &added).await.expect("counters available");
        reserved.measured
    };
    assert_eq!(number().await[..], [Measured::Count(2); 3], "the other attempt may still be accepted");
    let last = [Added { hook: Hook::RateShaper, measures: &[], bits: shed.added }];
    counters.release(&retry, &last).await.expect("counters available");
    assert_eq!(number().await[..], [Measured::Count(1); 3]);
}

pub(crate) async fn an_attempt_under_another_pipeline_releases_what_an_earlier_one_counted(
    counters: Arc<dyn Counters>,
) {
    let first = new_keyed_subject();
    let (before, after) = ([MINUTE, CAMPAIGN], [count(Scope::User, 0), MINUTE]);
    let earlier = reserve_all(&*counters, HOOK, &before, first).await;
    let retry = first.another_attempt();
    let last = reserve_all(&*counters, HOOK, &after, retry).await;
    release_all(&*counters, &before, first, earlier.added).await;
    release_all(&*counters, &after, retry, last.added).await;
    for measure in [MINUTE, CAMPAIGN, count(Scope::User, 0)] {
        let next = reserve(&*counters, measure, first.another_request().without_key()).await;
        assert_eq!(next, Measured::Count(1), "{measure:?}");
    }
}

pub(crate) async fn failed_attempts_release_a_request_once(counters: Arc<dyn Counters>) {
    let first = new_keyed_subject();
    let attempts = [0, 1, 2].map(|attempt| Subject { attempt, ..first });
    let mut added = Vec::new();
    for attempt in attempts {
        added.push(reserve_all(&*counters, HOOK, &[CAMPAIGN], attempt).await.added);
    }
    // From here on the request is aggregated, and cannot be told from the others.
    let others = 2 * TRACKED_IDS_MAX as u64;
    for _ in 0..others {
        reserve(&*counters, CAMPAIGN, first.another_request().without_key()).await;
    }
    for (attempt, added) in attempts.into_iter().zip(added) {
        release(&*counters, CAMPAIGN, attempt, added).await;
    }
    let next = reserve(&*counters, CAMPAIGN, first.another_request().without_key()).await;
    assert_eq!(next, Measured::Count(others + 1));
}

pub(crate) async fn a_request_that_was_counted_in_two_windows_is_released_once(counters: Arc<dyn Counters>) {
    let measure = count(Scope::UserOfCoupon, 1_000);
    let first = new_keyed_subject();
    let mut added = Vec::new();
    for attempt in 0..3 {
        let arrived_at_ms = first.arrived_at_ms + i64::from(attempt) * 2_000;
        let attempt = Subject { attempt, arrived_at_ms, ..first };
        added.push((attempt, reserve_all(&*counters, HOOK, &[measure], attempt).await.added));
    }
    let now = Subject { arrived_at_ms: first.arrived_at_ms + 4_000, ..first };
    // From here on the request is aggregated, and cannot be told from the others.
    let others = 2 * TRACKED_IDS_MAX as u64;
    for _ in 0..others {
        reserve(&*counters, measure, now.another_request().without_key()).await;
    }
    for (attempt, added) in added {
        release(&*counters, measure, attempt, added).await;
    }
    let next = reserve(&*counters, measure, now.another_request().without_key()).await;
    assert_eq!(next, Measured::Count(others + 1));
}

pub(crate) async fn of_concurrent_attempts_that_fail_nothing_stays_counted(counters: Arc<dyn Counters>) {
    let first = new_keyed_subject();
    let attempts = (0..32).map(|attempt| {
        let (counters, attempt) = (Arc::clone(&counters), Subject { attempt, ..first });
        tokio::spawn(async move {
            let reserved = reserve_all(&*counters, HOOK, &[CAMPAIGN], attempt).await;
            release(&*counters, CAMPAIGN, attempt, reserved.added).await;
        })
    });
    join_all(attempts).await.into_iter().for_each(|ended| ended.expect("the task did not panic"));
    let next = reserve_all(&*counters, HOOK, &[CAMPAIGN], first.another_request()).await;
    assert_eq!((next.measured[0], next.is_key_taken), (Measured::Count(1), false));
}

pub(crate) async fn requests_leave_a_sliding_window(counters: Arc<dyn Counters>) {
    let first = new_subject();
    reserve(&*counters, SECOND, first).await;
    reserve(&*counters, SECOND, first.another_request().after_ms(600)).await;
    assert_eq!(reserve(&*counters, SECOND, first.another_request().after_ms(999)).await, Measured::Count(3));
    assert_eq!(
        reserve(&*counters, SECOND, first.another_request().after_ms(1_000)).await,
        Measured::Count(3),
        "the first request has left"
    );
    assert_eq!(
        reserve(&*counters, SECOND, first.another_request().after_ms(5_000)).await,
        Measured::Count(1),
        "all requests have left"
    );
}

pub(crate) async fn a_retry_does_not_extend_the_stay_in_a_window(counters: Arc<dyn Counters>) {
    let first = new_subject();
    reserve(&*counters, SECOND, first).await;
    reserve(&*counters, SECOND, first.after_ms(900)).await;
    assert_eq!(reserve(&*counters, SECOND, first.another_request().after_ms(1_000)).await, Measured::Count(1));
}

pub(crate) async fn a_slow_clock_cannot_take_a_number_in_use(counters: Arc<dyn Counters>) {
    let first = new_subject();
    let behind = first.another_request().after_ms(-5);
    assert_eq!(reserve(&*counters, SECOND, first).await, Measured::Count(1));
    assert_eq!(reserve(&*counters, SECOND, behind).await, Measured::Count(2));
    assert_eq!(reserve(&*counters, SECOND, first).await, Measured::Count(1));
    assert_eq!(reserve(&*counters, SECOND, behind).await, Measured::Count(2));
}

pub(crate) async fn a_whole_campaign_count_does_not_expire(counters: Arc<dyn Counters>) {
    let first = new_subject();
    let a_year_ms = 365 * 24 * 3_600_000;
    reserve(&*counters, CAMPAIGN, first).await;
    assert_eq!(reserve(&*counters, CAMPAIGN, first.another_request().after_ms(a_year_ms)).await, Measured::Count(2));
}

pub(crate) async fn a_forgotten_request_lets_its_user_try_again(counters: Arc<dyn Counters>) {
    let rejected = [new_subject(), new_subject(), new_subject()];
    for subject in rejected {
        reserve(&*counters, CAMPAIGN, subject).await;
    }
    forget(&*counters, &rejected).await;
    for subject in rejected {
        assert_eq!(reserve(&*counters, CAMPAIGN, subject.another_request()).await, Measured::Count(1));
    }
}

pub(crate) async fn forgetting_covers_every_hook_and_scope(counters: Arc<dyn Counters>) {
    let first = new_subject();
    let measures = [Scope::UserOfCoupon, Scope::User, Scope::Coupon].map(|scope| count(scope, 0));
    for hook in Hook::ALL {
        reserve_all(&*counters, hook, &measures, first).await;
    }
    forget(&*counters, &[first]).await;
    for hook in Hook::ALL {
        let reserved = reserve_all(&*counters, hook, &measures, first.another_request()).await;
        assert_eq!(reserved.measured[..], [Measured::Count(1); 3], "{}", hook.as_str());
    }
}

pub(crate) async fn forgetting_covers_only_the_counts_that_hold_the_request(counters: Arc<dyn Counters>) {
    let measures = PerHook { user_limit: &[CAMPAIGN][..], ..PerHook::default() };
    let first = Subject { campaign_counts: CampaignCounts::among(measures), ..new_subject() };
    for hook in Hook::ALL {
        reserve_all(&*counters, hook, &[CAMPAIGN], first).await;
    }
    forget(&*counters, &[first]).await;
    for (hook, number) in [(Hook::RateShaper, 2), (Hook::UserLimit, 1), (Hook::ShardPicker, 2)] {
        let reserved = reserve_all(&*counters, hook, &[CAMPAIGN], first.another_request()).await;
        assert_eq!(reserved.measured[..], [Measured::Count(number)], "{}", hook.as_str());
    }
}

pub(crate) async fn forgetting_does_not_change_windows(counters: Arc<dyn Counters>) {
    let first = new_subject();
    reserve(&*counters, SECOND, first).await;
    forget(&*counters, &[first]).await;
    assert_eq!(reserve(&*counters, SECOND, first.another_request()).await, Measured::Count(2));
}

pub(crate) async fn forgetting_an_uncounted_request_changes_nothing(counters: Arc<dyn Counters>) {
    let first = new_subject();
    reserve(&*counters, CAMPAIGN, first).await;
    forget(&*counters, &[first.another_request(), new_subject()]).await;
    assert_eq!(reserve(&*counters, CAMPAIGN, first.another_request()).await, Measured::Count(2));
}

pub(crate) async fn forgetting_a_request_again_changes_nothing(counters: Arc<dyn Counters>) {
    let first = new_subject();
    let others: Vec<_> = (1..TRACKED_IDS_MAX).map(|_| first.another_request()).collect();
    for subject in [&[first][..], &others].concat() {
        reserve(&*counters, CAMPAIGN, subject).await;
    }
    for _ in 0..3 {
        forget(&*counters, &[first]).await;
    }
    let number = Measured::Count(TRACKED_IDS_MAX as u64);
    assert_eq!(reserve(&*counters, CAMPAIGN, first.another_request()).await, number);
}

pub(crate) async fn a_scope_selects_the_requests_of_a_counter(counters: Arc<dyn Counters>) {
    // All tests share the gateway scope: a random window gives this test a counter of its own.
    let window_ms = rand::random_range(1_000_000_000..2_000_000_000);
    let measures = Scope::ALL.map(|scope| count(scope, window_ms));
    let first = new_subject();
    let other_coupon = Subject { coupon_id: new_subject().coupon_id, ..first.another_request() };
    let other_user = Subject { user_id: new_subject().user_id, ..first.another_request() };
    for (subject, numbers) in [(first, [1, 1, 1, 1]), (other_coupon, [1, 2, 1, 2]), (other_user, [1, 1, 2, 3])] {
        let reserved = reserve_all(&*counters, HOOK, &measures, subject).await;
        assert_eq!(reserved.measured[..], numbers.map(Measured::Count));
    }
}

pub(crate) async fn hooks_have_separate_counters(counters: Arc<dyn Counters>) {
    let first = new_subject();
    for hook in Hook::ALL {
        let reserved = reserve_all(&*counters, hook, &[CAMPAIGN], first.another_request()).await;
        assert_eq!(reserved.measured[..], [Measured::Count(1)]);
    }
}

pub(crate) async fn windows_of_different_lengths_have_separate_counters(counters: Arc<dyn Counters>) {
    let first = new_subject();
    let minute = count(Scope::UserOfCoupon, 60_000);
    reserve_all(&*counters, HOOK, &[SECOND, minute], first).await;
    let reserved = reserve_all(&*counters, HOOK, &[SECOND, minute], first.another_request().after_ms(1_000)).await;
    assert_eq!(reserved.measured[..], [Measured::Count(1), Measured::Count(2)]);
}

pub(crate) async fn requests_beyond_the_tracked_ids_are_counted(counters: Arc<dyn Counters>) {
    let tracked = TRACKED_IDS_MAX as u64;
    let first = new_subject();
    for measure in [CAMPAIGN, count(Scope::UserOfCoupon, 60_000)] {
        let requests: Vec<_> = (0..3 * tracked).map(|_| first.another_request()).collect();
        for (subject, number) in requests.iter().zip(1..) {
            assert_eq!(reserve(&*counters, measure, *subject).await, Measured::Count(number));
        }
        for (subject, number) in requests.iter().zip(1..).skip(2 * TRACKED_IDS_MAX) {
            assert_eq!(
                reserve(&*counters, measure, *subject).await,
                Measured::Count(number),
                "the newest requests keep their numbers"
            );
        }
        let a_minute_later = first.another_request().after_ms(60_000);
        let still_counted = if measure == CAMPAIGN { 3 * tracked } else { 0 };
        assert_eq!(reserve(&*counters, measure, a_minute_later).await, Measured::Count(still_counted + 1));
    }
}
