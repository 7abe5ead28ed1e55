//! Virtual time: how long after the start of the scenario something happens.

use std::time::Duration;

use crate::coupon::UnixMs;

/// When the scenario starts. Not at 0, which stands for no time.
const START_MS: UnixMs = 1_000;

/// What policies and counters see.
pub(super) fn virtual_ms(since_start: Duration) -> UnixMs {
    let passed_ms = UnixMs::try_from(since_start.as_millis()).unwrap_or(UnixMs::MAX);
    START_MS.saturating_add(passed_ms)
}
