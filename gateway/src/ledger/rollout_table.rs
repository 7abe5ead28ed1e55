//! The rollouts, and what each gateway has measured for them.

use futures_util::future::BoxFuture;

use super::LedgerError;
use crate::coupon::CouponId;

/// Older rollouts that are over are deleted.
pub(super) const ROLLOUTS_MAX: u64 = 200;

/// A rollout. Only its number, its scope and whether it is over mean something to the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutRow {
    /// From 1.
    pub id: u64,
    /// The coupon whose pipeline it changes; `None` for the default pipeline.
    pub coupon: Option<CouponId>,
    pub is_over: bool,
    /// Raised by one with each change.
    pub version: u64,
    /// JSON. The components whose digests it names are kept until it is over.
    pub record: String,
}

/// What a gateway has measured in a step of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutReport {
    pub rollout: u64,
    /// The process.
    pub gateway: String,
    pub step_no: u32,
    /// JSON.
    pub tallies: String,
}

/// Stores rollouts. In a ledger of several groups, all are in the first one.
pub trait RolloutTable: Send + Sync {
    /// The rollouts that are not over, oldest first.
    fn running(&self) -> BoxFuture<'_, Result<Vec<RolloutRow>, LedgerError>>;

    /// The rollout with this number.
    fn get(&self, id: u64) -> BoxFuture<'_, Result<Option<RolloutRow>, LedgerError>>;

    /// The newest rollouts, newest first.
    fn newest(&self, rows_max: u32) -> BoxFuture<'_, Result<Vec<RolloutRow>, LedgerError>>;

    /// Stores a new rollout, and deletes old ones. `false` when its number is taken, or another one of its scope is
    /// running.
    fn create<'a>(&'a self, row: &'a RolloutRow) -> BoxFuture<'a, Result<bool, LedgerError>>;

    /// Replaces a rollout by its next version. `false` when the stored version is not the one before it: another process
    /// was first.
    fn update<'a>(&'a self, row: &'a RolloutRow) -> BoxFuture<'a, Result<bool, LedgerError>>;

    /// Replaces what the gateway has reported for the rollout.
    fn report<'a>(&'a self, report: &'a RolloutReport) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// The newest report of each gateway, also of those that have ended.
    fn reports(&self, rollout: u64) -> BoxFuture<'_, Result<Vec<RolloutReport>, LedgerError>>;
}

impl RolloutRow {
    /// The value of the column: 0 for the default pipeline.
    pub(super) fn scope(&self) -> i64 {
        self.coupon.map_or(0, |coupon| coupon.get().cast_signed())
    }

    /// The value of the column: with a null, the unique key of running rollouts does not hold the row.
    pub(super) fn running(&self) -> Option<i64> {
        (!self.is_over).then_some(1)
    }
}
