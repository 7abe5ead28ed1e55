//! What one request reserved in the counters, until it is accepted or refused.

use std::sync::Arc;

use crate::counters::{Counters, Hook, Measured, Subject, Unavailable};
use crate::policy::Generation;

/// Releases everything when it is dropped, unless it was kept: the handler is dropped when the client disconnects.
pub(super) struct Reservation {
    counters: Arc<dyn Counters>,
    generation: Arc<Generation>,
    subject: Subject,
    /// For each hook, which of its measures were added for this request and not by an earlier one.
    added: Vec<(Hook, u32)>,
}

impl Reservation {
    pub(super) fn new(counters: &Arc<dyn Counters>, generation: &Arc<Generation>, subject: Subject) -> Self {
        Self { counters: Arc::clone(counters), generation: Arc::clone(generation), subject, added: Vec::new() }
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

    /// The request was accepted: its measures stay.
    pub(super) fn keep(&mut self) {
        self.added.clear();
    }

    /// The request was refused, or its append failed.
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
            tracing::warn!(%error, hook = hook.as_str(), "reservation not released; the request stays counted until its window ends");
        }
    }
}
