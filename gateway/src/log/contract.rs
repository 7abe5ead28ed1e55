//! One suite that every log passes: `contract_tests!(embedded => open().await)`, where the expression
//! gives a fresh log and whatever keeps it alive.

use std::collections::HashMap;
use std::time::Duration;

use super::{AppendError, Assignment, Headers, Log, Reader, Record, Stored};
use crate::coupon::{PartitionNo, RequestId};

const PARTITION: PartitionNo = PartitionNo(2);
/// Longer than any step of these tests takes; a log that never answers fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(20);

fn record(number: u64) -> Record {
    let headers = Headers {
        request_id: Some(RequestId::new()),
        traceparent: number.is_multiple_of(2).then(|| "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        generation: number,
    };
    Record { key: format!("104:{number}"), headers, value: number.to_string().into_bytes() }
}

async fn append(log: &dyn Log, partition: PartitionNo, record: Record) -> u64 {
    let ack = log.append(partition, record).expect("has room");
    tokio::time::timeout(PATIENCE, ack).await.expect("answers in time").expect("becomes durable")
}

async fn reader(log: &dyn Log, partition: PartitionNo) -> Box<dyn Reader> {
    let mut assignments = log.assignments();
    loop {
        let assignment: Assignment =
            tokio::time::timeout(PATIENCE, assignments.recv()).await.expect("assigns in time").expect("assigns");
        if assignment.partition == partition {
            return assignment.reader;
        }
    }
}

async fn read(reader: &mut Box<dyn Reader>, from: u64, records_max: usize) -> Vec<Stored> {
    let read = tokio::time::timeout(PATIENCE, reader.read(from, records_max)).await.expect("reads in time");
    read.expect("reads").expect("is still assigned")
}

pub(crate) async fn what_is_acknowledged_is_read_as_it_was_appended(log: &dyn Log) {
    let written: Vec<Record> = (0..10).map(record).collect();
    let first = log.end_offset(PARTITION);
    for (place, record) in (first..).zip(&written) {
        assert_eq!(append(log, PARTITION, record.clone()).await, place);
    }
    assert_eq!(log.end_offset(PARTITION), first + 10);
    let mut reader = reader(log, PARTITION).await;
    let mut found = Vec::new();
    while found.len() < 10 {
        found.extend(read(&mut reader, first + found.len() as u64, 4).await);
    }
    let expected: Vec<Stored> = (first..).zip(written).map(|(offset, record)| Stored { offset, record }).collect();
    assert_eq!(found, expected);
}

pub(crate) async fn a_group_keeps_its_order_in_every_partition(log: &dyn Log) {
    let mut acks: HashMap<u32, Vec<super::Ack>> = HashMap::new();
    for number in 0..3000 {
        let partition = (number % 3) as u32;
        let ack = log.append(PartitionNo(partition), record(number)).expect("has room");
        acks.entry(partition).or_default().push(ack);
    }
    for acks in acks.into_values() {
        let mut before = None;
        for ack in acks {
            let offset = tokio::time::timeout(PATIENCE, ack).await.expect("in time").expect("becomes durable");
            assert!(before.is_none_or(|before| offset == before + 1), "{before:?} then {offset}");
            before = Some(offset);
        }
    }
}

pub(crate) async fn a_reader_starts_anywhere_and_waits_at_the_end(log: &dyn Log) {
    for number in 0..5 {
        append(log, PARTITION, record(number)).await;
    }
    let end = log.end_offset(PARTITION);
    let mut reader = reader(log, PARTITION).await;
    let offsets = |stored: Vec<Stored>| stored.iter().map(|stored| stored.offset).collect::<Vec<_>>();
    assert_eq!(offsets(read(&mut reader, end - 2, 100).await), [end - 2, end - 1]);
    assert_eq!(offsets(read(&mut reader, end - 5, 1).await), [end - 5]);
    let early = tokio::time::timeout(Duration::from_millis(100), reader.read(end, 100)).await;
    assert!(early.is_err(), "there is nothing to read yet");
    let (appended, found) = tokio::join!(append(log, PARTITION, record(5)), read(&mut reader, end, 100));
    assert_eq!(offsets(found), [appended]);
}

pub(crate) async fn a_full_queue_refuses_at_once(log: &dyn Log) {
    // Nothing is awaited in between, so the log has no chance to drain its queue.
    let mut acks = Vec::new();
    let refused = (0..2_000_000).find_map(|number| match log.append(PARTITION, record(number)) {
        Ok(ack) => {
            acks.push(ack);
            None
        }
        Err(error) => Some(error),
    });
    assert!(matches!(refused, Some(AppendError::Full)), "{refused:?}");
    for ack in acks {
        tokio::time::timeout(PATIENCE, ack).await.expect("in time").expect("what had room becomes durable");
    }
}

pub(crate) async fn closing_makes_what_was_enqueued_durable_and_refuses_the_rest(log: &dyn Log) {
    let acks: Vec<_> = (0..100).map(|number| log.append(PARTITION, record(number)).expect("has room")).collect();
    log.close().await;
    for ack in acks {
        ack.await.expect("became durable");
    }
    assert!(matches!(log.append(PARTITION, record(0)), Err(AppendError::Closed)));
}

macro_rules! contract_tests {
    ($name:ident => $open:expr) => {
        $crate::log::contract::contract_tests!($name => $open;
            what_is_acknowledged_is_read_as_it_was_appended,
            a_group_keeps_its_order_in_every_partition,
            a_reader_starts_anywhere_and_waits_at_the_end,
            a_full_queue_refuses_at_once,
            closing_makes_what_was_enqueued_durable_and_refuses_the_rest,
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
pub(crate) use contract_tests;
