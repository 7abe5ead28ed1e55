//! The contract suite of the [`Counters`] port. Each adapter runs it with one line,
//! `contract_tests!(local => Local::new());`, whose right side may await.
//!
//! Every test uses random users and coupons, so that the suite can run against shared counters that are not empty.

mod bucket;
mod count;
mod key;
mod sequence;

pub(crate) use bucket::*;
pub(crate) use count::*;
pub(crate) use key::*;
pub(crate) use sequence::*;

use std::num::NonZeroU32;
use std::sync::Arc;

use futures_util::future::join_all;

use super::{Added, Counters, Hook, KEY_ADDED, Measure, Measured, PerHook, Reserved, Scope, Subject};
use crate::coupon::{CampaignCounts, CouponId, Fingerprint, RequestId, UnixMs, UserId};

/// Generates one test per promise: all of them, or those listed after the `;`.
macro_rules! contract_tests {
    ($adapter:ident => $counters:expr) => {
        $crate::counters::contract::contract_tests! { $adapter => $counters;
            requests_are_numbered_in_order,
            a_retry_is_counted_once,
            concurrent_requests_get_different_numbers,
            concurrent_retries_are_counted_once,
            a_released_request_is_no_longer_counted,
            releasing_a_retry_leaves_the_first_attempt_counted,
            a_failed_first_attempt_leaves_an_accepted_retry_counted,
            attempts_that_all_fail_leave_nothing_counted_in_either_order,
            the_last_attempt_also_releases_hooks_that_only_an_earlier_one_reached,
            an_attempt_under_another_pipeline_releases_what_an_earlier_one_counted,
            failed_attempts_release_a_request_once,
            a_request_that_was_counted_in_two_windows_is_released_once,
            of_concurrent_attempts_that_fail_nothing_stays_counted,
            requests_leave_a_sliding_window,
            a_retry_does_not_extend_the_stay_in_a_window,
            a_slow_clock_cannot_take_a_number_in_use,
            a_whole_campaign_count_does_not_expire,
            a_forgotten_request_lets_its_user_try_again,
            forgetting_covers_every_hook_and_scope,
            forgetting_covers_only_the_counts_that_hold_the_request,
            forgetting_does_not_change_windows,
            forgetting_an_uncounted_request_changes_nothing,
            forgetting_a_request_again_changes_nothing,
            a_scope_selects_the_requests_of_a_counter,
            hooks_have_separate_counters,
            windows_of_different_lengths_have_separate_counters,
            requests_beyond_the_tracked_ids_are_counted,
            a_bucket_allows_its_burst_and_then_its_rate,
            an_empty_bucket_returns_the_time_to_the_next_token,
            a_bucket_never_holds_more_than_its_burst,
            a_released_token_can_be_taken_again,
            every_failed_attempt_returns_its_own_token,
            a_token_released_to_a_full_bucket_is_lost,
            a_late_request_does_not_rewind_the_bucket,
            concurrent_requests_get_no_more_than_the_burst,
            a_sequence_increments_by_one,
            concurrent_requests_get_different_sequence_numbers,
            a_released_sequence_number_is_not_reused,
            answers_are_in_the_order_of_the_measures,
            a_key_belongs_to_the_first_request_that_claims_it,
            of_requests_that_claim_a_key_at_once_one_gets_it,
            a_key_is_taken_for_every_other_user,
            a_conflict_measures_nothing,
            a_released_key_is_free_and_only_its_holder_releases_it,
            a_key_is_free_once_all_attempts_of_its_request_have_failed,
            a_failed_first_attempt_leaves_the_key_to_an_accepted_retry,
            asking_for_the_holder_of_a_key_claims_nothing,
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
const ARRIVED_AT_MS: UnixMs = 1_800_000_000_000;

/// The first request of a new user for a new coupon.
fn new_subject() -> Subject {
    let random = || rand::random_range(1..=i64::MAX);
    Subject {
        request_id: RequestId::new(),
        attempt: 0,
        coupon_id: CouponId::try_from(random()).expect("in range"),
        user_id: UserId::try_from(random()).expect("in range"),
        arrived_at_ms: ARRIVED_AT_MS,
        fingerprint: None,
        campaign_counts: CampaignCounts::default(),
    }
}

fn new_keyed_subject() -> Subject {
    Subject { fingerprint: Some(Fingerprint(rand::random())), ..new_subject() }
}

impl Subject {
    /// Another request of the same user for the same coupon.
    fn another_request(self) -> Self {
        Self { request_id: RequestId::new(), ..self }
    }

    /// A retry of the same request.
    fn another_attempt(self) -> Self {
        Self { attempt: self.attempt + 1, ..self }
    }

    /// The same request, in a call after the one that claimed its key.
    fn without_key(self) -> Self {
        Self { fingerprint: None, ..self }
    }

    /// The same request, sent later.
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
    counters.reserve(hook, measures, &subject).await.expect("counters available")
}

async fn reserve(counters: &dyn Counters, measure: Measure, subject: Subject) -> Measured {
    reserve_all(counters, HOOK, &[measure], subject).await.measured[0]
}

async fn reserve_concurrently(counters: Arc<dyn Counters>, measure: Measure, subjects: Vec<Subject>) -> Vec<Measured> {
    let reservations = subjects.into_iter().map(|subject| {
        let counters = Arc::clone(&counters);
        tokio::spawn(async move { reserve(&*counters, measure, subject).await })
    });
    join_all(reservations).await.into_iter().map(|measured| measured.expect("the task did not panic")).collect()
}

/// `bits` are those that a call to reserve the measure answered.
async fn release(counters: &dyn Counters, measure: Measure, subject: Subject, bits: u32) {
    release_all(counters, &[measure], subject, bits).await;
}

async fn release_all(counters: &dyn Counters, measures: &[Measure], subject: Subject, bits: u32) {
    counters.release(&subject, &[Added { hook: HOOK, measures, bits }]).await.expect("counters available");
}

async fn forget(counters: &dyn Counters, rejected: &[Subject]) {
    counters.forget(rejected).await.expect("counters available");
}
