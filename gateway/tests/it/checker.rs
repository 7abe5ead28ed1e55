//! The black-box checker: it keeps every request and every answer, waits for the last outcome, and
//! then holds all of it against the audit.

mod gather;
mod report;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;

pub(crate) use report::{Promised, Report, check};

/// One request and what became of it, as its sender saw it.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) user: u64,
    pub(crate) coupon: u64,
    pub(crate) key: Option<String>,
    pub(crate) took: Duration,
    pub(crate) reply: Reply,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// 202.
    Accepted(Receipt),
    /// Any other status.
    Refused { status: u16, reason: String, generation: Option<u64> },
    /// The connection broke: it may have been accepted.
    Unanswered,
    /// Nobody listened.
    NotSent,
}

impl Reply {
    /// Whether the request may have been accepted, although its sender was not told so. A log that did not
    /// answer in time may have the record all the same.
    fn is_uncertain(&self) -> bool {
        match self {
            Self::Unanswered => true,
            Self::Refused { status: 503, reason, .. } => reason == "LOG_UNAVAILABLE",
            Self::Accepted(_) | Self::Refused { .. } | Self::NotSent => false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) request_id: String,
    pub(crate) status_url: String,
    /// Which generation decided.
    pub(crate) generation: Option<u64>,
}

/// What a status call said of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Pending,
    Ended(Outcome),
    /// An answer that is no status, such as 404.
    Nothing(String),
}

/// How a request ended, to the last field.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) shard_no: Option<u32>,
    pub(crate) settled_at: Option<String>,
}

impl Outcome {
    pub(crate) fn is_issued(&self) -> bool {
        self.status == "ISSUED"
    }

    fn is_sold_out(&self) -> bool {
        self.reason.as_deref() == Some(SOLD_OUT)
    }

    /// `ISSUED`, or why not.
    fn word(&self) -> &str {
        self.reason.as_deref().unwrap_or(&self.status)
    }
}

const SOLD_OUT: &str = "SOLD_OUT";

/// `GET /admin/coupons/{id}/audit`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Audit {
    pub(crate) coupon_id: u64,
    pub(crate) total: u64,
    pub(crate) granted: u64,
    pub(crate) remaining: u64,
    pub(crate) balanced: bool,
    pub(crate) sold_out: u64,
    pub(crate) user_limit: u64,
    pub(crate) invalid: u64,
    pub(crate) per_user_limit: u32,
    pub(crate) users_over_limit: u64,
    pub(crate) users: u64,
    pub(crate) shards: Vec<ShardAudit>,
}

/// One line of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ShardAudit {
    pub(crate) shard_no: u32,
    pub(crate) remaining: u64,
    pub(crate) granted: u64,
    pub(crate) picked: u64,
}

/// All that was asked and answered.
#[derive(Default)]
pub(crate) struct History {
    exchanges: Mutex<Vec<Exchange>>,
    seen: Mutex<Sightings>,
}

/// What was seen of each request, in order; the same thing seen twice stands once.
pub(crate) type Sightings = HashMap<String, Vec<Seen>>;

impl History {
    pub(crate) fn record(&self, exchange: Exchange) {
        lock(&self.exchanges).push(exchange);
    }

    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        lock(&self.exchanges).clone()
    }

    /// Every receipt once.
    pub(crate) fn receipts(&self) -> Vec<Receipt> {
        let mut known = std::collections::HashSet::new();
        let exchanges = lock(&self.exchanges);
        let receipts = exchanges.iter().filter_map(|exchange| match &exchange.reply {
            Reply::Accepted(receipt) => Some(receipt),
            _ => None,
        });
        receipts.filter(|receipt| known.insert(&receipt.request_id)).cloned().collect()
    }

    fn saw(&self, request_id: &str, seen: Seen) {
        let mut all = lock(&self.seen);
        let before = all.entry(request_id.to_owned()).or_default();
        if before.last() != Some(&seen) {
            before.push(seen);
        }
    }

    pub(crate) fn sightings(&self) -> Sightings {
        lock(&self.seen).clone()
    }

    /// The outcome that was last seen.
    pub(crate) fn outcome(&self, request_id: &str) -> Option<Outcome> {
        match lock(&self.seen).get(request_id)?.last()? {
            Seen::Ended(outcome) => Some(outcome.clone()),
            _ => None,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
