//! What was measured for one request, until it is known whether the request goes through.

use std::sync::Arc;

use crate::counters::{Counters, Hook, Measured, Subject, Unavailable};
use crate::policy::Generation;

/// Gives everything back, unless it is told to keep it: also when the client hangs up half-way.
pub(super) struct Reservation {
    counters: Arc<dyn Counters>,
    generation: Arc<Generation>,
    subject: Subject,
    added: Vec<(Hook, u32)>,
}

impl Reservation {
    pub(super) fn new(counters: &Arc<dyn Counters>, generation: &Arc<Generation>, subject: Subject) -> Self {
        Self { counters: Arc::clone(counters), generation: Arc::clone(generation), subject, added: Vec::new() }
    }

    /// Has all measured that a hook's policy asked for.
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

    /// The request went through: what was measured stands.
    pub(super) fn keep(&mut self) {
        self.added.clear();
    }

    /// The request did not go through.
    pub(super) async fn release(&mut self) {
        let added = std::mem::take(&mut self.added);
        release(&*self.counters, &self.generation, &self.subject, &added).await;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.added.is_empty() {
            return;
        }
        let (counters, generation) = (Arc::clone(&self.counters), Arc::clone(&self.generation));
        let (subject, added) = (self.subject, std::mem::take(&mut self.added));
        tokio::spawn(async move { release(&*counters, &generation, &subject, &added).await });
    }
}

async fn release(counters: &dyn Counters, generation: &Generation, subject: &Subject, added: &[(Hook, u32)]) {
    for &(hook, added) in added {
        if let Err(error) = counters.release(hook, generation.measures(hook), subject, added).await {
            tracing::warn!(%error, "a user may be counted for longer than they should");
        }
    }
}
