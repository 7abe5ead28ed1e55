//! How the server reads what the retention asks for.

use sqlx::Row;

use super::*;

#[tokio::test]
async fn a_page_of_outcomes_is_read_in_the_order_of_the_index() {
    let (ledger, database) = fresh().await;
    ledger.create_campaign(&campaign(2_000, 1)).await.expect("creates");
    let mut transaction = ledger.begin(PARTITION).await.expect("begins");
    let settled: Vec<Settled> = (1..=200).map(|user| grant(user, user.into())).collect();
    transaction.insert_outcomes(&settled).await.expect("inserts");
    transaction.commit().await.expect("commits");
    let explain = concat!("EXPLAIN FORMAT=TRADITIONAL ", include_str!("../../sql/mysql/select_outcomes.sql"));
    let mut query = sqlx::query(explain).bind(104).bind(7).bind([7_u8; 16].as_slice()).bind(10);
    query = query.bind(104).bind(7).bind(1).bind(10).bind(104).bind(7).bind(10).bind(10);
    let plan = query.fetch_all(&mut database.raw().await).await.expect("explains");
    let steps: Vec<String> = plan
        .iter()
        .filter(|row| row.get::<Option<String>, _>("table").as_deref() == Some("issue_outcome"))
        .map(|row| row.get::<Option<String>, _>("Extra").unwrap_or_default())
        .collect();
    assert_eq!(steps.len(), 3, "{steps:?}");
    // Of what one user was refused, the ids are sorted; the index holds them.
    let (sorted, in_order): (Vec<_>, Vec<_>) = steps.iter().partition(|extra| extra.contains("filesort"));
    assert_eq!(in_order.len(), 2, "{steps:?}");
    assert!(sorted[0].split("; ").any(|note| note == "Using index"), "{steps:?}");
}
