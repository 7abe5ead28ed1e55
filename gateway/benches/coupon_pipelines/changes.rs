//! How soon changes decide on both gateways.

use std::time::Instant;

use futures_util::future::join;
use serde_json::Value;

use crate::Pair;
use crate::common::median;
use crate::durations::{longest, ms};
use crate::gateway::Gateway;

pub(crate) const HEADER: [&str; 7] = [
    "change",
    "answered, ms: median",
    "longest",
    "decides on the same gateway, ms: median",
    "longest",
    "on the other gateway, ms: median",
    "longest",
];

/// From the call to its answer, and to the answer of a request about which the change has decided.
#[derive(Default)]
pub(crate) struct Changes {
    answered_ms: Vec<f64>,
    here_ms: Vec<f64>,
    there_ms: Vec<f64>,
}

impl Changes {
    /// Makes a change, and asks both gateways for a coupon that it concerns.
    pub(crate) async fn measure(&mut self, pair: &Pair, path: &str, hooks: &Value, coupon: u64) {
        let begun = Instant::now();
        let generation = pair.here.change(path, hooks).await;
        self.answered_ms.push(ms(begun.elapsed()));
        let decides = async |gateway: &Gateway| {
            gateway.until_decided_by(generation, coupon).await;
            ms(begun.elapsed())
        };
        let (here_ms, there_ms) = join(decides(&pair.here), decides(&pair.there)).await;
        self.here_ms.push(here_ms);
        self.there_ms.push(there_ms);
    }

    pub(crate) fn cells(self, change: &str) -> Vec<String> {
        let mut cells = vec![change.to_owned()];
        for delays_ms in [self.answered_ms, self.here_ms, self.there_ms] {
            let longest = longest(&delays_ms);
            cells.extend([median(delays_ms), longest].map(|ms| format!("{ms:.1}")));
        }
        cells
    }
}
