//! The users of a scenario, in the order of their requests.

use super::random::Random;
use crate::coupon::UserId;

/// The users of a scenario. By default they ask in turn: everybody once before anybody asks again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crowd {
    /// At least 1.
    pub users: u64,
    /// The exponent of a Zipf distribution, other than 1: the first users ask most often.
    pub zipf: Option<f64>,
    /// The share of requests that is sent again under its Idempotency-Key, once the first attempt is answered.
    pub retries: f64,
    /// Users of their own, which share `bot_share` of all requests.
    pub bots: u64,
    pub bot_share: f64,
}

impl Crowd {
    /// The user of a request. Requests are numbered from 0.
    pub(super) fn user(&self, request_no: u64, random: &mut Random) -> UserId {
        let index = if self.bots > 0 && random.fraction() < self.bot_share {
            self.users + random.below(self.bots)
        } else if let Some(exponent) = self.zipf {
            zipf(random.fraction(), self.users, exponent)
        } else {
            request_no % self.users
        };
        UserId::try_from(index + 1).expect("the scenario bounds the number of users")
    }

    pub(super) fn is_retried(&self, random: &mut Random) -> bool {
        self.retries > 0.0 && random.fraction() < self.retries
    }
}

/// The inverse of the distribution function of a continuous Zipf distribution, as the load test has it.
fn zipf(uniform: f64, users: u64, exponent: f64) -> u64 {
    let power = 1.0 - exponent;
    let rank = (uniform * ((users as f64).powf(power) - 1.0) + 1.0).powf(1.0 / power);
    (rank as u64).clamp(1, users) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::random::Use;

    const IN_TURN: Crowd = Crowd { users: 3, zipf: None, retries: 0.0, bots: 0, bot_share: 0.0 };

    fn users(crowd: &Crowd, requests: u64) -> Vec<u64> {
        let mut random = Random::new(1, Use::Crowd);
        (0..requests).map(|request_no| crowd.user(request_no, &mut random).get()).collect()
    }

    #[test]
    fn users_ask_in_turn() {
        assert_eq!(users(&IN_TURN, 7), [1, 2, 3, 1, 2, 3, 1]);
    }

    #[test]
    fn the_first_users_of_a_zipf_distribution_ask_most_often() {
        let crowd = Crowd { users: 1_000, zipf: Some(1.1), ..IN_TURN };
        let mut counts = [0_u32; 1_001];
        users(&crowd, 100_000).into_iter().for_each(|user| counts[user as usize] += 1);
        assert!(counts[1] > counts[2] && counts[2] > counts[10] && counts[10] > counts[500], "{counts:?}");
        assert!(counts[500..].iter().sum::<u32>() > 0, "the last users ask too");
    }

    #[test]
    fn bots_are_users_of_their_own_and_send_their_share() {
        let crowd = Crowd { bots: 2, bot_share: 0.25, ..IN_TURN };
        let bots = users(&crowd, 40_000).into_iter().filter(|user| *user > 3).count();
        assert!(bots.abs_diff(10_000) < 400, "{bots}");
        assert!(users(&crowd, 1_000).iter().all(|user| (1..=5).contains(user)));
    }

    #[test]
    fn a_share_of_the_requests_is_sent_again() {
        let mut random = Random::new(1, Use::Crowd);
        let crowd = Crowd { retries: 0.2, ..IN_TURN };
        let retried = (0..10_000).filter(|_| crowd.is_retried(&mut random)).count();
        assert!(retried.abs_diff(2_000) < 150, "{retried}");
        assert!(!IN_TURN.is_retried(&mut random));
    }
}
