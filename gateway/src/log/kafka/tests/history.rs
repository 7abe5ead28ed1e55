//! What a topic must keep, and what is reported if it did not.

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use super::*;
use crate::log::{Headers, ReadError, Reader};

const PARTITION: PartitionNo = PartitionNo(2);
const STEP_MAX: Duration = Duration::from_mins(1);

fn admin(log: &Kafka) -> AdminClient<DefaultClientContext> {
    log.config.create().expect("an admin client")
}

async fn append(log: &Kafka, records: u64) {
    for number in 0..records {
        let record = Record { key: "104:0".into(), headers: Headers::default(), value: number.to_string().into() };
        log.append(PARTITION, record).expect("has room").await.expect("becomes durable");
    }
}

/// As `kafka-delete-records` and retention do.
async fn delete_records_before(log: &Kafka, offset: i64) {
    let mut until = TopicPartitionList::new();
    let partition = PARTITION.0.cast_signed();
    until.add_partition_offset(&log.address.topic, partition, KafkaOffset::Offset(offset)).expect("an offset");
    admin(log).delete_records(&until, &AdminOptions::new()).await.expect("deletes");
}

async fn reader(log: &Kafka) -> Box<dyn Reader> {
    let mut assignments = log.assignments();
    loop {
        let assignment = tokio::time::timeout(STEP_MAX, assignments.recv()).await.expect("in time").expect("assigns");
        if assignment.partition == PARTITION {
            return assignment.reader;
        }
    }
}

async fn gap(reader: &mut Box<dyn Reader>, from: Offset) -> Gap {
    match tokio::time::timeout(STEP_MAX, reader.read(from, 100)).await.expect("in time") {
        Err(ReadError::Gap(gap)) => gap,
        read => panic!("expected a gap at {from}, found {read:?}"),
    }
}

#[tokio::test]
async fn records_deleted_before_they_are_read_are_reported_with_their_range() {
    let (log, _guard) = create_and_open(&new_topic().1).await;
    append(&log, 10).await;
    delete_records_before(&log, 4).await;
    let mut reader = reader(&log).await;
    assert_eq!(gap(&mut reader, 0).await, Gap::Missing { from: 0, to: 4 });
    assert_eq!(log.gap(PARTITION, 1).await.expect("looks"), Some(Gap::Missing { from: 1, to: 4 }));
    let read = tokio::time::timeout(STEP_MAX, reader.read(4, 3)).await.expect("in time").expect("reads");
    assert_eq!(read.expect("is assigned").iter().map(|stored| stored.offset).collect::<Vec<_>>(), [4, 5, 6]);

    delete_records_before(&log, 10).await;
    let mut later = reader;
    assert_eq!(gap(&mut later, 5).await, Gap::Missing { from: 5, to: 10 }, "no record is left behind the gap");
    append(&log, 1).await;
    let read = tokio::time::timeout(STEP_MAX, later.read(10, 3)).await.expect("in time").expect("reads");
    assert_eq!(read.expect("is assigned").len(), 1);
}

#[tokio::test]
async fn a_topic_that_is_created_again_has_no_identity() {
    let (_, options) = new_topic();
    let (log, _guard) = create_and_open(&options).await;
    let address = log.address.clone();
    log.set_identity(LogId::random()).await.expect("stores");
    assert!(log.identity().await.expect("reads").is_some());
    admin(&log).delete_topics(&[&address.topic], &AdminOptions::new()).await.expect("deletes");
    let begun = std::time::Instant::now();
    while ensure(&address, &options).await.is_err() || log.identity().await.ok().flatten().is_some() {
        assert!(begun.elapsed() < KNOWN_WITHIN, "the identity outlives its topic");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_topic_that_deletes_records_early_or_has_no_dead_letters_does_not_open() {
    let (name, options) = new_topic();
    let (log, _guard) = create_and_open(&Options { retention_hours: 1, ..options.clone() }).await;
    let expected = format!("the topic `{name}` has retention.ms=3600000, log.retention_hours expects 604800000: ");
    let error = refusal(&options, &expected).await;
    let command = format!("--entity-name {name} --add-config retention.ms=604800000`");
    assert!(error.contains(&command), "{error}");
    refusal(&Options { retention_hours: 0, ..options.clone() }, "log.retention_hours expects -1").await;

    let dead_letters = log.address.dead_letter_topic();
    admin(&log).delete_topics(&[&dead_letters], &AdminOptions::new()).await.expect("deletes");
    refusal(&options, &format!("has no dead-letter topic `{dead_letters}`: create it with `sluice topic ensure`"))
        .await;
}
