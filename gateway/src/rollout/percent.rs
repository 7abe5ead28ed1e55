//! Which users a canary serves.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::coupon::{UserId, mix64};

/// A share of the users, exact to a hundredth of a percent. It leaves some to the active policies: without them, there is
/// nothing to judge a candidate by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "f64", into = "f64")]
#[schema(value_type = f64, minimum = 0, maximum = 99.99)]
pub struct Percent(u16);

/// Of all users.
const WHOLE: u16 = 10_000;

impl Percent {
    pub const ZERO: Self = Self(0);

    /// # Panics
    /// If there are more than 99 of them.
    #[must_use]
    pub const fn of(percent: u16) -> Self {
        assert!(percent < 100);
        Self(percent * 100)
    }

    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// Whether a user belongs to the share. Each salt orders the users differently; a larger share has all users of a
    /// smaller one with the same salt. Every gateway gives the same answer.
    #[must_use]
    pub fn holds(self, user: UserId, salt: u64) -> bool {
        // The hash is uniform, so that its remainder is off by less than one in 10^15.
        mix64(mix64(user.get()) ^ salt) % u64::from(WHOLE) < u64::from(self.0)
    }
}

impl TryFrom<f64> for Percent {
    type Error = String;

    fn try_from(percent: f64) -> Result<Self, String> {
        let hundredths = (percent * 100.0).round();
        let is_exact = (hundredths - percent * 100.0).abs() < 1e-6;
        if (0.0..f64::from(WHOLE)).contains(&hundredths) && is_exact {
            // In range, and whole.
            Ok(Self(hundredths as u16))
        } else {
            Err(format!(
                "expected a number from 0 to 99.99 with at most two decimals, found {percent}: all users are served after \
                 a promotion"
            ))
        }
    }
}

impl From<Percent> for f64 {
    fn from(percent: Percent) -> Self {
        Self::from(percent.0) / 100.0
    }
}

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} %", f64::from(*self))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(number: u64) -> UserId {
        number.try_into().expect("in range")
    }

    #[test]
    fn the_share_of_100_000_users_is_within_a_tenth_of_what_was_asked() {
        for salt in 0..5 {
            let users = (1..=100_000).filter(|number| Percent::of(10).holds(user(*number), salt)).count();
            assert!((9_500..=10_500).contains(&users), "{users}");
        }
    }

    proptest! {
        #[test]
        fn a_larger_share_has_all_users_of_a_smaller_one(number in 1_u64..1 << 53, salt: u64, shares in [0_u16..100, 0..100]) {
            let [smaller, larger] = [shares[0].min(shares[1]), shares[0].max(shares[1])].map(Percent::of);
            prop_assert!(!smaller.holds(user(number), salt) || larger.holds(user(number), salt));
            prop_assert!(!Percent::ZERO.holds(user(number), salt));
        }

        #[test]
        fn json_is_a_number_of_percent(hundredths in 0_u16..10_000) {
            let json = serde_json::to_string(&Percent(hundredths)).expect("JSON");
            prop_assert_eq!(serde_json::from_str::<Percent>(&json).expect("reads"), Percent(hundredths));
        }
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for wrong in ["-1", "100", "0.001", "1e300"] {
            let error = serde_json::from_str::<Percent>(wrong).expect_err(wrong).to_string();
            assert!(error.starts_with("expected a number from 0 to 99.99 with at most two decimals"), "{error}");
        }
    }
}
