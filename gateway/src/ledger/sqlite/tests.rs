use sqlx::migrate::Migrator;

use super::*;
use crate::coupon::{Outcome, ShardNo, now_ms};
use crate::ledger::contract::{PARTITION, settled};

async fn temporary() -> (Sqlite, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("ledger.db");
    (Sqlite::open(path.to_str().expect("utf-8")).await.expect("opens"), folder)
}

crate::ledger::contract::contract_tests!(sqlite => temporary().await);

#[tokio::test]
async fn an_upgrade_takes_all_rejections_before_it_as_released() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("ledger.db");
    let path = path.to_str().expect("utf-8");
    let file = open_file(path).await.expect("opens");
    let mut writer = file.writer.acquire().await.expect("connects");
    migrations::SQLITE.run_to(2, &mut *writer).await.expect("migrates to the version before");
    sqlx::raw_sql("INSERT INTO partition_offset (partition_no, epoch, next_offset) VALUES (3, 1, 70)")
        .execute(&mut *writer)
        .await
        .expect("inserts");
    drop(writer);
    file.close().await;
    drop(file);
    let claim = Sqlite::open(path).await.expect("opens").claim(PartitionNo(3)).await.expect("claims");
    assert_eq!((claim.next_offset, claim.released_offset), (70, 70));
}

#[tokio::test]
async fn the_retention_of_a_campaign_that_was_closed_before_an_upgrade_begins_with_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("ledger.db");
    let path = path.to_str().expect("utf-8");
    let file = open_file(path).await.expect("opens");
    let mut writer = file.writer.acquire().await.expect("connects");
    migrations::SQLITE.run_to(5, &mut *writer).await.expect("migrates to the version before");
    let columns = "coupon_id, policy_id, total, shards, per_user_limit, state";
    let insert = format!("INSERT INTO campaign ({columns}) VALUES (104, 21, 1, 1, 1, 'CLOSED')");
    sqlx::raw_sql(sqlx::AssertSqlSafe(insert)).execute(&mut *writer).await.expect("inserts");
    drop(writer);
    file.close().await;
    drop(file);
    let before = now_ms();
    let ledger = Sqlite::open(path).await.expect("opens");
    let expired =
        async |before| ledger.expired_campaigns(GroupNo::FIRST, Deletion::All, before, 9).await.expect("reads");
    // The migration's clock has seconds.
    assert_eq!(expired(before - 1_000).await, []);
    assert_eq!(expired(now_ms() + 1).await.len(), 1);
    assert_eq!(ledger.campaign_changes(GroupNo::FIRST, 0).await.expect("reads").closed.len(), 1);
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_and_says_so() {
    let (ledger, folder) = temporary().await;
    sqlx::query("INSERT INTO _sqlx_migrations VALUES (9999, 'later', CURRENT_TIMESTAMP, 1, x'00', 1)")
        .execute(&ledger.file.writer)
        .await
        .expect("inserts");
    ledger.close().await;
    drop(ledger);
    let path = folder.path().join("ledger.db");
    let path = path.to_str().expect("utf-8");
    for error in [Sqlite::open(path).await.err(), migrate(path).await.err()] {
        let error = error.expect("is refused").to_string();
        assert!(error.contains("is at version 9999, this sluice knows version"), "{error}");
        assert!(error.ends_with("run a newer sluice"), "{error}");
    }
}

#[tokio::test]
async fn outcomes_written_before_the_tallies_are_counted_and_keep_their_terms() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("ledger.db");
    let path = path.to_str().expect("utf-8");
    let file = open_file(path).await.expect("opens");
    let before = migrations::SQLITE.iter().filter(|migration| migration.version < 6).cloned().collect();
    Migrator::with_migrations(before).run(&file.writer).await.expect("migrates");
    let old = "INSERT INTO campaign VALUES (104, 21, 10, 1, 1, 'OPEN', NULL, NULL);
               INSERT INTO coupon_issue_shard (coupon_id, shard_no, remaining) VALUES (104, 0, 8);
               INSERT INTO issue_outcome VALUES
                   (x'01', 'ISSUED', 104, 1, 1, 0, 0, 1, NULL, 3, 0, 1, 2, '{}'),
                   (x'02', 'ISSUED', 104, 2, 1, 0, 1, 1, NULL, 4, 0, 1, 2, '{}'),
                   (x'03', 'SOLD_OUT', 104, 3, NULL, NULL, 0, 1, NULL, 3, 1, 1, 2, NULL),
                   (x'04', 'INVALID', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 3, 2, NULL, 2, NULL)";
    sqlx::raw_sql(old).execute(&file.writer).await.expect("inserts");
    file.close().await;
    drop(file);

    let ledger = Sqlite::open(path).await.expect("opens");
    let coupon = 104_u64.try_into().expect("in range");
    let audit = ledger.recount(coupon).await.expect("reads").expect("exists");
    assert_eq!((audit.granted, audit.users, audit.sold_out, audit.balanced), (2, 2, 1, true));
    assert!(audit.recount.is_some_and(|recount| recount.agrees));
    let kept = sqlx::query("SELECT request_id FROM issue_outcome WHERE terms = '{}' AND terms_digest IS NULL");
    assert_eq!(kept.fetch_all(&ledger.file.readers).await.expect("reads").len(), 2);
}

