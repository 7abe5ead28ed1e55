//! A rate shaper that delays every request by seven weeks, the longest delay it can express.

use sluice_policy::rate_shaper::{Load, Shaping};
use sluice_policy::{Measured, NoConfig, Request};

fn decide(_: &NoConfig, _: &Request, _: &[Measured], _: &Load) -> Shaping {
    Shaping::Delay(u32::MAX)
}

sluice_policy::export_rate_shaper!(NoConfig, decide);
