//! What all calls on the file have in common.

use sqlx::Sqlite;
use sqlx::error::ErrorKind;

use crate::ledger::LedgerError;
use crate::sqlite_file::SqliteFile;

/// SQLite's one write lock takes the place of row locks.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// Begins a writing transaction, unless the file is lost.
pub(super) async fn begin(
    file: &SqliteFile,
    step: &'static str,
) -> Result<sqlx::Transaction<'static, Sqlite>, LedgerError> {
    check(file, step)?;
    file.writer.begin_with(BEGIN).await.map_err(during(step))
}

/// Checks that the file is not lost.
pub(super) fn check(file: &SqliteFile, step: &'static str) -> Result<(), LedgerError> {
    file.check().map_err(|error| LedgerError::Transient { step, source: error.into() })
}

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
