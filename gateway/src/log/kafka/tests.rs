mod secure;

use super::*;
use crate::log::contract::contract_tests;

/// Whatever a test made on the real cluster is gone afterwards.
struct Topic {
    config: ClientConfig,
    names: [String; 2],
}

impl Drop for Topic {
    fn drop(&mut self) {
        let admin: rdkafka::admin::AdminClient<_> = self.config.create().expect("an admin client");
        let names = [self.names[0].as_str(), self.names[1].as_str()];
        let asked = rdkafka::admin::AdminOptions::new();
        // What is left behind stands in nobody's way.
        let _ = std::thread::scope(|scope| {
            let delete = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(admin.delete_topics(&names, &asked)).is_ok()
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

async fn fresh(options: &Options) -> (Kafka, Topic) {
    let address = Address::parse(&options.url).expect("a URL");
    ensure(&address, options).await.unwrap_or_else(|error| {
        panic!("{error}: these tests need real brokers; start them with `infra/native/services up kafka`")
    });
    let config = client_config(&address, options).expect("a configuration");
    let guard = Topic { config, names: [address.topic.clone(), address.dead_letters()] };
    let (log, monitor) = Kafka::open(address, options, &Telemetry::new()).await.expect("opens");
    tokio::spawn(monitor.run);
    (log, guard)
}

contract_tests!(kafka => fresh(&new_topic().1).await);

#[test]
fn an_address_names_brokers_and_a_topic() {
    let address = Address::parse("kafka://b1:9092,b2:9092/coupon-issue").expect("an address");
    assert_eq!((address.brokers.as_str(), address.topic.as_str()), ("b1:9092,b2:9092", "coupon-issue"));
    for wrong in
        ["kafka://", "kafka://b1/t", "kafka://b1:9092", "kafka://b1:9092/", "kafka://b1:x/t", "kafka://b1:1/a b"]
    {
        assert_eq!(Address::parse(wrong), None, "{wrong}");
    }
}

async fn refusal(options: &Options) -> String {
    let address = Address::parse(&options.url).expect("a URL");
    Kafka::open(address, options, &Telemetry::new()).await.err().expect("is refused").to_string()
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_not_made_by_the_way() {
    let (name, options) = new_topic();
    let expected = format!("log.url: the topic `{name}` does not exist: make it with `sluice topic ensure`");
    assert_eq!(refusal(&options).await, expected);
    assert_eq!(refusal(&options).await, expected, "asking did not make it");
}

#[tokio::test]
async fn a_topic_of_another_shape_is_refused() {
    let (name, options) = new_topic();
    let address = Address::parse(&options.url).expect("a URL");
    let narrow = Options { partitions: 1, replicas: 1, min_insync_replicas: 1, ..options.clone() };
    let ensured = ensure(&address, &narrow).await.expect("is made");
    assert!(ensured.iter().all(|topic| topic.is_new), "{ensured:?}");
    let again = ensure(&address, &narrow).await.expect("is there");
    assert!(again.iter().all(|topic| !topic.is_new), "{again:?}");
    let config = client_config(&address, &options).expect("a configuration");
    let _guard = Topic { config, names: [name, address.dead_letters()] };

    for (options, problem) in [
        (options.clone(), "has 1 partition, log.partitions expects 12"),
        (Options { partitions: 1, ..options.clone() }, "has 1 of the 3 replicas that log.replicas expects"),
        (
            Options { min_insync_replicas: 2, replicas: 1, partitions: 1, ..options },
            "has min.insync.replicas=1, log.min_insync_replicas expects 2",
        ),
    ] {
        let refused = refusal(&options).await;
        assert!(refused.contains(problem), "{refused}");
    }
}

#[tokio::test]
async fn brokers_that_do_not_answer_are_named() {
    let options = Options { url: "kafka://127.0.0.1:1/coupon-issue".to_owned(), ..Options::default() };
    let refused = refusal(&options).await;
    assert!(refused.starts_with("reach Kafka at 127.0.0.1:1: "), "{refused}");
    assert!(refused.ends_with("Connection refused"), "{refused}");
    assert_eq!(refusal(&options).await, refused, "who waits would be told again and again");
}

#[tokio::test]
async fn what_is_buried_is_kept_with_its_reason() {
    let (log, _guard) = fresh(&new_topic().1).await;
    let record = Record { key: "1:1".into(), headers: super::super::Headers::default(), value: b"?".to_vec() };
    log.dead_letter(PartitionNo(3), &Stored { offset: 7, record }, "not JSON").await.expect("is buried");
}
