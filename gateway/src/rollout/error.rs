//! Why an operation on a rollout is refused.

use super::record::{RolloutId, Status};
use crate::ledger::LedgerError;
use crate::policy::{ChangeError, Scope};

/// Why an operation on a rollout is refused. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// Names the field, and says what was expected.
    #[error("{0}")]
    Invalid(String),
    #[error("rollout {id}, started by {by} at {at}, is changing {}: promote or abort it first", pipeline_of(*scope))]
    AlreadyRunning { id: RolloutId, scope: Scope, by: String, at: String },
    #[error("no rollout has the number {0}")]
    NotFound(RolloutId),
    #[error("rollout {id} is {}: start another one", status.as_str())]
    Over { id: RolloutId, status: Status },
    #[error("rollout {0} is being promoted")]
    Promoting(RolloutId),
    /// One of the checks before it is started.
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error("the replay of recent decisions: {0}")]
    Replay(String),
    #[error("the record of rollout {0} in the ledger cannot be read: it is from another release")]
    Unreadable(RolloutId),
    #[error("read or record the rollout: {0}")]
    Ledger(#[from] LedgerError),
    #[error("the rollout changed concurrently: read it again and retry")]
    Conflict,
}

fn pipeline_of(scope: Scope) -> String {
    match scope {
        Scope::Default => "the default pipeline".to_owned(),
        Scope::Coupon(coupon) => format!("the pipeline of coupon {coupon}"),
    }
}
