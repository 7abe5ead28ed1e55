//! Loads what other processes recorded in the ledger, and what could not be loaded before.

use super::component::ResolvedPipeline;
use super::error::{ChangeError, NotLoaded};
use super::generation::Generation;
use super::loader::Trial;
use super::pipelines::Pipelines;
use super::records::{Recorded, RecordedGeneration};
use super::scope::Scope;
use super::state::State;
use crate::ledger::LedgerError;

/// Rows that are read at once. Each has a few kilobytes.
const ROWS_MAX: u32 = 256;

impl Pipelines {
    /// Whether the ledger has a generation that this process has not tried to load.
    pub(super) async fn is_behind(&self) -> Result<bool, LedgerError> {
        Ok(self.ledger.is_shared() && !self.ledger.newest_generations(self.newest(), 1).await?.is_empty())
    }

    pub(super) async fn load_newest(&self) -> Result<(), LedgerError> {
        self.catch_up(&mut *self.state.lock().await).await
    }

    /// Loads the newest generation of each pipeline that has one this process does not know.
    pub(super) async fn catch_up(&self, state: &mut State) -> Result<(), LedgerError> {
        loop {
            let rows = self.ledger.newest_generations(self.newest(), ROWS_MAX).await?;
            let Some(newest) = rows.last().map(|row| row.number) else { return Ok(()) };
            if rows.iter().any(|row| row.coupon.is_none()) {
                self.load_default(state).await?;
            }
            self.load_coupons(&rows).await;
            self.note_newest(newest);
        }
    }

    /// Whether a newest generation could not be loaded.
    pub(super) fn lacks_a_pipeline(&self) -> bool {
        self.not_loaded(Scope::Default).is_some() || !self.coupons_not_loaded().is_empty()
    }

    /// Loads what could not be loaded before.
    pub(super) async fn retry(&self) -> Result<(), LedgerError> {
        let mut state = self.state.lock().await;
        if self.not_loaded(Scope::Default).is_some() {
            self.load_default(&mut state).await?;
        }
        let mut rows = Vec::new();
        for coupon in self.coupons_not_loaded() {
            rows.extend(self.ledger.generations(Some(coupon), 1).await?);
        }
        self.load_coupons(&rows).await;
        Ok(())
    }

    /// The pipelines of campaigns that are over leave memory.
    pub(super) async fn forget_campaigns_that_are_over(&self) {
        let over = self.coupons_over();
        if !over.is_empty() {
            let _state = self.state.lock().await;
            self.update(|generations| generations.forget(&over));
        }
    }

    /// Loads the newest generation of the default pipeline, unless it is active.
    async fn load_default(&self, state: &mut State) -> Result<(), LedgerError> {
        let recorded = Recorded::read(&*self.ledger).await?;
        // A change of this process may have finished while the lock was awaited.
        if recorded.number <= self.current().number() {
            return Ok(());
        }
        let loaded = match recorded.newest_first.first() {
            Some(newest) if newest.number == recorded.number => self.load_recorded(newest).await,
            _ => Err(ChangeError::IncompleteRecord),
        };
        match loaded {
            Ok((generation, active)) => {
                self.history.learn(recorded.history());
                let changed = state.active.changes_to(&active);
                (state.active, state.rollback) = (active, recorded.rollback);
                self.activate(generation);
                tracing::info!(generation = recorded.number, changed, "pipeline of the ledger loaded");
            }
            Err(ChangeError::Ledger(error)) => return Err(error),
            Err(error) => {
                let not_loaded = NotLoaded { generation: recorded.number, error: error.to_string() };
                if self.not_loaded(Scope::Default).is_none_or(|known| known != not_loaded) {
                    let generation = not_loaded.generation;
                    tracing::error!(generation, %error, "newest generation not loaded; the active one still decides");
                }
                self.set_not_loaded(not_loaded);
            }
        }
        Ok(())
    }

    async fn load_recorded(&self, newest: &RecordedGeneration) -> Result<(Generation, ResolvedPipeline), ChangeError> {
        let resolved = newest.pipeline().resolve(&*self.ledger).await?.ok_or(ChangeError::IncompleteRecord)?;
        Ok((self.loader.load(newest.number, &resolved, Trial::Skip).await?, resolved))
    }
}
