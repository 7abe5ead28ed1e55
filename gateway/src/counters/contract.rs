//! What every adapter promises: one suite, run by each with one line,
//! `contract_tests!(local => Local::default());`, whose right side may await.
//!
//! Every test makes up its own users and coupons, so that the suite can run against counters that
//! are shared and not empty.

mod bucket;
mod count;
mod sequence;

pub(crate) use bucket::*;
pub(crate) use count::*;
pub(crate) use sequence::*;

use std::num::NonZeroU32;
use std::sync::Arc;

use futures_util::future::join_all;

use super::{Counters, Hook, Measure, Measured, Reserved, Scope, Subject};
use crate::coupon::{CouponId, RequestId, UnixMs, UserId};

/// One test a promise.
macro_rules! contract_tests {
    ($adapter:ident => $counters:expr) => {
        $crate::counters::contract::contract_tests! { $adapter => $counters;
            requests_are_numbered_as_they_come,
            a_retry_is_counted_once,
            two_that_race_for_the_last_place_cannot_both_have_it,
            retries_that_race_are_counted_once,
            what_was_given_back_is_free_again,
            giving_back_a_retry_takes_nothing_away,
            a_window_slides,
            a_window_holds_a_retry_no_longer_than_others,
            a_clock_that_is_behind_takes_no_place_that_is_taken,
            a_whole_campaign_does_not_slide,
            forgetting_lets_a_user_come_again,
            forgetting_reaches_every_hook_and_scope,
            forgetting_leaves_windows_alone,
            forgetting_what_was_never_counted_changes_nothing,
            a_scope_counts_together_what_it_says,
            the_hooks_do_not_see_each_others_counters,
            windows_of_different_lengths_count_apart,
            a_crowd_is_counted_to_the_last,
            a_bucket_lets_burst_through_and_then_the_rate,
            a_bucket_says_when_the_next_token_comes,
            a_bucket_holds_no_more_than_full,
            a_token_put_back_can_be_taken_again,
            a_full_bucket_takes_no_token_back,
            who_comes_a_little_late_finds_the_bucket_as_it_is,
            many_that_race_get_no_more_than_burst,
            a_sequence_goes_up_by_one,
            no_two_that_race_get_the_same_number,
            a_number_given_back_leaves_a_gap,
            answers_stand_in_the_order_of_the_measures,
        }
    };
    ($adapter:ident => $counters:expr; $($promise:ident),+ $(,)?) => {
        mod $adapter {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                $crate::counters::contract::$promise(std::sync::Arc::new($counters)).await;
            })+
        }
    };
}
pub(crate) use contract_tests;

const HOOK: Hook = Hook::UserLimit;
const SOMETIME_MS: UnixMs = 1_800_000_000_000;

/// The first request of a user who was never seen, for a coupon that was never seen.
fn somebody() -> Subject {
    let random = || rand::random_range(1..=i64::MAX);
    Subject {
        request_id: RequestId::new(),
        coupon_id: CouponId::try_from(random()).expect("in range"),
        user_id: UserId::try_from(random()).expect("in range"),
        arrived_at_ms: SOMETIME_MS,
    }
}

impl Subject {
    /// Another request of the same user for the same coupon.
    fn again(self) -> Self {
        Self { request_id: RequestId::new(), ..self }
    }

    /// The same request, so many milliseconds later.
    fn after_ms(self, ms: i64) -> Self {
        Self { arrived_at_ms: self.arrived_at_ms + ms, ..self }
    }
}

const fn count(scope: Scope, window_ms: u64) -> Measure {
    Measure::Count { scope, window_ms }
}

fn bucket(requests: u32, per_ms: u32, burst: u32) -> Measure {
    let at_least_one = |number| NonZeroU32::new(number).expect("at least 1");
    Measure::Bucket {
        scope: Scope::Coupon,
        requests: at_least_one(requests),
        per_ms: at_least_one(per_ms),
        burst: at_least_one(burst),
    }
}

async fn reserve_all(counters: &dyn Counters, hook: Hook, measures: &[Measure], subject: Subject) -> Reserved {
    counters.reserve(hook, measures, &subject).await.expect("in reach")
}

async fn reserve(counters: &dyn Counters, measure: Measure, subject: Subject) -> Measured {
    reserve_all(counters, HOOK, &[measure], subject).await.measured[0]
}

/// The same from a thread each, as near to at once as can be.
async fn take_at_once(counters: Arc<dyn Counters>, measure: Measure, subjects: Vec<Subject>) -> Vec<Measured> {
    let takes = subjects.into_iter().map(|subject| {
        let counters = Arc::clone(&counters);
        tokio::spawn(async move { reserve(&*counters, measure, subject).await })
    });
    join_all(takes).await.into_iter().map(|reserved| reserved.expect("the task did not panic")).collect()
}

async fn release(counters: &dyn Counters, measure: Measure, subject: Subject, added: u32) {
    counters.release(HOOK, &[measure], &subject, added).await.expect("in reach");
}

async fn forget(counters: &dyn Counters, rejected: &[Subject]) {
    counters.forget(rejected).await.expect("in reach");
}
