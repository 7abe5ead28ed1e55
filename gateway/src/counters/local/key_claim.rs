//! Which request an Idempotency-Key belongs to, and how many of its attempts hold the key.

use std::num::NonZeroU32;

use super::table::{Counter, Key};
use crate::counters::PerMeasure;
use crate::coupon::RequestId;

#[derive(Debug, Default)]
pub(super) struct KeyClaim(Option<Held>);

#[derive(Debug)]
struct Held {
    request_id: RequestId,
    attempts: NonZeroU32,
    /// What released attempts counted. Boxed, because there is rarely any.
    left: Option<Box<PerMeasure<Key>>>,
}

impl KeyClaim {
    /// Whether the request holds the key now: the first claim wins, and further attempts of its request join it.
    pub(super) fn claim(&mut self, request_id: RequestId) -> bool {
        match &mut self.0 {
            None => self.0 = Some(Held { request_id, attempts: NonZeroU32::MIN, left: None }),
            Some(held) if held.request_id == request_id => held.attempts = held.attempts.saturating_add(1),
            Some(_) => return false,
        }
        true
    }

    pub(super) fn holder(&self) -> Option<RequestId> {
        self.0.as_ref().map(|held| held.request_id)
    }

    /// Ends an attempt, which counted the request in `counts`. While other attempts hold the key, it takes over all of
    /// `counts`. From the last attempt the key is free: it returns those that it took over. Each is there once, because
    /// the request is undone at most once in it.
    pub(super) fn release(&mut self, request_id: RequestId, counts: &mut PerMeasure<Key>) {
        let Some(held) = self.0.as_mut().filter(|held| held.request_id == request_id) else { return };
        match NonZeroU32::new(held.attempts.get() - 1) {
            Some(attempts) => {
                held.attempts = attempts;
                if !counts.is_empty() {
                    move_missing(counts, held.left.get_or_insert_default());
                }
            }
            None => {
                move_missing(&mut held.left.take().unwrap_or_default(), counts);
                self.0 = None;
            }
        }
    }
}

fn move_missing(from: &mut PerMeasure<Key>, to: &mut PerMeasure<Key>) {
    for key in from.drain(..) {
        if !to.contains(&key) {
            to.push(key);
        }
    }
}

impl Counter for KeyClaim {
    fn is_idle(&self) -> bool {
        self.0.is_none()
    }
}
