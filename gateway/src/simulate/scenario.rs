//! What is simulated: campaigns, and the requests for them.

use std::time::Duration;

use super::crowd::Crowd;
use super::profile::Profile;
use super::random::{Random, Use};
use crate::coupon::{NewCampaign, RequestId, UserId};

/// Each takes up to 200 bytes of memory.
pub(super) const REQUESTS_MAX: u64 = 10_000_000;

/// Campaigns, and the requests for them.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// With the flooded one, which comes last.
    pub campaigns: Vec<NewCampaign>,
    pub demand: Demand,
}

/// Where the requests come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Demand {
    Crowd {
        profile: Profile,
        crowd: Crowd,
        /// Other requests, for the last campaign. They only keep its partition busy.
        flood: Option<Profile>,
    },
    /// Requests of the past, in the order of their arrival.
    Recorded(Vec<Arrival>),
}

/// A request that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Since the start of the scenario.
    pub at: Duration,
    /// The index of its campaign.
    pub campaign: usize,
    pub user: UserId,
    pub request_id: RequestId,
    pub attempt: Attempt,
}

/// Whether a request is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    Only,
    /// The client repeats the request as soon as it is answered, under the same Idempotency-Key.
    First,
    Second,
}

impl Scenario {
    /// Campaigns that are measured: all but the flooded one.
    #[must_use]
    pub fn measured(&self) -> usize {
        self.campaigns.len() - usize::from(matches!(self.demand, Demand::Crowd { flood: Some(_), .. }))
    }

    /// The number of requests, second attempts left out.
    #[must_use]
    pub fn requests(&self) -> u64 {
        match &self.demand {
            Demand::Crowd { profile, flood, .. } => {
                (profile.requests().ceil() + flood.as_ref().map_or(0.0, |flood| flood.requests().ceil())) as u64
            }
            Demand::Recorded(arrivals) => arrivals.len() as u64,
        }
    }

    /// The requests in the order of their arrival, first attempts only.
    pub(super) fn arrivals(&self, seed: u64) -> Box<dyn Iterator<Item = Arrival> + '_> {
        match &self.demand {
            Demand::Crowd { profile, crowd, flood } => {
                let crowd = self.crowd_arrivals(profile, crowd, seed);
                match flood {
                    Some(flood) => Box::new(merge(crowd, self.flood_arrivals(flood, seed))),
                    None => Box::new(crowd),
                }
            }
            Demand::Recorded(arrivals) => Box::new(arrivals.iter().copied()),
        }
    }

    fn crowd_arrivals(&self, profile: &Profile, crowd: &Crowd, seed: u64) -> impl Iterator<Item = Arrival> {
        let campaigns = self.measured();
        let mut random = Random::new(seed, Use::Crowd);
        (0..).zip(profile.arrivals()).map(move |(request_no, at)| {
            let user = crowd.user(request_no, &mut random);
            let attempt = if crowd.is_retried(&mut random) { Attempt::First } else { Attempt::Only };
            let campaign = (request_no % campaigns as u64) as usize;
            Arrival { at, campaign, user, request_id: random.request_id(), attempt }
        })
    }

    /// Every request is of another user.
    fn flood_arrivals(&self, profile: &Profile, seed: u64) -> impl Iterator<Item = Arrival> {
        let campaign = self.campaigns.len() - 1;
        let mut random = Random::new(seed, Use::Flood);
        (1_u64..).zip(profile.arrivals()).map(move |(user, at)| {
            let user = UserId::try_from(user).expect("the scenario bounds the number of requests");
            Arrival { at, campaign, user, request_id: random.request_id(), attempt: Attempt::Only }
        })
    }
}

/// Of two streams in order, one in order.
fn merge(left: impl Iterator<Item = Arrival>, right: impl Iterator<Item = Arrival>) -> impl Iterator<Item = Arrival> {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    std::iter::from_fn(move || match (left.peek(), right.peek()) {
        (Some(first), Some(second)) if second.at < first.at => right.next(),
        (Some(_), _) => left.next(),
        (None, _) => right.next(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn campaign(coupon: u64) -> NewCampaign {
        NewCampaign {
            coupon_id: coupon.try_into().expect("positive"),
            policy_id: 1_u64.try_into().expect("positive"),
            total: 1,
            shards: 1,
            per_user_limit: 1,
            opens_at_ms: None,
            closes_at_ms: None,
        }
    }

    fn scenario(campaigns: u64, flood: Option<Profile>) -> Scenario {
        let crowd = Crowd { users: 100, zipf: None, retries: 0.5, bots: 0, bot_share: 0.0 };
        let profile = Profile::constant(100.0, Duration::from_secs(1));
        Scenario { campaigns: (1..=campaigns).map(campaign).collect(), demand: Demand::Crowd { profile, crowd, flood } }
    }

    #[test]
    fn the_same_seed_gives_the_same_requests_and_another_seed_others() {
        let scenario = scenario(3, None);
        let arrivals = |seed| scenario.arrivals(seed).collect::<Vec<_>>();
        assert_eq!(arrivals(1), arrivals(1));
        assert_ne!(arrivals(1), arrivals(2));
        assert_eq!(arrivals(1).len() as u64, scenario.requests());
    }

    #[test]
    fn requests_are_for_the_campaigns_in_turn() {
        let campaigns: Vec<_> = scenario(3, None).arrivals(1).take(4).map(|arrival| arrival.campaign).collect();
        assert_eq!(campaigns, [0, 1, 2, 0]);
    }

    #[test]
    fn a_flood_is_merged_in_order_and_only_for_the_last_campaign() {
        let scenario = scenario(2, Some(Profile::constant(50.0, Duration::from_secs(2))));
        let arrivals: Vec<_> = scenario.arrivals(1).collect();
        assert!(arrivals.is_sorted_by_key(|arrival| arrival.at));
        assert_eq!((arrivals.len() as u64, scenario.requests(), scenario.measured()), (200, 200, 1));
        assert_eq!(arrivals.iter().filter(|arrival| arrival.campaign == 1).count(), 100);
    }
}
