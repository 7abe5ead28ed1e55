//! Writes a batch: its outcomes, the terms that they refer to, and what they add to the tallies.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::call::during;
use crate::coupon::Settled;
use crate::ledger::LedgerError;
use crate::ledger::outcome_row::{OutcomeRow, json};
use crate::ledger::tally::tally_rows;
use crate::ledger::terms::{StoredTerms, TermsDigest};

pub(super) async fn insert_terms(
    connection: &mut SqliteConnection,
    terms: BTreeMap<TermsDigest, StoredTerms>,
) -> Result<(), LedgerError> {
    if terms.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = terms.into_values().map(|terms| (terms.digest, terms.coupon_id, terms.json)).collect();
    insert(connection, "insert the terms", include_str!("../sql/sqlite/insert_terms.sql"), json(&rows)).await
}

pub(super) async fn insert_outcomes(
    connection: &mut SqliteConnection,
    rows: &[OutcomeRow<'_>],
) -> Result<(), LedgerError> {
    insert(connection, "insert the outcomes", include_str!("../sql/sqlite/insert_outcomes.sql"), json(&rows)).await
}

pub(super) async fn add_tallies(connection: &mut SqliteConnection, settled: &[Settled]) -> Result<(), LedgerError> {
    let rows = json(&tally_rows(settled));
    insert(connection, "add to the tallies", include_str!("../sql/sqlite/add_tallies.sql"), rows).await
}

async fn insert(
    connection: &mut SqliteConnection,
    step: &'static str,
    statement: &'static str,
    rows: String,
) -> Result<(), LedgerError> {
    sqlx::query(statement).bind(rows).execute(connection).await.map_err(during(step))?;
    Ok(())
}
