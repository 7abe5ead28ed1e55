//! What one request reserved in the counters, until it is accepted or refused.

use super::refusal::Refusal;
use crate::counters::{Added, Counters, Hook, KEY_ADDED, Measured, PerHook, PerMeasure, Subject, Unavailable};
use crate::policy::Generation;

/// What was added is kept, unless it is released.
pub(super) struct Reservation<'a> {
    counters: &'a dyn Counters,
    generation: &'a Generation,
    subject: Subject,
    is_key_claimed: bool,
    /// What was added by this attempt of the request, and not by another one.
    added: PerHook<u32>,
}

impl<'a> Reservation<'a> {
    pub(super) fn new(counters: &'a dyn Counters, generation: &'a Generation, subject: Subject) -> Self {
        Self { counters, generation, subject, is_key_claimed: subject.fingerprint.is_none(), added: PerHook::default() }
    }

    pub(super) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Takes all measures that a hook's policy declared, in one call to the counters. The first call that the counters
    /// themselves answer, and not the gateway in their place, also claims the Idempotency-Key.
    ///
    /// # Errors
    /// [`Refusal::IdempotencyConflict`] when another request holds the key. The inner error is for the hook's policy.
    pub(super) async fn reserve(&mut self, hook: Hook) -> Result<Result<PerMeasure<Measured>, Unavailable>, Refusal> {
        let measures = self.generation.measures(hook);
        if measures.is_empty() && self.is_key_claimed {
            return Ok(Ok(PerMeasure::new()));
        }
        let fingerprint = self.subject.fingerprint.filter(|_| !self.is_key_claimed);
        let subject = Subject { fingerprint, ..self.subject };
        let reserved = match self.counters.reserve(hook, measures, &subject).await {
            Ok(reserved) => reserved,
            Err(unavailable) => return Ok(Err(unavailable)),
        };
        if reserved.is_key_taken {
            return Err(Refusal::IdempotencyConflict);
        }
        self.is_key_claimed |= reserved.added & KEY_ADDED != 0;
        self.added[hook] = reserved.added;
        Ok(Ok(reserved.measured))
    }

    /// The request was refused, or its append certainly failed.
    pub(super) async fn release(self) {
        if self.added == PerHook::default() {
            return;
        }
        let added =
            Hook::ALL.map(|hook| Added { hook, measures: self.generation.measures(hook), bits: self.added[hook] });
        if let Err(error) = self.counters.release(&self.subject, &added).await {
            tracing::warn!(%error, "reservation not released; the request stays counted until its window ends");
        }
    }
}
