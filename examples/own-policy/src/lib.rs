//! Admits one coupon per user, and none for the users of a list, such as known bots.

use std::collections::BTreeSet;

use serde::Deserialize;
use sluice_policy::user_limit::{Admission, Usage};
use sluice_policy::{Configuration, Measure, Measured, Measurements, Rejection, Request, Scope, USER_LIMIT, Window};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Users who get no coupon.
    blocked: BTreeSet<u64>,
}

impl Configuration for Config {
    // A window of length 0 is the whole campaign.
    fn measures(&self) -> Vec<Measure> {
        vec![Measure::Count(Window { scope: Scope::UserOfCoupon, length_ms: 0 })]
    }
}

/// The client receives the message as `detail` and the link as `help`.
fn blocked() -> Rejection {
    Rejection::permanent("BLOCKED")
        .with_message("this user gets no coupon: ask the support to lift the block")
        .with_link("https://example.com/help/blocked")
}

fn decide(config: &Config, request: &Request, measured: &[Measured], _: &Usage) -> Admission {
    if config.blocked.contains(&request.user_id) {
        Admission::Refuse(blocked())
    } else if measured.count(0) > 1 {
        Admission::Refuse(Rejection::permanent(USER_LIMIT))
    } else {
        Admission::Admit
    }
}

sluice_policy::export_user_limit!(Config, decide);

#[cfg(test)]
mod tests {
    use sluice_policy::parse_config;
    use sluice_policy::testing::{request, usage};

    use super::*;

    fn admission(user_id: u64, count: u64) -> Admission {
        let config: Config = parse_config(r#"{"blocked": [666]}"#).expect("a valid configuration");
        decide(&config, &request(user_id, 1), &[Measured::Count(count)], &usage())
    }

    #[test]
    fn a_blocked_user_is_rejected() {
        assert_eq!(admission(666, 1), Admission::Refuse(blocked()));
    }

    #[test]
    fn any_other_user_gets_one_coupon() {
        assert_eq!(admission(667, 1), Admission::Admit);
        assert_eq!(admission(667, 2), Admission::Refuse(Rejection::permanent(USER_LIMIT)));
    }

    #[test]
    fn without_a_configuration_no_user_is_blocked() {
        let config: Config = parse_config("{}").expect("the defaults");
        assert_eq!(decide(&config, &request(666, 1), &[Measured::Count(1)], &usage()), Admission::Admit);
    }

    #[test]
    fn a_user_id_as_text_is_rejected_with_the_name_of_its_key() {
        let error = parse_config::<Config>(r#"{"blocked": "667"}"#).expect_err("text in place of a list");
        assert_eq!(error, r#"blocked: invalid type: string "667", expected a sequence at line 1 column 17"#);
    }
}
