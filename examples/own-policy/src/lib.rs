//! One coupon a user, and none for those on a list: known bots, say.

use std::collections::BTreeSet;

use serde::Deserialize;
use sluice_policy::user_limit::{Admission, Usage};
use sluice_policy::{Answers, Configuration, Measure, Measured, Rejection, Request, Scope, USER_LIMIT, Window};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Who gets nothing.
    blocked: BTreeSet<u64>,
}

impl Configuration for Config {
    // A length of zero counts over the whole campaign.
    fn measures(&self) -> Vec<Measure> {
        vec![Measure::Count(Window { scope: Scope::UserOfCoupon, length_ms: 0 })]
    }
}

fn decide(config: &Config, request: &Request, measured: &[Measured], _: &Usage) -> Admission {
    if config.blocked.contains(&request.user_id) {
        Admission::Refuse(Rejection::for_good("BLOCKED"))
    } else if measured.count(0) > 1 {
        Admission::Refuse(Rejection::for_good(USER_LIMIT))
    } else {
        Admission::Admit
    }
}

sluice_policy::export_user_limit!(Config, decide);

#[cfg(test)]
mod tests {
    use sluice_policy::parse;
    use sluice_policy::testing::{request, usage};

    use super::*;

    fn admission(user_id: u64, count: u64) -> Admission {
        let config: Config = parse(r#"{"blocked": [666]}"#).expect("a configuration");
        decide(&config, &request(user_id, 1), &[Measured::Count(count)], &usage())
    }

    #[test]
    fn a_blocked_user_gets_nothing() {
        assert_eq!(admission(666, 1), Admission::Refuse(Rejection::for_good("BLOCKED")));
    }

    #[test]
    fn everybody_else_gets_one() {
        assert_eq!(admission(667, 1), Admission::Admit);
        assert_eq!(admission(667, 2), Admission::Refuse(Rejection::for_good(USER_LIMIT)));
    }
}
