//! Request ids and keys: who may share which.

use std::collections::HashMap;
use std::time::Instant;

use super::report::{Evidence, Violation};
use super::{Body, Exchange, Reply};

/// The accepted requests for one body of one user under a key.
struct Accepted<'a> {
    request_id: &'a str,
    first_sent_at: Instant,
    last_answered_at: Instant,
}

impl Evidence<'_> {
    /// Every request has its own id, which only its retries share, and every key one request.
    pub(super) fn names(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut of_key: HashMap<&str, HashMap<(u64, Body), Accepted<'_>>> = HashMap::new();
        for (&request_id, exchanges) in &self.receipts {
            let first = exchanges[0];
            if exchanges.len() > 1 && !exchanges.iter().all(|other| is_retry(first, other)) {
                violations.push(Violation::SharedRequestId { request_id: request_id.to_owned() });
            }
            if let Some(key) = &first.key {
                let accepted = Accepted::of(request_id, exchanges);
                let same = of_key.entry(key).or_default().insert((first.user, first.body), accepted);
                if same.is_some_and(|same| same.request_id != request_id) {
                    violations.push(Violation::TwoRequestIdsForKey { key: key.clone() });
                }
            }
            let has_generation = |exchange: &&Exchange| matches!(&exchange.reply, Reply::Accepted(receipt) if receipt.generation.is_some());
            if !exchanges.iter().all(has_generation) {
                violations.push(Violation::NoGeneration { request_id: request_id.to_owned() });
            }
        }
        let shared = of_key.into_iter().filter(|(_, bodies)| bodies.len() > 1 && !self.explains_bodies(bodies));
        violations.extend(shared.map(|(key, _)| Violation::TwoBodiesForKey { key: key.to_owned() }));
        violations
    }

    /// Whether the key may have been forgotten between the first request for one body and the last answer to another.
    fn explains_bodies(&self, bodies: &HashMap<(u64, Body), Accepted<'_>>) -> bool {
        let (from, to) = (
            bodies.values().map(|body| body.first_sent_at).min().expect("some"),
            bodies.values().map(|body| body.last_answered_at).max().expect("some"),
        );
        self.keys_lost.iter().any(|lost| *lost.start() <= to && from <= *lost.end())
    }
}

impl<'a> Accepted<'a> {
    fn of(request_id: &'a str, exchanges: &[&Exchange]) -> Self {
        let first_sent_at = exchanges.iter().map(|exchange| exchange.sent_at).min().expect("some");
        let last_answered_at = exchanges.iter().map(|exchange| exchange.sent_at + exchange.took).max().expect("some");
        Self { request_id, first_sent_at, last_answered_at }
    }
}

fn is_retry(first: &Exchange, other: &Exchange) -> bool {
    other.key.is_some() && (&other.key, other.user, other.body) == (&first.key, first.user, first.body)
}
