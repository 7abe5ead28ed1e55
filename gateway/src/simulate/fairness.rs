//! How far the outcomes of a campaign depart from "first come, first served".
//!
//! A single queue in the order of arrival serves the first users and no others. It has no inversions and no displaced
//! coupons, so 0 is the best value of both.

use std::collections::HashMap;
use std::time::Duration;

use crate::coupon::UserId;

/// Two arrivals less than this apart have no order: the network may have swapped them.
const TOLERANCE: Duration = Duration::from_millis(50);

/// The users of one campaign.
#[derive(Debug, Default)]
pub(super) struct Fairness {
    users: HashMap<UserId, Visit>,
}

#[derive(Debug)]
struct Visit {
    /// The first request of the user.
    arrived: Duration,
    is_served: bool,
}

/// Of one campaign, or of several together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Unfairness {
    /// Users who asked and got nothing.
    pub(super) refused_users: u64,
    /// For each of them who arrived before somebody who was served: how much before.
    pub(super) inversions: Vec<Duration>,
    /// Coupons of users who arrived after all those whom a single queue would have served.
    pub(super) displaced_coupons: u64,
}

impl Fairness {
    pub(super) fn ask(&mut self, user: UserId, at: Duration) {
        let visit = self.users.entry(user).or_insert(Visit { arrived: at, is_served: false });
        visit.arrived = visit.arrived.min(at);
    }

    pub(super) fn serve(&mut self, user: UserId) {
        if let Some(visit) = self.users.get_mut(&user) {
            visit.is_served = true;
        }
    }

    /// Adds this campaign to others.
    pub(super) fn add_to(&self, sum: &mut Unfairness) {
        let arrivals = |is_served| {
            let visits = self.users.values().filter(move |visit| visit.is_served == is_served);
            visits.map(|visit| visit.arrived)
        };
        let served = arrivals(true).count();
        sum.refused_users += (self.users.len() - served) as u64;
        let Some(last_served) = arrivals(true).max() else { return };
        let before = arrivals(false).map(|arrived| last_served.saturating_sub(arrived));
        sum.inversions.extend(before.filter(|before| *before > TOLERANCE));
        let mut queue: Vec<_> = self.users.values().map(|visit| visit.arrived).collect();
        let (_, last_in_queue, _) = queue.select_nth_unstable(served - 1);
        let limit = *last_in_queue + TOLERANCE;
        sum.displaced_coupons += arrivals(true).filter(|arrived| *arrived > limit).count() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Users with their arrival in milliseconds, and whether they are served.
    fn unfairness(visits: &[(u64, bool)]) -> Unfairness {
        let mut fairness = Fairness::default();
        for (user, (arrived_ms, is_served)) in (1_u64..).zip(visits) {
            let user = user.try_into().expect("positive");
            fairness.ask(user, Duration::from_millis(*arrived_ms));
            if *is_served {
                fairness.serve(user);
            }
        }
        let mut sum = Unfairness::default();
        fairness.add_to(&mut sum);
        sum.inversions.sort_unstable();
        sum
    }

    #[test]
    fn a_queue_in_the_order_of_arrival_has_no_inversion() {
        let fair = unfairness(&[(0, true), (100, true), (200, false), (300, false)]);
        assert_eq!(fair, Unfairness { refused_users: 2, ..Unfairness::default() });
    }

    #[test]
    fn refused_users_who_arrived_more_than_50_ms_before_the_last_served_one_are_inversions() {
        let unfair = unfairness(&[(0, false), (100, true), (250, false), (249, false), (300, true), (900, false)]);
        let inversions = [51, 300].map(Duration::from_millis).to_vec();
        assert_eq!(unfair, Unfairness { refused_users: 4, inversions, displaced_coupons: 1 });
    }

    #[test]
    fn without_a_coupon_nobody_was_passed_over() {
        assert_eq!(unfairness(&[(0, false)]), Unfairness { refused_users: 1, ..Unfairness::default() });
        assert_eq!(unfairness(&[]), Unfairness::default());
    }

    #[test]
    fn the_first_request_of_a_user_counts() {
        let user = 1_u64.try_into().expect("positive");
        let mut fairness = Fairness::default();
        for ms in [500, 20, 700] {
            fairness.ask(user, Duration::from_millis(ms));
        }
        assert_eq!(fairness.users[&user].arrived, Duration::from_millis(20));
    }
}
