//! The rollouts of a ledger that may be down.

use futures_util::future::BoxFuture;
use sluice::ledger::{LedgerError, RolloutReport, RolloutRow, RolloutTable};

use super::FaultyLedger;

impl RolloutTable for FaultyLedger {
    fn running(&self) -> BoxFuture<'_, Result<Vec<RolloutRow>, LedgerError>> {
        Box::pin(async move {
            self.faults.reach().await?;
            self.inner.rollouts().running().await
        })
    }

    fn get(&self, id: u64) -> BoxFuture<'_, Result<Option<RolloutRow>, LedgerError>> {
        Box::pin(async move {
            self.faults.reach().await?;
            self.inner.rollouts().get(id).await
        })
    }

    fn newest(&self, rows_max: u32) -> BoxFuture<'_, Result<Vec<RolloutRow>, LedgerError>> {
        Box::pin(async move {
            self.faults.reach().await?;
            self.inner.rollouts().newest(rows_max).await
        })
    }

    fn create<'a>(&'a self, row: &'a RolloutRow) -> BoxFuture<'a, Result<bool, LedgerError>> {
        Box::pin(async move {
            self.faults.reach_to_write().await?;
            self.inner.rollouts().create(row).await
        })
    }

    fn update<'a>(&'a self, row: &'a RolloutRow) -> BoxFuture<'a, Result<bool, LedgerError>> {
        Box::pin(async move {
            self.faults.reach_to_write().await?;
            self.inner.rollouts().update(row).await
        })
    }

    fn report<'a>(&'a self, report: &'a RolloutReport) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            self.faults.reach_to_write().await?;
            self.inner.rollouts().report(report).await
        })
    }

    fn reports(&self, rollout: u64) -> BoxFuture<'_, Result<Vec<RolloutReport>, LedgerError>> {
        Box::pin(async move {
            self.faults.reach().await?;
            self.inner.rollouts().reports(rollout).await
        })
    }
}
