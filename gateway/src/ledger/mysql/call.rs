//! What all calls on the server have in common: how long they may take, and what their errors mean.

use std::time::Duration;

use serde::Serialize;
use sqlx::error::{DatabaseError, ErrorKind};
use sqlx::mysql::{MySqlDatabaseError, MySqlRow};
use sqlx::{AssertSqlSafe, MySqlConnection};

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

/// A statement with the number of rows in the place of `LIMIT ?`. In a session that is bound to a shard, vtgate prepares a
/// statement by running it with NULL for every parameter, which LIMIT does not accept.
pub(super) fn limited(statement: &'static str, rows_max: u32) -> AssertSqlSafe<String> {
    AssertSqlSafe(statement.replace("LIMIT ?", &format!("LIMIT {rows_max}")))
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn no_statement_has_a_parameter_in_its_limit() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ledger/mysql");
        let sources = folder.read_dir().expect("a folder").map(|entry| entry.expect("an entry").path());
        let mut limited = 0;
        for source in sources.filter(|path| path.is_file()) {
            let text = std::fs::read_to_string(&source).expect("a source file");
            for (at, opening) in text.match_indices("include_str!(\"") {
                let (path, _) = text[at + opening.len()..].split_once('"').expect("a closing quote");
                let statement = std::fs::read_to_string(folder.join(path));
                if statement.is_ok_and(|statement| statement.contains("LIMIT ?")) {
                    assert!(text[..at].ends_with("limited("), "{}: {path}", source.display());
                    limited += 1;
                }
            }
        }
        assert!(limited > 0);
    }
}
