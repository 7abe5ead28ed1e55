//! The black-box checker: it records every request and response, waits for all outcomes, and compares them with
//! the audit and the export.

mod export;
mod keys;
mod poll;
mod report;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

pub(crate) use export::ExportLine;
pub(crate) use report::{CampaignLimits, Report, check};

/// One request and its response, as the client saw it.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) user: u64,
    pub(crate) coupon: u64,
    pub(crate) key: Option<String>,
    pub(crate) body: Body,
    pub(crate) sent_at: Instant,
    pub(crate) took: Duration,
    pub(crate) reply: Reply,
}

/// What a user asks for. Each user has two bodies, to send both under one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Body {
    One,
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// 202.
    Accepted(Receipt),
    /// Any other status.
    Refused { status: u16, reason: String, generation: Option<u64> },
    /// The connection broke: it may have been accepted.
    Unanswered,
    /// The connection was refused, so the request was not accepted.
    NotSent,
}

impl Reply {
    /// Whether the request may have been accepted although the client got no 202. The log may have stored the record
    /// of an append that timed out.
    fn is_uncertain(&self) -> bool {
        match self {
            Self::Unanswered => true,
            Self::Refused { status: 503, reason, .. } => reason == "LOG_UNAVAILABLE",
            Self::Accepted(_) | Self::Refused { .. } | Self::NotSent => false,
        }
    }

    /// Whether it says what became of the request.
    pub(crate) fn is_answer(&self) -> bool {
        match self {
            Self::Accepted(_) => true,
            Self::Refused { status, .. } => *status < 500,
            Self::Unanswered | Self::NotSent => false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) request_id: String,
    pub(crate) status_url: String,
    pub(crate) generation: Option<u64>,
}

/// The answer to a status call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Observed {
    Pending,
    Final(Outcome),
    /// 404, although the request was accepted.
    Unknown,
    /// No answer, or another one.
    NoStatus(String),
}

/// All fields are compared, so that any change of an outcome is a violation.
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

    fn word(&self) -> &str {
        self.reason.as_deref().unwrap_or(&self.status)
    }
}

const SOLD_OUT: &str = "SOLD_OUT";

/// `GET /admin/coupons/{id}/audit?recount=true`.
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
    pub(crate) users: u64,
    pub(crate) shards: Vec<ShardAudit>,
    pub(crate) recount: Recount,
}

/// What a count of the outcomes shows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Recount {
    pub(crate) agrees: bool,
    pub(crate) users_over_limit: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ShardAudit {
    pub(crate) shard_no: u32,
    pub(crate) remaining: u64,
    pub(crate) granted: u64,
    pub(crate) picked: u64,
}

/// What clients saw.
#[derive(Default)]
pub(crate) struct History {
    exchanges: Mutex<Vec<Exchange>>,
    observed: Mutex<Observations>,
    /// When the counters, which remember the keys, may have lost them.
    keys_lost: Mutex<Vec<RangeInclusive<Instant>>>,
}

/// What the operator's commands say once all is settled.
pub(crate) struct Books {
    pub(crate) audit: Audit,
    pub(crate) export: Vec<ExportLine>,
}

/// Statuses of each request in the order of observation, without repetitions.
pub(crate) type Observations = HashMap<String, Vec<Observed>>;

impl History {
    pub(crate) fn record(&self, exchange: Exchange) {
        lock(&self.exchanges).push(exchange);
    }

    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        lock(&self.exchanges).clone()
    }

    pub(crate) fn note_that_keys_were_lost(&self, since: Instant) {
        lock(&self.keys_lost).push(since..=Instant::now());
    }

    /// Distinct by request id.
    pub(crate) fn receipts(&self) -> Vec<Receipt> {
        let mut known = std::collections::HashSet::new();
        let exchanges = lock(&self.exchanges);
        let receipts = exchanges.iter().filter_map(|exchange| match &exchange.reply {
            Reply::Accepted(receipt) => Some(receipt),
            _ => None,
        });
        receipts.filter(|receipt| known.insert(&receipt.request_id)).cloned().collect()
    }

    fn observe(&self, request_id: &str, seen: Observed) {
        let mut all = lock(&self.observed);
        let before = all.entry(request_id.to_owned()).or_default();
        if before.last() != Some(&seen) {
            before.push(seen);
        }
    }

    pub(crate) fn observations(&self) -> Observations {
        lock(&self.observed).clone()
    }

    /// The outcome, if the latest status is final.
    pub(crate) fn outcome(&self, request_id: &str) -> Option<Outcome> {
        match lock(&self.observed).get(request_id)?.last()? {
            Observed::Final(outcome) => Some(outcome.clone()),
            _ => None,
        }
    }

    pub(crate) fn check(&self, limits: CampaignLimits, books: Books) -> Report {
        check(&lock(&self.exchanges), &lock(&self.observed), &lock(&self.keys_lost), limits, books)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
