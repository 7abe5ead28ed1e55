//! The settings without which a topic loses accepted requests.

use super::address::Address;
use crate::log::Options;

pub(super) const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
pub(super) const RETENTION_MS: &str = "retention.ms";
/// Settings with one valid value, and what happens with another one.
pub(super) const FIXED: [(&str, &str, &str); 4] = [
    ("cleanup.policy", "delete", "compaction deletes requests of the same shard"),
    ("retention.bytes", "-1", "a bound on the size deletes requests that are not settled"),
    ("unclean.leader.election.enable", "false", "a replica that is not in sync could become leader without them"),
    ("message.timestamp.type", "LogAppendTime", "the requests of a gateway whose clock is slow are deleted early"),
];

/// `retention.ms` of the options; -1 keeps all records.
pub(super) fn retention_ms(options: &Options) -> i64 {
    options.retention().map_or(-1, |kept| i64::try_from(kept.as_millis()).unwrap_or(i64::MAX))
}

/// Checks the settings of a topic, and answers with its `min.insync.replicas`.
///
/// # Errors
/// The first wrong setting: the value, the expected value, the danger and the command that corrects it.
pub(super) fn check<'a>(
    address: &Address,
    options: &Options,
    setting: impl Fn(&str) -> Option<&'a str>,
) -> Result<u32, String> {
    let found = |name: &str| setting(name).unwrap_or("unknown");
    let wrong = |name: &str, by: &str, expected: &str, danger: &str| {
        format!(
            "has {name}={}, {by} expects {expected}: {danger}: run `kafka-configs --bootstrap-server {} --alter \
             --entity-type topics --entity-name {} --add-config {name}={expected}`",
            found(name),
            address.brokers,
            address.topic
        )
    };
    let min_insync: u32 = found(MIN_INSYNC_REPLICAS).parse().unwrap_or(0);
    if min_insync < options.min_insync_replicas {
        let danger = format!("the loss of {min_insync} of its replicas could lose accepted requests");
        let expected = options.min_insync_replicas.to_string();
        return Err(wrong(MIN_INSYNC_REPLICAS, "log.min_insync_replicas", &expected, &danger));
    }
    if let Some((name, expected, danger)) = FIXED.into_iter().find(|(name, expected, _)| found(name) != *expected) {
        return Err(wrong(name, "sluice", expected, danger));
    }
    let (retention, expected) = (found(RETENTION_MS).parse().unwrap_or(0), retention_ms(options));
    let is_kept = retention == -1 || (expected != -1 && retention >= expected);
    if !is_kept {
        let danger = "requests are deleted earlier, whether they are settled or not";
        return Err(wrong(RETENTION_MS, "log.retention_hours", &expected.to_string(), danger));
    }
    Ok(min_insync)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn check_with(options: &Options, name: &'static str, value: &'static str) -> Result<u32, String> {
        let address = Address::parse("kafka://b1:9092/coupon-issue").expect("an address");
        let mut settings: HashMap<&str, &str> = FIXED.iter().map(|(name, value, _)| (*name, *value)).collect();
        settings.extend([(MIN_INSYNC_REPLICAS, "2"), (RETENTION_MS, "604800000")]);
        settings.insert(name, value);
        check(&address, options, |name| settings.get(name).copied())
    }

    #[test]
    fn each_dangerous_setting_is_named_with_the_command_that_corrects_it() {
        let options = Options::default();
        for (name, value, expected) in [
            (MIN_INSYNC_REPLICAS, "1", "log.min_insync_replicas expects 2"),
            ("cleanup.policy", "compact,delete", "sluice expects delete"),
            ("retention.bytes", "1000", "sluice expects -1"),
            ("unclean.leader.election.enable", "true", "sluice expects false"),
            ("message.timestamp.type", "CreateTime", "sluice expects LogAppendTime"),
            (RETENTION_MS, "1000", "log.retention_hours expects 604800000"),
        ] {
            let problem = check_with(&options, name, value).expect_err("is refused");
            assert!(problem.starts_with(&format!("has {name}={value}, {expected}: ")), "{problem}");
            let command = format!("--entity-name coupon-issue --add-config {name}=");
            assert!(problem.contains(&command), "{problem}");
        }
    }

    #[test]
    fn a_longer_retention_is_accepted_and_zero_hours_require_an_unlimited_one() {
        let options = Options::default();
        assert_eq!(check_with(&options, RETENTION_MS, "604800001"), Ok(2));
        assert_eq!(check_with(&options, RETENTION_MS, "-1"), Ok(2));
        let unlimited = Options { retention_hours: 0, ..options };
        assert_eq!(check_with(&unlimited, RETENTION_MS, "-1"), Ok(2));
        let problem = check_with(&unlimited, RETENTION_MS, "0").expect_err("is refused");
        assert!(problem.contains("log.retention_hours expects -1"), "{problem}");
    }
}
