//! The counts that a released attempt leaves with its Idempotency-Key for the last attempt, as text.
//!
//! They are named by their hook, window and scope, not by their positions: the attempts of a request may have different
//! pipelines.

use std::fmt::Write;

use super::keys::Counter;
use crate::counters::{Hook, Measure, Scope};

/// Such as ` user-limit:0:user-of-coupon rate-shaper:1000:coupon`. Each begins with a space, so that the script can join
/// texts.
pub(super) fn format<'a>(counters: impl Iterator<Item = &'a Counter>) -> String {
    let mut text = String::new();
    for Counter { hook, measure, .. } in counters {
        if let Measure::Count { scope, window_ms } = measure {
            let written = write!(text, " {}:{window_ms}:{}", hook.as_str(), scope.as_str());
            debug_assert!(written.is_ok(), "writing to a string cannot fail");
        }
    }
    text
}

/// Leaves out what this version does not know.
pub(super) fn parse(text: &str) -> impl Iterator<Item = (Hook, Measure)> {
    text.split_ascii_whitespace().filter_map(|count| {
        let (hook, rest) = count.split_once(':')?;
        let (window_ms, scope) = rest.split_once(':')?;
        let hook = Hook::ALL.into_iter().find(|known| known.as_str() == hook)?;
        let scope = Scope::ALL.into_iter().find(|known| known.as_str() == scope)?;
        Some((hook, Measure::Count { scope, window_ms: window_ms.parse().ok()? }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::redis::keys::Home;

    #[test]
    fn counts_can_be_read_back_and_other_measures_are_not_left() {
        let counts = Hook::ALL.into_iter().zip(Scope::ALL).map(|(hook, scope)| {
            let measure = Measure::Count { scope, window_ms: u64::MAX };
            Counter { hook, measure, home: Home::Server }
        });
        let counts: Vec<_> = counts.collect();
        let sequence = Counter { measure: Measure::Sequence { scope: Scope::User }, ..counts[0] };
        let text = format(counts.iter().chain([&sequence])) + " a-new-hook:1:user user-limit:1";
        let read: Vec<_> = parse(&text).collect();
        assert_eq!(read, counts.iter().map(|counter| (counter.hook, counter.measure)).collect::<Vec<_>>());
        assert_eq!(parse("").count(), 0);
    }
}
