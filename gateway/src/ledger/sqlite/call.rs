//! What all calls on the file have in common.

use sqlx::error::ErrorKind;

use crate::ledger::LedgerError;

/// Begins every writing transaction: SQLite's one write lock takes the place of row locks.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";

/// Maps an error of SQLite: permanent when the data is the cause, otherwise transient.
pub(super) fn during(step: &'static str) -> impl FnOnce(sqlx::Error) -> LedgerError {
    move |source| {
        let is_permanent = match &source {
            sqlx::Error::Database(error) => matches!(
                error.kind(),
                ErrorKind::CheckViolation | ErrorKind::NotNullViolation | ErrorKind::ForeignKeyViolation
            ),
            sqlx::Error::Encode(_) => true,
            _ => false,
        };
        let source = source.into();
        if is_permanent { LedgerError::Permanent { step, source } } else { LedgerError::Transient { step, source } }
    }
}
