//! What is known of the generations, from the answers to changes and from looks at the gateways.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::Gateway;

/// An accepted change is active on every gateway within this time: 2 s are promised, the rest is for slow machines.
const ACTIVE_WITHIN: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(super) struct Observed(Mutex<BTreeMap<u64, Seen>>);

struct Seen {
    at: Instant,
    /// The limit of the policy `quota`.
    limit: Value,
    /// The version of the shard picker, once a gateway has shown it.
    picker: Option<Value>,
}

impl Observed {
    /// A change was accepted as this generation.
    pub(super) fn accepted(&self, number: u64, limit: &Value) {
        self.note(number, limit, None);
    }

    /// Returns the number of the active generation. It is no older than it has to be, and what every gateway says it is.
    pub(super) async fn look(&self, gateway: &Gateway) -> u64 {
        let due = self.newest_before(Instant::now() - ACTIVE_WITHIN);
        let shown = gateway.pipeline().await;
        let number = shown["generation"].as_u64().expect("a number");
        assert!(number >= due, "{number} is active; {due} was accepted more than {ACTIVE_WITHIN:?} ago");
        let limit = &shown["pipeline"]["user-limit"]["config"]["limit"];
        self.note(number, limit, Some(&shown["hooks"]["shard-picker"]["version"]));
        number
    }

    fn note(&self, number: u64, limit: &Value, picker: Option<&Value>) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            seen.entry(number).or_insert_with(|| Seen { at: Instant::now(), limit: limit.clone(), picker: None });
        assert_eq!(known.limit, *limit, "generation {number}");
        if let Some(picker) = picker {
            assert_eq!(known.picker.get_or_insert_with(|| picker.clone()), picker, "generation {number}");
        }
    }

    fn newest_before(&self, time: Instant) -> u64 {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().rev().find(|(_, seen)| seen.at <= time).map_or(0, |(number, _)| *number)
    }
}
