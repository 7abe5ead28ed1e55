//! The file of a log that has run for months.

use std::time::Duration;

use sqlx::AssertSqlSafe;

use super::*;
use crate::coupon::now_ms;
use crate::log::{Headers, Reader};
use crate::telemetry::Telemetry;

const PARTITION: PartitionNo = PartitionNo(3);
/// One step for each partition.
const ROUND: usize = 12;

/// A log with a long retention, and a second trimmer, without any, that the test steps by hand.
async fn open(folder: &tempfile::TempDir) -> (Embedded, Trimmer) {
    let path = folder.path().join("log");
    let path = path.to_str().expect("utf-8");
    let (log, background) = Embedded::open(path, &Options::default(), &Telemetry::new()).await.expect("opens");
    background.into_iter().for_each(|task| _ = tokio::spawn(task.run));
    let trimmer = Trimmer::new(Arc::clone(&log.file), Arc::clone(&log.settled), Some(Duration::ZERO));
    (log, trimmer)
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Adds batches of `records` records each, as an earlier release wrote them a minute ago: so the log's own trimmer lets
/// them stay.
async fn fill(log: &Embedded, partition: PartitionNo, batches: u32, records: u32) {
    let insert = "
        WITH RECURSIVE batch (number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM batch WHERE number + 1 < ?2)
        INSERT INTO record_batch (partition_no, base_offset, records, appended_at_ms, payload)
        SELECT ?1, number * ?3, ?3, ?4, zeroblob(100) FROM batch";
    let query = sqlx::query(insert).bind(partition.0).bind(batches).bind(records).bind(now_ms() - 60_000);
    query.execute(&log.file.writer).await.expect("inserts");
    log.ends.reload(&log.file).await.expect("reads the end offsets");
}

async fn batches(log: &Embedded, partition: PartitionNo) -> usize {
    let count = sqlx::query("SELECT count(*) AS batches FROM record_batch WHERE partition_no = ?1").bind(partition.0);
    let row = count.fetch_one(&log.file.writer).await.expect("counts");
    usize::try_from(row.get::<i64, _>("batches")).expect("at least 0")
}

async fn append(log: &Embedded, partition: PartitionNo) -> Offset {
    let record = Record { key: "104:0".into(), headers: Headers::default(), value: b"1".to_vec() };
    log.append(partition, record).expect("queued").await.expect("durable")
}

#[tokio::test]
async fn trimming_deletes_a_bounded_number_of_batches_between_appends() {
    let folder = temporary();
    let (log, mut trimmer) = open(&folder).await;
    fill(&log, PARTITION, 1000, 1).await;
    log.trim(PARTITION, 1000);
    let mut before = batches(&log, PARTITION).await;
    let mut appended = 0;
    while log.end_offset(PARTITION) < 1000 + 5 * ROUND as u64 {
        trimmer.step().await;
        let after = batches(&log, PARTITION).await;
        assert!(before - after <= 256, "{before} batches, then {after}");
        assert_eq!(append(&log, PARTITION).await, 1000 + appended);
        appended += 1;
        before = after + 1;
    }
    assert_eq!(before, appended as usize, "the old batches are gone");
}

#[tokio::test]
async fn a_partition_that_cannot_be_trimmed_does_not_keep_the_batches_of_the_others() {
    let folder = temporary();
    let (log, mut trimmer) = open(&folder).await;
    for partition in [PartitionNo(0), PARTITION] {
        fill(&log, partition, 100, 1).await;
        log.trim(partition, 100);
    }
    let refuse = "CREATE TRIGGER refuse BEFORE DELETE ON record_batch WHEN OLD.partition_no = 0
                  BEGIN SELECT RAISE(ABORT, 'unreadable'); END";
    sqlx::query(refuse).execute(&log.file.writer).await.expect("creates");
    for _ in 0..ROUND {
        trimmer.step().await;
    }
    assert_eq!((batches(&log, PartitionNo(0)).await, batches(&log, PARTITION).await), (100, 1));
}

#[tokio::test]
async fn a_step_deletes_fewer_batches_if_they_are_large() {
    let folder = temporary();
    let (log, mut trimmer) = open(&folder).await;
    fill(&log, PartitionNo(0), 100, 1024).await;
    log.trim(PartitionNo(0), 100 * 1024);
    trimmer.step().await;
    assert_eq!(batches(&log, PartitionNo(0)).await, 96);
}

#[tokio::test]
async fn an_idle_partition_is_trimmed_and_keeps_its_end_offset() {
    let folder = temporary();
    let (log, mut trimmer) = open(&folder).await;
    fill(&log, PARTITION, 300, 1).await;
    log.trim(PARTITION, 300);
    for _ in 0..3 * ROUND {
        trimmer.step().await;
    }
    assert_eq!(batches(&log, PARTITION).await, 1, "the newest batch holds the end offset");
    log.close().await;
    drop((log, trimmer));
    let (log, _) = open(&folder).await;
    assert_eq!(log.end_offset(PARTITION), 300);
    assert_eq!(append(&log, PARTITION).await, 300);
}

#[tokio::test]
async fn unsettled_and_young_batches_stay() {
    let folder = temporary();
    let (log, mut trimmer) = open(&folder).await;
    let (unsettled, young) = (PartitionNo(0), PartitionNo(1));
    fill(&log, unsettled, 10, 1).await;
    log.trim(unsettled, 4);
    trimmer.step().await;
    assert_eq!(batches(&log, unsettled).await, 6);

    let mut patient = Trimmer::new(Arc::clone(&log.file), Arc::clone(&log.settled), Some(Duration::from_secs(3600)));
    append(&log, young).await;
    append(&log, young).await;
    log.trim(young, 2);
    for _ in 0..2 {
        patient.step().await;
    }
    assert_eq!(batches(&log, young).await, 2);
}

#[tokio::test]
async fn no_statement_visits_the_whole_file() {
    let folder = temporary();
    let (log, _) = open(&folder).await;
    for statement in [
        include_str!("../sql/embedded/select_batches.sql"),
        include_str!("../sql/embedded/select_end.sql"),
        include_str!("../sql/embedded/select_oldest.sql"),
        include_str!("../sql/embedded/delete_batches.sql"),
    ] {
        let explain = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")));
        let steps = explain.fetch_all(&log.file.readers).await.expect("explains");
        let plan: Vec<String> = steps.iter().map(|row| row.get("detail")).collect();
        let searches = plan.iter().filter(|step| step.starts_with("SEARCH record_batch USING")).count();
        let has_scan = plan.iter().any(|step| step.contains("SCAN") || step.contains("TEMP B-TREE"));
        assert!(searches > 0 && !has_scan, "{statement}: {plan:?}");
    }
}

#[tokio::test]
async fn a_backlog_read_fills_up_with_small_batches_and_loads_no_more_large_ones_than_it_returns() {
    let folder = temporary();
    let (log, _) = open(&folder).await;
    for _ in 0..40 {
        append(&log, PARTITION).await;
    }
    let end = log.ends.subscribe().nth(PARTITION.0 as usize).expect("exists").1;
    let mut reader = FileReader { partition: PARTITION, end, file: Arc::clone(&log.file) };
    let read = reader.read(3, 32).await.expect("reads").expect("assigned");
    assert_eq!(read.iter().map(|stored| stored.offset).collect::<Vec<_>>(), (3..35).collect::<Vec<_>>());

    fill(&log, PartitionNo(0), 16, 1024).await;
    let select = sqlx::query(include_str!("../sql/embedded/select_batches.sql")).bind(0).bind(1024).bind(2048);
    let loaded = select.fetch_all(&log.file.readers).await.expect("reads");
    assert_eq!(loaded.len(), 1, "of 16 batches");
}
