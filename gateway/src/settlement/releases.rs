//! The rejected requests of one partition that the counters still have to forget.
//!
//! Settlement never waits for the counters. What does not fit here, because they are down, is read again from the log
//! later: the ledger stores the [released offset](Releases::released), and a claim starts there.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::counters::{Counters, Subject, Unavailable};
use crate::coupon::Offset;

/// Bounds how late a user may try again after the counters are back.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// Requests that one call forgets. More would delay the calls of gateways.
const FORGET_MAX: usize = 1024;

/// A request that settlement rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rejected {
    pub(super) offset: Offset,
    pub(super) subject: Subject,
}

pub(super) struct Releases {
    counters: Arc<dyn Counters>,
    pending_max: usize,
    state: Mutex<State>,
    added: Notify,
}

#[derive(Default)]
struct State {
    /// In the order of their offsets.
    pending: VecDeque<Rejected>,
    /// Every request before this offset is forgotten, pending or not rejected.
    reached: Offset,
}

impl Releases {
    pub(super) fn new(counters: Arc<dyn Counters>, pending_max: usize) -> Self {
        Self { counters, pending_max, state: Mutex::default(), added: Notify::new() }
    }

    /// Begins with a new claim: everything before `released` is forgotten.
    pub(super) fn restart(&self, released: Offset) {
        *self.lock() = State { pending: VecDeque::new(), reached: released };
    }

    /// Adds the rejected requests among those from `from` to before `to`. Does nothing if earlier ones are missing, or
    /// if there is no room: then [`reached`](Self::reached) falls behind the settled offset.
    pub(super) fn add(&self, from: Offset, to: Offset, rejected: &[Rejected]) {
        let mut state = self.lock();
        if from < state.reached {
            // The ledger lost commits, and these requests were settled again.
            state.pending.retain(|pending| pending.offset < from);
        } else if from > state.reached {
            return;
        }
        if state.pending.len() + rejected.len() <= self.pending_max {
            state.pending.extend(rejected);
            state.reached = to;
            self.added.notify_one();
        } else {
            state.reached = from;
        }
    }

    /// Where the next requests to add begin.
    pub(super) fn reached(&self) -> Offset {
        self.lock().reached
    }

    /// Before this offset, the counters have forgotten every rejected request.
    pub(super) fn released(&self) -> Offset {
        let state = self.lock();
        state.pending.front().map_or(state.reached, |pending| pending.offset)
    }

    pub(super) fn has_room_for(&self, requests: usize) -> bool {
        self.lock().pending.len() + requests <= self.pending_max
    }

    /// Forgets what is added, for ever.
    pub(super) async fn run(&self) -> Infallible {
        loop {
            self.added.notified().await;
            let mut is_logged = false;
            while let Err(error) = self.flush().await {
                if !is_logged {
                    tracing::warn!(%error, "rejected requests stay counted until the counters are back");
                    is_logged = true;
                }
                tokio::time::sleep(RETRY_EVERY).await;
            }
        }
    }

    /// Forgets everything that is pending, up to the first failure. Dropped at any point, it may forget a request
    /// twice, which changes nothing.
    pub(super) async fn flush(&self) -> Result<(), Unavailable> {
        loop {
            let batch: Vec<Rejected> = self.lock().pending.iter().take(FORGET_MAX).copied().collect();
            if batch.is_empty() {
                return Ok(());
            }
            let subjects: Vec<Subject> = batch.iter().map(|rejected| rejected.subject).collect();
            self.counters.forget(&subjects).await?;
            let mut state = self.lock();
            for forgotten in &batch {
                // Meanwhile a new claim may have replaced them.
                state.pending.pop_front_if(|pending| pending == forgotten);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::local::Local;
    use crate::coupon::{CampaignCounts, RequestId};

    const PENDING_MAX: usize = 3;

    fn releases() -> Releases {
        Releases::new(Arc::new(Local::new()), PENDING_MAX)
    }

    fn rejected(offset: Offset) -> Rejected {
        let subject = Subject {
            request_id: RequestId::new(),
            attempt: 0,
            coupon_id: 104_u64.try_into().expect("in range"),
            user_id: 7_u64.try_into().expect("in range"),
            arrived_at_ms: 0,
            fingerprint: None,
            campaign_counts: CampaignCounts::default(),
        };
        Rejected { offset, subject }
    }

    #[tokio::test]
    async fn the_released_offset_stops_at_the_first_request_that_is_not_forgotten() {
        let releases = releases();
        releases.restart(10);
        releases.add(10, 20, &[rejected(14), rejected(17)]);
        assert_eq!((releases.released(), releases.reached()), (14, 20));
        releases.flush().await.expect("available");
        assert_eq!((releases.released(), releases.reached()), (20, 20));
        releases.add(20, 30, &[]);
        assert_eq!(releases.released(), 30);
    }

    #[tokio::test]
    async fn what_has_no_room_is_left_for_later_and_holds_back_the_released_offset() {
        let releases = releases();
        releases.add(0, 2, &[rejected(0), rejected(1)]);
        assert!(!releases.has_room_for(2));
        releases.add(2, 4, &[rejected(2), rejected(3)]);
        releases.add(4, 5, &[]);
        releases.flush().await.expect("available");
        assert_eq!((releases.released(), releases.reached()), (2, 2));
        releases.add(2, 5, &[rejected(2), rejected(3)]);
        releases.flush().await.expect("available");
        assert_eq!(releases.released(), 5);
    }

    #[test]
    fn requests_that_are_settled_again_replace_their_first_outcome() {
        let releases = releases();
        releases.add(0, 9, &[rejected(2), rejected(7)]);
        let again = rejected(6);
        releases.add(5, 9, &[again]);
        assert_eq!(releases.lock().pending.back(), Some(&again));
        assert_eq!((releases.released(), releases.reached()), (2, 9));
    }

    #[tokio::test]
    async fn a_new_claim_keeps_nothing_of_the_one_before() {
        let releases = releases();
        releases.add(0, 9, &[rejected(2)]);
        releases.restart(4);
        assert_eq!((releases.released(), releases.reached()), (4, 4));
    }
}
