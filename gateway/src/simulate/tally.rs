//! Counts what happens to requests, simulated ones and recorded ones alike.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::fairness::{Fairness, Unfairness};
use crate::coupon::{Outcome, ShardNo, UserId};

/// What happens to the requests of all measured campaigns.
#[derive(Debug)]
pub(super) struct Tally {
    campaigns: Vec<Fairness>,
    /// By shard number, all campaigns together.
    picked: Vec<u64>,
    granted: u64,
    steals: u64,
    rejected: BTreeMap<&'static str, u64>,
    answered_at: Duration,
    settled_at: Duration,
}

/// A request that is settled.
#[derive(Debug, Clone, Copy)]
pub(super) struct SettledRequest {
    pub(super) campaign: usize,
    pub(super) user: UserId,
    pub(super) picked: ShardNo,
    pub(super) outcome: Outcome,
    pub(super) at: Duration,
}

/// The outcomes of a drop. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcomes {
    /// Requests in the log; each has one outcome.
    pub accepted: u64,
    pub granted: u64,
    /// By reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// The number of times that each shard was picked, all campaigns together.
    pub picked: Vec<u64>,
    /// By how many percent the most picked shard is above the mean.
    pub skew_percent: f64,
    /// Coupons that came from another shard than the picked one.
    pub steals: u64,
    /// Users who asked and got no coupon.
    pub refused_users: u64,
    /// Those of them who arrived more than 50 ms before somebody who got one.
    pub inverted_users: u64,
    /// How much before, at the median. 0 without such a user.
    pub inversion_median_ms: u64,
    /// The most of it.
    pub inversion_max_ms: u64,
    /// Coupons that a single queue in the order of arrival would have given to others.
    pub displaced_coupons: u64,
    /// From the last answer until everything was settled.
    pub drain_ms: u64,
}

impl Tally {
    pub(super) fn new(campaigns: usize, shards: u32) -> Self {
        Self {
            campaigns: (0..campaigns).map(|_| Fairness::default()).collect(),
            picked: vec![0; shards as usize],
            granted: 0,
            steals: 0,
            rejected: BTreeMap::new(),
            answered_at: Duration::ZERO,
            settled_at: Duration::ZERO,
        }
    }

    pub(super) fn measures(&self, campaign: usize) -> bool {
        campaign < self.campaigns.len()
    }

    pub(super) fn ask(&mut self, campaign: usize, user: UserId, at: Duration) {
        self.campaigns[campaign].ask(user, at);
    }

    pub(super) fn answer(&mut self, at: Duration) {
        self.answered_at = self.answered_at.max(at);
    }

    pub(super) fn settle(&mut self, settled: &SettledRequest) {
        self.picked[settled.picked.0 as usize] += 1;
        self.settled_at = self.settled_at.max(settled.at);
        match settled.outcome {
            Outcome::Issued { shard, .. } => {
                self.granted += 1;
                self.steals += u64::from(shard != settled.picked);
                self.campaigns[settled.campaign].serve(settled.user);
            }
            Outcome::Rejected(reason) => *self.rejected.entry(reason.as_str()).or_default() += 1,
        }
    }

    pub(super) fn outcomes(self) -> Outcomes {
        let mut unfairness = Unfairness::default();
        self.campaigns.iter().for_each(|campaign| campaign.add_to(&mut unfairness));
        let Unfairness { refused_users, mut inversions, displaced_coupons } = unfairness;
        inversions.sort_unstable();
        let inversion_ms = |index: usize| inversions.get(index).copied().map_or(0, milliseconds);
        Outcomes {
            accepted: self.picked.iter().sum(),
            granted: self.granted,
            rejected: self.rejected,
            skew_percent: skew_percent(&self.picked),
            picked: self.picked,
            steals: self.steals,
            refused_users,
            inverted_users: inversions.len() as u64,
            inversion_median_ms: inversion_ms(inversions.len() / 2),
            inversion_max_ms: inversion_ms(inversions.len().saturating_sub(1)),
            displaced_coupons,
            drain_ms: milliseconds(self.settled_at.saturating_sub(self.answered_at)),
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// 0 if nothing was picked. Rounded to a hundredth.
fn skew_percent(picked: &[u64]) -> f64 {
    let (sum, most) = (picked.iter().sum::<u64>(), picked.iter().max().copied().unwrap_or(0));
    if sum == 0 {
        return 0.0;
    }
    let ratio = most as f64 * picked.len() as f64 / sum as f64;
    ((ratio - 1.0) * 10_000.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coupon::Reason;

    #[test]
    fn outcomes_of_a_few_requests_add_up() {
        let ms = Duration::from_millis;
        let mut tally = Tally::new(1, 2);
        let issued = |shard| Outcome::Issued { shard: ShardNo(shard), grant_no: 1 };
        let sold_out = Outcome::Rejected(Reason::SoldOut);
        for (user, arrived_ms, picked, outcome) in
            [(1_u64, 0, 0, issued(0)), (2, 10, 0, sold_out), (3, 100, 0, issued(1)), (4, 110, 1, sold_out)]
        {
            let user = UserId::try_from(user).expect("positive");
            tally.ask(0, user, ms(arrived_ms));
            tally.answer(ms(arrived_ms + 1));
            let at = ms(arrived_ms + 50);
            tally.settle(&SettledRequest { campaign: 0, user, picked: ShardNo(picked), outcome, at });
        }
        let expected = Outcomes {
            accepted: 4,
            granted: 2,
            rejected: [("SOLD_OUT", 2)].into(),
            picked: vec![3, 1],
            skew_percent: 50.0,
            steals: 1,
            refused_users: 2,
            inverted_users: 1,
            inversion_median_ms: 90,
            inversion_max_ms: 90,
            displaced_coupons: 1,
            drain_ms: 49,
        };
        assert_eq!(tally.outcomes(), expected);
    }

    #[test]
    fn without_requests_all_is_zero() {
        let outcomes = Tally::new(1, 4).outcomes();
        assert_eq!((outcomes.accepted, outcomes.skew_percent, outcomes.drain_ms), (0, 0.0, 0));
    }
}