#[tokio::test]
async fn terms_that_earlier_versions_stored_are_read_and_stay() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("ledger.db");
    let path = path.to_str().expect("utf-8");
    let file = open_file(path).await.expect("opens");
    let mut writer = file.writer.acquire().await.expect("connects");
    migrations::SQLITE.run_to(14, &mut *writer).await.expect("migrates to the version before");
    let columns = "status, coupon_id, user_id, grant_no, shard_no, partition_no, log_offset, settled_at_ms";
    let issued = "'ISSUED', 104, 1";
    let old = format!(
        r#"INSERT INTO issue_terms VALUES (zeroblob(16), '{{"typeSnapshot":"SHARED"}}');
           INSERT INTO issue_outcome ({columns}, request_id, terms) VALUES
               ({issued}, 1, 0, 3, 0, 2, unhex(hex(zeroblob(15)) || '01'), '{{"typeSnapshot":"OWN"}}');
           INSERT INTO issue_outcome ({columns}, request_id, terms_digest) VALUES
               ({issued}, 2, 0, 3, 1, 2, unhex(hex(zeroblob(15)) || '02'), zeroblob(16))"#
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(old)).execute(&mut *writer).await.expect("inserts");
    drop(writer);
    file.close().await;
    drop(file);

    let ledger = Sqlite::open(path).await.expect("opens");
    let coupon = 104_u64.try_into().expect("in range");
    assert_eq!(ledger.delete_terms(coupon, 9).await.expect("deletes"), 0);
    let requests = [1, 2].map(|name| u128::to_be_bytes(name).into());
    let terms = ledger.terms(coupon, &requests).await.expect("reads");
    assert_eq!(requests.map(|request| terms[&request].type_snapshot.as_str()), ["OWN", "SHARED"]);
}

#[tokio::test]
async fn each_grant_refers_to_its_terms_which_its_campaign_stores_once() {
    let (ledger, _folder) = temporary().await;
    for (name, coupon) in [(1, 104_u64), (2, 104), (3, 105)] {
        let mut grant = settled(name, name.into(), Outcome::Issued { shard: ShardNo(0), grant_no: 1 });
        grant.subject.as_mut().expect("a subject").coupon_id = coupon.try_into().expect("in range");
        let mut transaction = ledger.begin(PARTITION).await.expect("begins");
        transaction.insert_outcomes(&[grant]).await.expect("inserts");
        transaction.commit().await.expect("commits");
    }
    let referring = "SELECT known.terms FROM issue_outcome AS outcome \
                       JOIN issue_terms AS known ON digest = terms_digest AND known.coupon_id = outcome.coupon_id";
    assert_eq!(sqlx::query(referring).fetch_all(&ledger.file.readers).await.expect("reads").len(), 3);
    let stored = sqlx::query("SELECT digest FROM issue_terms").fetch_all(&ledger.file.readers).await.expect("reads");
    assert_eq!(stored.len(), 2);
}

#[tokio::test]
async fn a_file_that_is_open_cannot_be_opened_again() {
    let (_ledger, folder) = temporary().await;
    let path = folder.path().join("ledger.db");
    let second = Sqlite::open(path.to_str().expect("utf-8")).await;
    assert!(matches!(second, Err(OpenError::InUse(_))));
}

#[tokio::test]
async fn an_audit_reads_no_outcome() {
    let (ledger, _folder) = temporary().await;
    let audited = crate::ledger::contract::store_audited(&ledger).await;
    let hide = "ALTER TABLE issue_outcome RENAME TO hidden";
    sqlx::query(hide).execute(&ledger.file.writer).await.expect("renames");
    assert_eq!(ledger.audit(audited.coupon_id).await.expect("reads"), Some(audited.clone()));
    ledger.recount(audited.coupon_id).await.expect_err("a recount reads them");
}
