//! Admits a share of the users of each coupon, drawn by a hash. Other users are refused with `NOT_DRAWN`.
//!
//! The draw needs no counter: the same user, coupon and salt always give the same result, on every gateway and after
//! every restart. A higher ratio keeps the users who were drawn and adds others. Another salt draws anew.

use serde::Deserialize;
use sluice_policy::rate_shaper::{Load, Shaping};
use sluice_policy::{Configuration, Measured, Rejection, Request, mix};

#[derive(Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// The share of the users that are drawn, from 0 to 1.
    ratio: f64,
    /// Draws with different salts are independent.
    salt: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { ratio: 1.0, salt: 0 }
    }
}

impl Configuration for Config {
    fn validate(&self) -> Result<(), String> {
        if (0.0..=1.0).contains(&self.ratio) {
            Ok(())
        } else {
            Err(format!("ratio: expected a number from 0 to 1, got {}", self.ratio))
        }
    }
}

fn decide(config: &Config, request: &Request, _: &[Measured], _: &Load) -> Shaping {
    if ticket(config.salt, request) < config.ratio {
        Shaping::Pass
    } else {
        Shaping::Shed(Rejection::permanent("NOT_DRAWN"))
    }
}

/// A number from 0 to below 1, which depends only on salt, coupon and user.
fn ticket(salt: u32, request: &Request) -> f64 {
    let hash = mix(mix(mix(salt.into()) ^ request.coupon_id) ^ request.user_id);
    // An `f64` holds 53 bits exactly. All 64 could round up to 1.
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

sluice_policy::export_rate_shaper!(Config, decide);

#[cfg(test)]
mod tests {
    use sluice_policy::parse_config;
    use sluice_policy::testing::{load, request};

    use super::*;

    fn is_drawn(ratio: f64, salt: u32, request: &Request) -> bool {
        decide(&Config { ratio, salt }, request, &[], &load(0.0)) == Shaping::Pass
    }

    /// Which of 10,000 users are drawn.
    fn drawn(ratio: f64, salt: u32, coupon_id: u64) -> Vec<bool> {
        let draw = |user_id| is_drawn(ratio, salt, &Request { coupon_id, ..request(user_id, 1) });
        (0..10_000).map(draw).collect()
    }

    fn winners(drawn: &[bool]) -> usize {
        drawn.iter().filter(|is_drawn| **is_drawn).count()
    }

    #[test]
    fn the_share_of_the_drawn_users_is_the_ratio() {
        for (ratio, expected) in [(0.0, 0..1), (0.1, 900..1_100), (0.5, 4_850..5_150), (1.0, 10_000..10_001)] {
            let count = winners(&drawn(ratio, 0, 104));
            assert!(expected.contains(&count), "{ratio}: {count}");
        }
    }

    #[test]
    fn a_user_who_is_not_drawn_is_refused_for_good() {
        let shaping = decide(&Config { ratio: 0.0, salt: 0 }, &request(1, 1), &[], &load(0.0));
        assert_eq!(shaping, Shaping::Shed(Rejection::permanent("NOT_DRAWN")));
    }

    #[test]
    fn the_luck_of_a_user_depends_on_neither_entropy_nor_time_nor_terms() {
        for user_id in 0..1_000 {
            let first = request(user_id, 1);
            let later = Request { entropy: u64::MAX, arrived_at_ms: 0, policy_id: 7, ..first };
            assert_eq!(is_drawn(0.5, 0, &first), is_drawn(0.5, 0, &later));
        }
    }

    #[test]
    fn a_higher_ratio_keeps_the_users_who_were_drawn() {
        let (few, many) = (drawn(0.2, 0, 104), drawn(0.3, 0, 104));
        assert!(few.iter().zip(&many).all(|(few, many)| *many || !few));
        assert!(winners(&few) < winners(&many));
    }

    #[test]
    fn another_salt_or_coupon_draws_independently() {
        let first = drawn(0.5, 0, 104);
        for other in [drawn(0.5, 1, 104), drawn(0.5, 0, 105)] {
            let both: Vec<bool> = first.iter().zip(&other).map(|(first, other)| *first && *other).collect();
            let count = winners(&both);
            assert!((2_350..2_650).contains(&count), "{count}");
        }
    }

    #[test]
    fn the_draw_is_the_same_in_every_release() {
        let drawn: Vec<u64> = (0..16).filter(|user_id| is_drawn(0.5, 0, &request(*user_id, 1))).collect();
        assert_eq!(drawn, [0, 1, 2, 3, 5, 6, 8, 10, 11, 13, 14]);
    }

    #[test]
    fn a_missing_key_has_its_default() {
        assert_eq!(parse_config("{}"), Ok(Config { ratio: 1.0, salt: 0 }));
        assert_eq!(parse_config(r#"{"ratio": 0.25, "salt": 7}"#), Ok(Config { ratio: 0.25, salt: 7 }));
    }

    #[test]
    fn a_bad_configuration_is_rejected_with_the_name_of_its_key() {
        for (json, message) in [
            (r#"{"ratio": 1.5}"#, "ratio: expected a number from 0 to 1, got 1.5"),
            (r#"{"ratio": -0.1}"#, "ratio: expected a number from 0 to 1, got -0.1"),
            (r#"{"ratio": 1e400}"#, "ratio: number out of range"),
            (r#"{"ratio": "half"}"#, "ratio: invalid type: string \"half\", expected f64"),
            (r#"{"salt": -1}"#, "salt: invalid value: integer `-1`, expected u32"),
            (r#"{"rate": 1}"#, "rate: unknown field `rate`, expected `ratio` or `salt`"),
        ] {
            let error = parse_config::<Config>(json).expect_err(json);
            assert!(error.starts_with(message), "{error}");
        }
    }
}
