//! The contract of [`Log`] as a test suite for every adapter: `contract_tests!(embedded => open().await)`, where the
//! expression gives a new log and a guard that keeps it alive.

use std::collections::HashMap;
use std::time::Duration;

use super::{Ack, AppendError, Assignment, Gap, Headers, Log, ReadError, Reader, Record, Stored};
use crate::coupon::{Arm, DecidedBy, LogId, PartitionNo, RequestId};

const PARTITION: PartitionNo = PartitionNo(2);
/// Longer than any step takes: a log that never answers fails its test instead of blocking it.
const STEP_MAX: Duration = Duration::from_mins(1);

fn record(number: u64) -> Record {
    let headers = Headers {
        request_id: Some(RequestId::new()),
        traceparent: number.is_multiple_of(2).then(|| "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        decided_by: DecidedBy { generation: number, arm: if number < 5 { Arm::Active } else { Arm::Canary } },
    };
    Record { key: format!("104:{number}"), headers, value: number.to_string().into_bytes() }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(STEP_MAX, future).await.expect("the log answers in time")
}

async fn append(log: &dyn Log, partition: PartitionNo, record: Record) -> u64 {
    let ack = log.append(partition, record).expect("has room");
    within(ack).await.expect("becomes durable")
}

async fn reader(log: &dyn Log, partition: PartitionNo) -> Box<dyn Reader> {
    let mut assignments = log.assignments();
    loop {
        let assignment: Assignment = within(assignments.recv()).await.expect("assigns");
        if assignment.partition == partition {
            return assignment.reader;
        }
    }
}

async fn read(reader: &mut Box<dyn Reader>, from: u64, records_max: usize) -> Vec<Stored> {
    within(reader.read(from, records_max)).await.expect("reads").expect("is still assigned")
}

fn offsets(stored: &[Stored]) -> Vec<u64> {
    stored.iter().map(|stored| stored.offset).collect()
}

pub(super) async fn acknowledged_records_are_read_back_unchanged(log: &dyn Log) {
    let appended: Vec<Record> = (0..10).map(record).collect();
    let first = log.end_offset(PARTITION);
    for (offset, record) in (first..).zip(&appended) {
        assert_eq!(append(log, PARTITION, record.clone()).await, offset);
    }
    assert_eq!(log.end_offset(PARTITION), first + 10);
    let mut reader = reader(log, PARTITION).await;
    let mut found = Vec::new();
    while found.len() < 10 {
        found.extend(read(&mut reader, first + found.len() as u64, 4).await);
    }
    let expected: Vec<Stored> = (first..).zip(appended).map(|(offset, record)| Stored { offset, record }).collect();
    assert_eq!(found, expected);
}

pub(super) async fn concurrent_appends_keep_their_order_in_each_partition(log: &dyn Log) {
    let mut acks: HashMap<u32, Vec<Ack>> = HashMap::new();
    for number in 0..1500 {
        let partition = (number % 3) as u32;
        let ack = log.append(PartitionNo(partition), record(number)).expect("has room");
        acks.entry(partition).or_default().push(ack);
    }
    for acks in acks.into_values() {
        let mut before = None;
        for ack in acks {
            let offset = within(ack).await.expect("becomes durable");
            assert!(before.is_none_or(|before| offset == before + 1), "{before:?} then {offset}");
            before = Some(offset);
        }
    }
}

pub(super) async fn a_reader_starts_at_any_offset_and_waits_at_the_end(log: &dyn Log) {
    for number in 0..5 {
        append(log, PARTITION, record(number)).await;
    }
    let end = log.end_offset(PARTITION);
    let mut reader = reader(log, PARTITION).await;
    assert_eq!(offsets(&read(&mut reader, end - 2, 100).await), [end - 2, end - 1]);
    assert_eq!(offsets(&read(&mut reader, end - 5, 1).await), [end - 5]);
    let early = tokio::time::timeout(Duration::from_millis(100), reader.read(end, 100)).await;
    assert!(early.is_err(), "no record is at the end yet");
    let (appended, found) = tokio::join!(append(log, PARTITION, record(5)), read(&mut reader, end, 100));
    assert_eq!(offsets(&found), [appended]);
}

pub(super) async fn a_fresh_end_offset_is_after_every_acknowledged_record(log: &dyn Log) {
    let appended = append(log, PARTITION, record(0)).await;
    let fresh = loop {
        if let Some(end) = within(log.fresh_end_offset(PARTITION)).await {
            break end;
        }
    };
    assert_eq!((fresh, log.accepts(PARTITION)), (appended + 1, Ok(())));
    let absent = PartitionNo(log.partitions());
    assert_eq!(within(log.fresh_end_offset(absent)).await, Some(0));
}

pub(super) async fn a_full_queue_rejects_an_append_at_once(log: &dyn Log) {
    // Nothing is awaited in between, so the log has no chance to drain its queue.
    let mut acks = Vec::new();
    let rejected = (0..2_000_000).find_map(|number| match log.append(PARTITION, record(number)) {
        Ok(ack) => {
            acks.push(ack);
            None
        }
        Err(error) => Some(error),
    });
    assert!(matches!(rejected, Some(AppendError::Full)), "{rejected:?}");
    for ack in acks {
        within(ack).await.expect("a queued record becomes durable");
    }
}

pub(super) async fn closing_makes_queued_records_durable_and_rejects_later_ones(log: &dyn Log) {
    let acks: Vec<_> = (0..100).map(|number| log.append(PARTITION, record(number)).expect("has room")).collect();
    within(log.close()).await;
    for ack in acks {
        within(ack).await.expect("became durable");
    }
    assert!(matches!(log.append(PARTITION, record(0)), Err(AppendError::Closed)));
}

pub(super) async fn assignments_stay_open_until_the_log_closes(log: &dyn Log) {
    let mut assignments = log.assignments();
    for _ in 0..log.partitions() {
        within(assignments.recv()).await.expect("every partition is assigned");
    }
    let early = tokio::time::timeout(Duration::from_millis(300), assignments.recv()).await;
    assert!(early.is_err(), "closed, or assigned twice");
    within(log.close()).await;
    assert!(within(assignments.recv()).await.is_none());
}

pub(super) async fn a_reader_beyond_the_end_reports_where_the_log_ends(log: &dyn Log) {
    for number in 0..3 {
        append(log, PARTITION, record(number)).await;
    }
    let end = log.end_offset(PARTITION);
    let mut reader = reader(log, PARTITION).await;
    let expected = Gap::Short { from: end + 5, end };
    let found = within(reader.read(end + 5, 100)).await;
    assert!(matches!(&found, Err(ReadError::Gap(gap)) if *gap == expected), "{found:?}");
    assert_eq!(within(log.gap(PARTITION, end + 5)).await.expect("looks"), Some(expected));
    for offset in [0, end - 1, end] {
        assert_eq!(within(log.gap(PARTITION, offset)).await.expect("looks"), None, "{offset}");
    }
    assert_eq!(offsets(&read(&mut reader, end - 1, 100).await), [end - 1], "it reads on from an offset that exists");
}

pub(super) async fn a_log_keeps_the_identity_that_it_was_given(log: &dyn Log) {
    assert_eq!(within(log.identity()).await.expect("reads"), None);
    for identity in [LogId::random(), LogId::random()] {
        within(log.set_identity(identity)).await.expect("stores");
        assert_eq!(within(log.identity()).await.expect("reads"), Some(identity));
    }
}

macro_rules! contract_tests {
    ($name:ident => $open:expr) => {
        $crate::log::contract::contract_tests!($name => $open;
            acknowledged_records_are_read_back_unchanged,
            concurrent_appends_keep_their_order_in_each_partition,
            a_reader_starts_at_any_offset_and_waits_at_the_end,
            a_fresh_end_offset_is_after_every_acknowledged_record,
            a_full_queue_rejects_an_append_at_once,
            closing_makes_queued_records_durable_and_rejects_later_ones,
            assignments_stay_open_until_the_log_closes,
            a_reader_beyond_the_end_reports_where_the_log_ends,
            a_log_keeps_the_identity_that_it_was_given,
        );
    };
    ($name:ident => $open:expr; $($promise:ident,)+) => {
        mod $name {
            use super::*;
            $(
                #[tokio::test]
                async fn $promise() {
                    let (log, _guard) = $open;
                    $crate::log::contract::$promise(&log).await;
                }
            )+
        }
    };
}
pub(super) use contract_tests;
