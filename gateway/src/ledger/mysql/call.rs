//! What all calls on the server have in common: how long they may take, and what their errors mean.

use std::time::Duration;

use serde::Serialize;
use sqlx::MySqlConnection;
use sqlx::error::{DatabaseError, ErrorKind};
use sqlx::mysql::{MySqlDatabaseError, MySqlRow};

use crate::ledger::LedgerError;
use crate::ledger::outcome_row::json;

/// Well above the sum of all lock waits within one call: after it, the server or the network is gone.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Fails with a transient error after [`ANSWER_MAX`].
pub(super) async fn within<T, E: From<LedgerError>>(
    step: &'static str,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match tokio::time::timeout(ANSWER_MAX, call).await {
        Ok(answered) => answered,
        Err(elapsed) => Err(LedgerError::Transient { step, source: elapsed.into() }.into()),
    }
}

/// Runs a statement whose one parameter is a list. An empty list needs no statement.
pub(super) async fn select(
    connection: &mut MySqlConnection,
    step: &'static str,
    statement: &'static str,
    list: &[impl Serialize],
) -> Result<Vec<MySqlRow>, LedgerError> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query(statement).bind(json(&list)).fetch_all(connection).await.map_err(during(step))
}

/// Maps an error of the server: permanent when the data is the cause, otherwise transient, such as a duplicate
/// key, a deadlock, a lock wait timeout or a lost connection.
pub(super) fn during(step: &'static str) -> impl FnOnce(sqlx::Error) -> LedgerError {
    move |source| {
        let is_permanent = match &source {
            sqlx::Error::Database(error) => rejects_data(&**error),
            sqlx::Error::Encode(_) => true,
            _ => false,
        };
        let source = source.into();
        if is_permanent { LedgerError::Permanent { step, source } } else { LedgerError::Transient { step, source } }
    }
}

fn rejects_data(error: &dyn DatabaseError) -> bool {
    let violates = matches!(
        error.kind(),
        ErrorKind::CheckViolation | ErrorKind::NotNullViolation | ErrorKind::ForeignKeyViolation
    );
    // Packet too large; out of range; truncated; wrong for the column (twice); too long; out of range in JSON.
    violates || matches!(number(error), Some(1153 | 1264 | 1265 | 1292 | 1366 | 1406 | 3669))
}

/// The error number of the server's manual.
pub(super) fn number(error: &dyn DatabaseError) -> Option<u16> {
    error.try_downcast_ref::<MySqlDatabaseError>().map(MySqlDatabaseError::number)
}
