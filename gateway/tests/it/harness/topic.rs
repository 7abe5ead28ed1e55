//! Direct access to the topic of a cluster, to inject what no gateway would write.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

const PARTITIONS: i32 = 12;
const TIMEOUT: Duration = Duration::from_secs(120);
/// A new consumer asks for the partitions' leaders and offsets first.
const FIRST_RECORD_WITHIN: Duration = Duration::from_secs(20);
/// There are no more records once none has come for this long.
const NEXT_RECORD_WITHIN: Duration = Duration::from_secs(2);
/// Above the range of the ledger's column, so that the record can never settle.
const GENERATION_TOO_LARGE: u64 = u64::MAX;

pub(crate) struct Topic {
    brokers: &'static str,
    /// Also the name of the consumer group.
    name: String,
}

impl Topic {
    pub(super) fn new(brokers: &'static str, name: &str) -> Self {
        Self { brokers, name: name.to_owned() }
    }

    /// Resets the committed offsets to the start. Kafka refuses while the group has members.
    pub(crate) async fn reset_group_offsets(&self) {
        let (consumer, name) = (self.consumer(), self.name.clone());
        let reset = move || {
            let mut start = TopicPartitionList::new();
            for partition in 0..PARTITIONS {
                start.add_partition_offset(&name, partition, Offset::Offset(0)).expect("an offset");
            }
            let begun = Instant::now();
            // A killed consumer stays a member until its session times out.
            while let Err(error) = consumer.commit(&start, CommitMode::Sync) {
                assert!(begun.elapsed() < TIMEOUT, "the group's offsets cannot be reset: {error}");
                std::thread::sleep(Duration::from_millis(200));
            }
        };
        tokio::task::spawn_blocking(reset).await.expect("the task does not panic");
    }

    /// Appends up to `records_max` records a second time, each to its own partition and to the next. Returns how many it
    /// found.
    pub(crate) async fn append_duplicates(&self, records_max: usize) -> usize {
        let (producer, records) = (self.producer(), self.read(records_max).await);
        let twice = records.iter().flat_map(|(partition, key, payload)| {
            [*partition, (partition + 1) % PARTITIONS].map(|partition| {
                append(&producer, FutureRecord::to(&self.name).partition(partition).key(key).payload(payload))
            })
        });
        futures_util::future::join_all(twice).await.len() / 2
    }

    /// Appends three records that are not requests, and one valid request that no ledger can store.
    pub(crate) async fn append_invalid_records(&self) {
        let producer = self.producer();
        for (partition, payload) in [(0, ""), (1, "{\"requestId\""), (2, "[1, 2, 3]")] {
            append(&producer, FutureRecord::to(&self.name).partition(partition).key("poison").payload(payload)).await;
        }
        if let Some((partition, key, payload)) = self.read(1).await.pop() {
            let mut request: Value = serde_json::from_slice(&payload).expect("a record is JSON");
            request["requestId"] = json!(format!("{:032x}", rand::random::<u128>()));
            request["generation"] = json!(GENERATION_TOO_LARGE);
            let payload = request.to_string();
            append(&producer, FutureRecord::to(&self.name).partition(partition).key(&key).payload(&payload)).await;
        }
    }

    /// Deletes the oldest records of a partition, as retention does.
    pub(crate) async fn delete_records_before(&self, partition: i32, offset: i64) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("an administrator");
        let mut until = TopicPartitionList::new();
        until.add_partition_offset(&self.name, partition, Offset::Offset(offset)).expect("an offset");
        admin.delete_records(&until, &AdminOptions::new()).await.expect("the records are deleted");
    }

    pub(crate) async fn count_dead_letters(&self) -> i64 {
        let (consumer, name) = (self.consumer(), self.dead_letter_topic());
        let count = move || {
            let ends = (0..PARTITIONS).map(|partition| consumer.fetch_watermarks(&name, partition, TIMEOUT));
            ends.map(|ends| ends.expect("the topic is there").1).sum()
        };
        tokio::task::spawn_blocking(count).await.expect("counts")
    }

    /// With the dead-letter topic.
    pub(super) async fn delete(&self) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("an administrator");
        let topics = [self.name.clone(), self.dead_letter_topic()];
        let topics = topics.each_ref().map(String::as_str);
        admin.delete_topics(&topics, &AdminOptions::new()).await.expect("the topics are deleted");
    }

    fn dead_letter_topic(&self) -> String {
        format!("{}.dead-letter", self.name)
    }

    /// Recent valid records, as partition, key and value.
    async fn read(&self, records_max: usize) -> Vec<(i32, Vec<u8>, Vec<u8>)> {
        let (consumer, name) = (self.consumer(), self.name.clone());
        let is_valid = |message: &BorrowedMessage<'_>| message.key() != Some(b"poison");
        let read = move || {
            let mut start = TopicPartitionList::new();
            for partition in 0..PARTITIONS {
                start.add_partition_offset(&name, partition, Offset::OffsetTail(100)).expect("an offset");
            }
            consumer.assign(&start).expect("partitions to read");
            let mut wait_until = Instant::now() + FIRST_RECORD_WITHIN;
            let mut records = Vec::new();
            while records.len() < records_max && Instant::now() < wait_until {
                // An unreachable broker yields an error; the other partitions still have records.
                let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
                wait_until = Instant::now() + NEXT_RECORD_WITHIN;
                if let (true, Some(key), Some(payload)) = (is_valid(&message), message.key(), message.payload()) {
                    records.push((message.partition(), key.to_vec(), payload.to_vec()));
                }
            }
            records
        };
        tokio::task::spawn_blocking(read).await.expect("reads")
    }

    fn consumer(&self) -> BaseConsumer {
        let mut config = self.config();
        config.set("group.id", &self.name).set("enable.auto.commit", "false").create().expect("a consumer")
    }

    fn producer(&self) -> FutureProducer<DefaultClientContext> {
        self.config().set("acks", "all").create().expect("a producer")
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers);
        config
    }
}

async fn append<P: rdkafka::message::ToBytes + ?Sized>(
    producer: &FutureProducer<DefaultClientContext>,
    record: FutureRecord<'_, impl rdkafka::message::ToBytes + ?Sized, P>,
) {
    producer.send(record, Timeout::After(TIMEOUT)).await.expect("the record is appended");
}
