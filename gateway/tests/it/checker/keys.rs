//! Request ids and keys: who may share which.

use std::collections::HashMap;

use super::report::{Evidence, Violation};
use super::{Body, Exchange, Reply};

impl Evidence<'_> {
    /// Every request has its own id, which only its retries share, and every key one request.
    pub(super) fn names(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        // The ids of accepted requests.
        let mut of_key: HashMap<&str, HashMap<(u64, Body), &str>> = HashMap::new();
        for (&request_id, exchanges) in &self.receipts {
            let first = exchanges[0];
            if exchanges.len() > 1 && !exchanges.iter().all(|other| is_retry(first, other)) {
                violations.push(Violation::SharedRequestId { request_id: request_id.to_owned() });
            }
            if let Some(key) = &first.key {
                let before = of_key.entry(key).or_default().insert((first.user, first.body), request_id);
                if before.is_some() {
                    violations.push(Violation::TwoRequestIdsForKey { key: key.clone() });
                }
            }
            let has_generation = |exchange: &&Exchange| matches!(&exchange.reply, Reply::Accepted(receipt) if receipt.generation.is_some());
            if !exchanges.iter().all(has_generation) {
                violations.push(Violation::NoGeneration { request_id: request_id.to_owned() });
            }
        }
        let of_two_bodies = of_key.into_iter().filter(|(_, bodies)| bodies.len() > 1);
        violations.extend(of_two_bodies.filter_map(|(key, _)| self.two_bodies(key)));
        violations
    }

    /// A violation, unless the key may have been forgotten between its first use and the last 202.
    fn two_bodies(&self, key: &str) -> Option<Violation> {
        let may_claim = |other: &&&Exchange| other.key.as_deref() == Some(key) && other.reply != Reply::NotSent;
        let mut under_key: Vec<_> = self.exchanges.iter().filter(may_claim).collect();
        under_key.sort_by_key(|exchange| exchange.sent_at);
        let first_sent_at = under_key.first()?.sent_at;
        let accepted = under_key.iter().filter(|exchange| exchange.reply.is_accepted());
        let last_answered_at = accepted.map(|exchange| exchange.sent_at + exchange.took).max()?;
        if self.keys_lost.iter().any(|lost| *lost.start() <= last_answered_at && first_sent_at <= *lost.end()) {
            return None;
        }
        let describe = |exchange: &&&Exchange| {
            let Exchange { user, body, sent_at, took, reply, .. } = exchange;
            format!(
                "user {user} sent {body:?} after {:.1?}, and after {took:.1?} got {reply:?}",
                *sent_at - first_sent_at
            )
        };
        let seen = under_key.iter().map(describe).collect::<Vec<_>>().join("; ");
        Some(Violation::TwoBodiesForKey { key: key.to_owned(), seen })
    }
}

fn is_retry(first: &Exchange, other: &Exchange) -> bool {
    other.key.is_some() && (&other.key, other.user, other.body) == (&first.key, first.user, first.body)
}
