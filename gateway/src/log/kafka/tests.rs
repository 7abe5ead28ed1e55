mod history;
mod secure;

use std::time::Duration;

use super::*;
use crate::background::TaskFailure;
use crate::log::contract::contract_tests;
use crate::log::{Change, Stored};

/// Deletes the topics that a test created on the real cluster.
struct TopicGuard {
    config: ClientConfig,
    names: [String; 2],
}

impl Drop for TopicGuard {
    fn drop(&mut self) {
        let admin: rdkafka::admin::AdminClient<_> = self.config.create().expect("an admin client");
        let names = [self.names[0].as_str(), self.names[1].as_str()];
        let options = rdkafka::admin::AdminOptions::new();
        // A topic that is left behind has a unique name and disturbs no other test.
        let _ = std::thread::scope(|scope| {
            let delete = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(admin.delete_topics(&names, &options)).is_ok()
            };
            scope.spawn(delete).join()
        });
    }
}

fn brokers() -> String {
    std::env::var("SLUICE_TEST_KAFKA").unwrap_or_else(|_| "127.0.0.1:19092,127.0.0.1:19093,127.0.0.1:19094".to_owned())
}

fn new_topic() -> (String, Options) {
    let name = format!("sluice-test-{}", uuid::Uuid::new_v4().simple());
    let url = format!("kafka://{}/{name}", brokers());
    (name.clone(), Options { url, group: name, ..Options::default() })
}

/// Brokers on a busy machine take seconds to learn of a topic.
const KNOWN_WITHIN: Duration = Duration::from_mins(1);

type Task = tokio::task::JoinHandle<Result<(), TaskFailure>>;

/// A new topic is not known to every broker at once.
async fn open_new_topic(address: &Address, options: &Options) -> (Kafka, Vec<Background>) {
    let begun = std::time::Instant::now();
    loop {
        match Kafka::open(address.clone(), options, &Telemetry::new()).await {
            Err(_) if begun.elapsed() < KNOWN_WITHIN => tokio::time::sleep(Duration::from_millis(200)).await,
            opened => return opened.expect("opens"),
        }
    }
}

async fn create_and_start(options: &Options) -> (Kafka, Vec<Task>, TopicGuard) {
    let address = Address::parse(&options.url).expect("a URL");
    ensure(&address, options).await.unwrap_or_else(|error| {
        panic!("{error}: these tests need real brokers; start them with `infra/native/services up kafka`")
    });
    let config = client_config(&address, options).expect("a configuration");
    let guard = TopicGuard { config, names: [address.topic.clone(), address.dead_letter_topic()] };
    let (log, background) = open_new_topic(&address, options).await;
    (log, background.into_iter().map(|task| tokio::spawn(task.run)).collect(), guard)
}

async fn create_and_open(options: &Options) -> (Kafka, TopicGuard) {
    let (log, _, guard) = create_and_start(options).await;
    (log, guard)
}

contract_tests!(kafka => create_and_open(&new_topic().1).await);

async fn open_error(options: &Options) -> String {
    let address = Address::parse(&options.url).expect("a URL");
    Kafka::open(address, options, &Telemetry::new()).await.err().expect("is refused").to_string()
}

