//! What one request reserved in the counters, until it is accepted or refused.

use crate::counters::{Counters, Hook, Measured, Subject, Unavailable};
use crate::policy::Generation;

/// What was added is kept, unless it is released.
pub(super) struct Reservation<'a> {
    counters: &'a dyn Counters,
    generation: &'a Generation,
    subject: Subject,
    /// For each hook, which of its measures were added for this request and not by an earlier one.
    added: Vec<(Hook, u32)>,
}

impl<'a> Reservation<'a> {
    pub(super) fn new(counters: &'a dyn Counters, generation: &'a Generation, subject: Subject) -> Self {
        Self { counters, generation, subject, added: Vec::new() }
    }

    /// Takes all measures that a hook's policy declared, in one call to the counters.
    pub(super) async fn reserve(&mut self, hook: Hook) -> Result<Vec<Measured>, Unavailable> {
        let measures = self.generation.measures(hook);
        if measures.is_empty() {
            return Ok(Vec::new());
        }
        let reserved = self.counters.reserve(hook, measures, &self.subject).await?;
        if reserved.added != 0 {
            self.added.push((hook, reserved.added));
        }
        Ok(reserved.measured)
    }

    /// The request was refused, or its append certainly failed.
    pub(super) async fn release(self) {
        for (hook, added) in self.added {
            let measures = self.generation.measures(hook);
            if let Err(error) = self.counters.release(hook, measures, &self.subject, added).await {
                tracing::warn!(%error, hook = hook.as_str(), "reservation not released; the request stays counted until its window ends");
            }
        }
    }
}
