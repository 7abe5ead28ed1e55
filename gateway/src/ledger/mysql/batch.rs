//! Writes a batch: its outcomes, the terms that they refer to, and what they add to the tallies.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use sqlx::{AssertSqlSafe, MySql, MySqlConnection, QueryBuilder};

use super::call::during;
use crate::coupon::Settled;
use crate::ledger::LedgerError;
use crate::ledger::outcome_row::{OutcomeRow, json};
use crate::ledger::tally::tally_rows;
use crate::ledger::terms::{GrantTerms, StoredTerms, TermsDigest};

pub(super) const INSERT: &str = "insert the outcomes";

/// A quarter of MariaDB's default `max_allowed_packet`.
const STATEMENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Room for one row of a statement; most are shorter. The longest batch makes 1 MiB.
const ROW_BYTES: usize = 256;

/// One statement, unless the terms are too long for one.
pub(super) async fn insert_terms(
    connection: &mut MySqlConnection,
    terms: BTreeMap<TermsDigest, StoredTerms>,
) -> Result<(), LedgerError> {
    let mut terms = terms.into_values().peekable();
    while terms.peek().is_some() {
        let mut insert: QueryBuilder<MySql> = QueryBuilder::new(include_str!("../sql/mysql/insert_terms.sql"));
        let (mut separator, mut bytes) = ("VALUES ", 0);
        while let Some(StoredTerms { digest, coupon_id, json }) =
            terms.next_if(|terms| bytes == 0 || bytes + terms.json.len() <= STATEMENT_BYTES_MAX)
        {
            bytes += json.len();
            insert.push(separator).push(format_args!("(x'{digest}', {coupon_id}, ")).push_bind(json).push(")");
            separator = ", ";
        }
        insert.push(" ON DUPLICATE KEY UPDATE digest = digest");
        // Hardly two batches have the same number of terms: a prepared statement would not be used again.
        insert.build().persistent(false).execute(&mut *connection).await.map_err(during("insert the terms"))?;
    }
    Ok(())
}

/// The statement that inserts the outcomes, and the terms of their grants. It is built row by row, because a batch of
/// rows is large.
///
/// Nothing in these rows comes from a client as text: numbers, our own words and hexadecimal are written into the
/// statement, which costs the server far less than parameters.
pub(super) fn outcomes_statement(settled: &[Settled]) -> (String, Vec<GrantTerms<'_>>) {
    let header = include_str!("../sql/mysql/insert_outcomes.sql");
    let mut statement = String::with_capacity(header.len() + ROW_BYTES * settled.len());
    statement.push_str(header);
    let mut terms = Vec::new();
    let mut separator = "VALUES ";
    for settled in settled {
        let row = OutcomeRow::of(settled);
        write!(statement, "{separator}{}", Values(&row)).expect("a String accepts everything");
        separator = ", ";
        terms.extend(row.terms);
    }
    (statement, terms)
}

pub(super) async fn insert_outcomes(connection: &mut MySqlConnection, statement: String) -> Result<(), LedgerError> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map_err(during(INSERT))?;
    Ok(())
}

pub(super) async fn add_tallies(connection: &mut MySqlConnection, settled: &[Settled]) -> Result<(), LedgerError> {
    sqlx::query(include_str!("../sql/mysql/add_tallies.sql"))
        .bind(json(&tally_rows(settled)))
        .execute(connection)
        .await
        .map_err(during("add to the tallies"))?;
    Ok(())
}

/// A row, as it stands in an INSERT.
struct Values<'a>(&'a OutcomeRow<'a>);

impl fmt::Display for Values<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OutcomeRow { request_id: id, status, arm_no, partition, offset, settled_at_ms, .. } = self.0;
        write!(
            f,
            "(x'{id}', '{status}', {}, {}, {}, {}, {}, {}, {arm_no}, {}, {partition}, {offset}, {}, {settled_at_ms}, {})",
            Nullable(self.0.coupon_id),
            Nullable(self.0.user_id),
            Nullable(self.0.grant_no),
            Nullable(self.0.shard_no),
            Nullable(self.0.picked_shard_no),
            Nullable(self.0.generation),
            Nullable(self.0.fingerprint),
            Nullable(self.0.arrived_at_ms),
            Nullable(self.0.terms.as_ref().map(|terms| format!("x'{}'", terms.digest))),
        )
    }
}

struct Nullable<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Nullable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("NULL"),
        }
    }
}
