//! `SLUICE_BENCH_TRIAL=1` tries whether a benchmark works. It is then over in seconds, and its figures mean nothing.

use std::time::Duration;

/// Of durations. Numbers are divided by its third power.
const TRIAL_DIVISOR: u32 = 10;

fn is_on() -> bool {
    std::env::var_os("SLUICE_BENCH_TRIAL").is_some()
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    let whole = Duration::from_secs(seconds);
    if is_on() { whole / TRIAL_DIVISOR } else { whole }
}

/// A number of records, users or campaigns.
pub(crate) fn number(number: u64) -> u64 {
    if is_on() { number.div_ceil(u64::from(TRIAL_DIVISOR).pow(3)) } else { number }
}

pub(crate) fn rounds(rounds: usize) -> usize {
    if is_on() { 1 } else { rounds }
}
