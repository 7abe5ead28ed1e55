//! Rollouts in the ledger.

use std::sync::Arc;
use std::time::Duration;

use super::error::RolloutError;
use super::record::{Rollout, RolloutId};
use super::tally::Tallies;
use crate::ledger::{Ledger, LedgerError, RolloutReport, RolloutRow, RolloutTable};
use crate::policy::Scope;

/// How many are listed.
pub(super) const LISTED_MAX: u32 = 50;
/// Another process may change a rollout at the same moment.
const ATTEMPTS_MAX: usize = 10;
/// A ledger that does not answer is as one that is down: after `ledgerSeconds` the active policies must decide.
const ANSWER_MAX: Duration = Duration::from_secs(2);

pub(super) struct Store {
    ledger: Arc<dyn Ledger>,
    /// This process, in reports.
    gateway: String,
}

/// A rollout at a version.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    pub(super) version: u64,
    pub(super) rollout: Rollout,
}

impl Store {
    pub(super) fn new(ledger: Arc<dyn Ledger>, gateway: String) -> Self {
        Self { ledger, gateway }
    }

    fn table(&self) -> &dyn RolloutTable {
        self.ledger.rollouts()
    }

    /// The rollouts that are not over. One that cannot be read is logged and left alone.
    pub(super) async fn running(&self) -> Result<Vec<Stored>, LedgerError> {
        let rows = within(self.table().running()).await?;
        Ok(rows
            .iter()
            .filter_map(|row| parse(row).inspect_err(|error| tracing::error!(%error, "rollout")).ok())
            .collect())
    }

    /// Newest first.
    pub(super) async fn newest(&self) -> Result<Vec<Stored>, LedgerError> {
        let rows = within(self.table().newest(LISTED_MAX)).await?;
        Ok(rows.iter().filter_map(|row| parse(row).ok()).collect())
    }

    pub(super) async fn get(&self, id: RolloutId) -> Result<Stored, RolloutError> {
        let row = within(self.table().get(id)).await?.ok_or(RolloutError::NotFound(id))?;
        parse(&row)
    }

    /// Gives a new rollout its number, and stores it.
    pub(super) async fn create(&self, mut rollout: Rollout) -> Result<Stored, RolloutError> {
        for _ in 0..ATTEMPTS_MAX {
            self.check_scope_free(rollout.scope).await?;
            let newest = within(self.table().newest(1)).await?;
            rollout.id = newest.first().map_or(1, |row| row.id + 1);
            let stored = Stored { version: 1, rollout };
            if within(self.table().create(&stored.row())).await? {
                return Ok(stored);
            }
            rollout = stored.rollout;
        }
        Err(RolloutError::Conflict)
    }

    pub(super) async fn check_scope_free(&self, scope: Scope) -> Result<(), RolloutError> {
        for Stored { rollout, .. } in self.running().await? {
            if rollout.scope == scope {
                let at = jiff::Timestamp::from_millisecond(rollout.started_at_ms).map(|at| at.to_string());
                let (at, by) = (at.unwrap_or_default(), rollout.started_by);
                return Err(RolloutError::AlreadyRunning { id: rollout.id, scope, by, at });
            }
        }
        Ok(())
    }

    /// Stores a change of a rollout. `None` when another process was first.
    pub(super) async fn update(&self, stored: &Stored, rollout: Rollout) -> Result<Option<Stored>, LedgerError> {
        let next = Stored { version: stored.version + 1, rollout };
        let is_stored = within(self.table().update(&next.row())).await?;
        Ok(is_stored.then_some(next))
    }

    /// Changes a rollout as `change` says, whatever other processes change at the same moment.
    pub(super) async fn change(
        &self,
        id: RolloutId,
        change: impl Fn(&mut Rollout) -> Result<(), RolloutError>,
    ) -> Result<Stored, RolloutError> {
        for _ in 0..ATTEMPTS_MAX {
            let stored = self.get(id).await?;
            let mut rollout = stored.rollout.clone();
            change(&mut rollout)?;
            if let Some(updated) = self.update(&stored, rollout).await? {
                return Ok(updated);
            }
        }
        Err(RolloutError::Conflict)
    }

    pub(super) async fn report(&self, rollout: &Rollout, tallies: &Tallies) -> Result<(), LedgerError> {
        let report = RolloutReport {
            rollout: rollout.id,
            gateway: self.gateway.clone(),
            step_no: rollout.step_no,
            tallies: serde_json::to_string(tallies).expect("tallies are JSON"),
        };
        within(self.table().report(&report)).await
    }

    /// What all gateways have measured in the current step.
    pub(super) async fn tallies(&self, rollout: &Rollout) -> Result<Tallies, LedgerError> {
        let reports = within(self.table().reports(rollout.id)).await?;
        let current = reports.iter().filter(|report| report.step_no == rollout.step_no);
        let tallies = current.filter_map(|report| serde_json::from_str(&report.tallies).ok());
        Ok(tallies.fold(Tallies::default(), |sum, tallies| sum.merge(&tallies)))
    }
}

impl Stored {
    fn row(&self) -> RolloutRow {
        let Self { version, rollout } = self;
        RolloutRow {
            id: rollout.id,
            coupon: rollout.scope.coupon(),
            is_over: rollout.status.is_over(),
            version: *version,
            record: serde_json::to_string(rollout).expect("a rollout is JSON"),
        }
    }
}

async fn within<T>(call: impl Future<Output = Result<T, LedgerError>>) -> Result<T, LedgerError> {
    let step = "read or change the rollouts";
    let answered = tokio::time::timeout(ANSWER_MAX, call).await;
    answered.unwrap_or_else(|elapsed| Err(LedgerError::Transient { step, source: elapsed.into() }))
}

fn parse(row: &RolloutRow) -> Result<Stored, RolloutError> {
    let rollout = serde_json::from_str(&row.record).map_err(|_| RolloutError::Unreadable(row.id))?;
    Ok(Stored { version: row.version, rollout })
}