/// Opens until it is refused for this reason: a broker may not know yet what another one was told.
async fn refusal(options: &Options, expected: &str) -> String {
    let begun = std::time::Instant::now();
    loop {
        let error = open_error(options).await;
        if error.contains(expected) {
            return error;
        }
        assert!(begun.elapsed() < KNOWN_WITHIN, "expected `{expected}`, found `{error}`");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn opening_does_not_create_an_absent_topic() {
    let (name, options) = new_topic();
    let expected = format!("log.url: the topic `{name}` does not exist: create it with `sluice topic ensure`");
    assert_eq!(open_error(&options).await, expected);
    assert_eq!(open_error(&options).await, expected, "the first attempt did not create it");
}

#[tokio::test]
async fn a_topic_that_differs_from_the_options_does_not_open() {
    let (name, options) = new_topic();
    let address = Address::parse(&options.url).expect("a URL");
    let narrow = Options { partitions: 1, replicas: 1, min_insync_replicas: 1, ..options.clone() };
    let ensured = ensure(&address, &narrow).await.expect("is created");
    assert!(ensured.iter().all(|topic| topic.change == Change::Created), "{ensured:?}");
    let again = ensure(&address, &narrow).await.expect("exists");
    assert!(again.iter().all(|topic| topic.change == Change::None), "{again:?}");
    let config = client_config(&address, &options).expect("a configuration");
    let _guard = TopicGuard { config, names: [name, address.dead_letter_topic()] };

    for (options, problem) in [
        (options.clone(), "has 1 partition, log.partitions expects 12"),
        (Options { partitions: 1, ..options.clone() }, "has 1 of the 3 replicas that log.replicas expects"),
        (
            Options { min_insync_replicas: 2, replicas: 1, partitions: 1, ..options },
            "has min.insync.replicas=1, log.min_insync_replicas expects 2",
        ),
    ] {
        refusal(&options, problem).await;
    }
}

#[tokio::test]
async fn a_topic_gets_the_partitions_of_a_new_ledger_group() {
    let (_, options) = new_topic();
    let (log, _guard) = create_and_open(&options).await;
    let record = Record { key: "1:1".into(), headers: crate::log::Headers::default(), value: b"1".to_vec() };
    assert_eq!(log.append(PartitionNo(11), record).expect("queued").await.expect("durable"), 0);
    log.close().await;
    let options = Options { groups: 2, ..options };
    refusal(&options, "has 12 partitions, 2 ledger groups of 12 need 24: stop all consumers").await;
    let address = Address::parse(&options.url).expect("a URL");
    let ensured = ensure(&address, &options).await.expect("adds them");
    assert!(ensured.iter().all(|topic| topic.change == Change::Extended), "{ensured:?}");
    let (log, background) = open_new_topic(&address, &options).await;
    background.into_iter().for_each(|task| _ = tokio::spawn(task.run));
    // A new partition may still be electing its leader.
    let end = async |partition| loop {
        if let Some(end) = log.fresh_end_offset(PartitionNo(partition)).await {
            break end;
        }
    };
    assert_eq!((log.partitions(), end(11).await, end(23).await), (24, 1, 0));
    log.close().await;
}

#[tokio::test]
async fn unreachable_brokers_are_named_with_a_stable_reason() {
    let options = Options { url: "kafka://127.0.0.1:1/coupon-issue".to_owned(), ..Options::default() };
    let error = open_error(&options).await;
    assert!(error.starts_with("cannot reach Kafka at 127.0.0.1:1: "), "{error}");
    assert!(error.ends_with("Connection refused"), "{error}");
    assert_eq!(open_error(&options).await, error, "a retry logs only new reasons");
}

#[tokio::test]
async fn dead_letters_are_kept_with_their_reason() {
    let (log, _guard) = create_and_open(&new_topic().1).await;
    let record = || Record { key: "1:1".into(), headers: crate::log::Headers::default(), value: b"?".to_vec() };
    let stored = [7, 8].map(|offset| Stored { offset, record: record() });
    let letters = stored.each_ref().map(|stored| DeadLetter { stored, reason: "not JSON" });
    log.dead_letter(PartitionNo(3), &letters).await.expect("are kept");
}

/// Ends a log in some way and waits for its background tasks.
async fn assert_background_ends(end: impl AsyncFnOnce(Kafka)) {
    let (_, options) = new_topic();
    let (log, background, _guard) = create_and_start(&options).await;
    end(log).await;
    for task in background {
        let ended = tokio::time::timeout(Duration::from_secs(10), task).await.expect("ends in time");
        assert_eq!(ended.expect("no panic"), Ok(()));
    }
}

#[tokio::test]
async fn closing_the_log_ends_its_background_tasks() {
    assert_background_ends(async |log| log.close().await).await;
}

#[tokio::test]
async fn dropping_an_open_log_ends_its_background_tasks() {
    assert_background_ends(async |log| drop(log)).await;
}
