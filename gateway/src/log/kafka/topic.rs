//! The topic: created on request, verified at every start.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;

use super::address::Address;
use super::broker_errors::{BrokerErrors, client_creation_failed};
use super::metadata::MetadataClient;
use super::security::client_config;
use super::settings::{self, FIXED, MIN_INSYNC_REPLICAS, RETENTION_MS};
use crate::log::{Change, Ensured, OpenError, Options};

/// Brokers that do not answer within this time are unreachable.
const REQUEST_MAX: Duration = Duration::from_secs(5);
/// Retry interval of a request that fails earlier: another broker may answer, or the same one after its restart.
const RETRY_EVERY: Duration = Duration::from_millis(100);
/// A new topic takes a moment to reach every broker.
const NEW_TOPIC_RETRIES: u32 = 20;
const NEW_TOPIC_RETRY_EVERY: Duration = Duration::from_millis(500);

/// Creates the topic and its dead-letter topic where they are absent, adds the partitions of new ledger groups, and
/// verifies the topic. Safe to repeat.
///
/// # Errors
/// As [`open`](crate::log::open()).
pub(in crate::log) async fn ensure(address: &Address, options: &Options) -> Result<Vec<Ensured>, OpenError> {
    let config = client_config(address, options)?;
    // The admin client does not say why a broker rejects it; this request does.
    fetch_shape(address, &config).await?;
    let mut ensured = create_topics(address, &config, options).await?;
    for topic in ensured.iter_mut().filter(|topic| topic.change == Change::None) {
        if add_partitions(address, &config, options, &topic.name).await? {
            topic.change = Change::Extended;
        }
    }
    for _ in 0..NEW_TOPIC_RETRIES {
        match verify(address, &config, options).await {
            Err(OpenError::Topic { .. } | OpenError::Unreachable { .. })
                if ensured.iter().any(|topic| topic.change != Change::None) =>
            {
                tokio::time::sleep(NEW_TOPIC_RETRY_EVERY).await;
            }
            verified => return verified.map(|_| ensured),
        }
    }
    verify(address, &config, options).await.map(|_| ensured)
}

async fn create_topics(address: &Address, config: &ClientConfig, options: &Options) -> Result<Vec<Ensured>, OpenError> {
    let admin = admin_client(address, config)?;
    let dead_letters = address.dead_letter_topic();
    let min_insync = options.min_insync_replicas.to_string();
    let retention_ms = settings::retention_ms(options).to_string();
    let partitions = options.partitions_total().cast_signed();
    let topic = |name, retention| {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(options.replicas.cast_signed()))
            .set(MIN_INSYNC_REPLICAS, &min_insync)
            .set(RETENTION_MS, retention);
        FIXED.into_iter().fold(topic, |topic, (name, value, _)| topic.set(name, value))
    };
    // Dead letters are kept until an operator deletes them.
    let topics = [topic(&address.topic, &retention_ms), topic(&dead_letters, "-1")];
    let timeouts = AdminOptions::new().request_timeout(Some(REQUEST_MAX)).operation_timeout(Some(REQUEST_MAX));
    let created = admin
        .create_topics(&topics, &timeouts)
        .await
        .map_err(|error| address.unreachable(admin.inner().context().reason(&error)))?;
    created
        .into_iter()
        .map(|result| match result {
            Ok(name) => Ok(Ensured { name, change: Change::Created }),
            Err((name, RDKafkaErrorCode::TopicAlreadyExists)) => Ok(Ensured { name, change: Change::None }),
            Err((topic, code)) => Err(OpenError::Topic { topic, problem: format!("cannot be created: {code}") }),
        })
        .collect()
}

/// Adds the partitions of new ledger groups if the topic lacks them. Answers whether it did.
async fn add_partitions(
    address: &Address,
    config: &ClientConfig,
    options: &Options,
    topic: &str,
) -> Result<bool, OpenError> {
    let named = Address { topic: topic.to_owned(), ..address.clone() };
    let found = fetch_shape(&named, config).await?.map_or(0, |shape| shape.partitions);
    if !options.lacks_groups(found) {
        return Ok(false);
    }
    let admin = admin_client(address, config)?;
    let total = options.partitions_total() as usize;
    let timeouts = AdminOptions::new().request_timeout(Some(REQUEST_MAX)).operation_timeout(Some(REQUEST_MAX));
    let added = admin.create_partitions(&[NewPartitions::new(topic, total)], &timeouts).await;
    let added = added.map_err(|error| address.unreachable(admin.inner().context().reason(&error)))?;
    match added.into_iter().find_map(Result::err) {
        Some((topic, code)) => Err(OpenError::Topic { topic, problem: format!("gets no more partitions: {code}") }),
        None => Ok(true),
    }
}

/// Checks that the topic matches the options. Answers with its `min.insync.replicas`.
///
/// # Errors
/// [`OpenError::Unreachable`], [`OpenError::Refused`] or [`OpenError::Topic`].
pub(super) async fn verify(address: &Address, config: &ClientConfig, options: &Options) -> Result<u32, OpenError> {
    let mismatch = |problem: String| OpenError::Topic { topic: address.topic.clone(), problem };
    let Some(shape) = fetch_shape(address, config).await? else {
        return Err(mismatch("does not exist: create it with `sluice topic ensure`".to_owned()));
    };
    let dead_letters = Address { topic: address.dead_letter_topic(), ..address.clone() };
    if fetch_shape(&dead_letters, config).await?.is_none() {
        return Err(mismatch(format!(
            "has no dead-letter topic `{}`: create it with `sluice topic ensure`",
            dead_letters.topic
        )));
    }
    if shape.partitions != options.partitions_total() {
        let elsewhere = "name a new topic in log.url and create it with `sluice topic ensure`";
        return Err(mismatch(options.explain_partitions(shape.partitions, elsewhere)));
    }
    if shape.replicas < options.replicas {
        return Err(mismatch(format!(
            "has {} of the {} replicas that log.replicas expects: add replicas with kafka-reassign-partitions, or name \
             a new topic in log.url and create it with `sluice topic ensure`",
            shape.replicas, options.replicas
        )));
    }
    let found = fetch_settings(address, config).await?;
    let setting = |name: &str| found.get(name).and_then(|entry| entry.value.as_deref());
    settings::check(address, options, setting).map_err(mismatch)
}

/// `None` if the topic does not exist.
async fn fetch_shape(address: &Address, config: &ClientConfig) -> Result<Option<Shape>, OpenError> {
    let client = MetadataClient::new(address, config)?;
    let (known, config) = (address.clone(), config.clone());
    let begun = Instant::now();
    let fetch = move || {
        loop {
            match client.topic(REQUEST_MAX.saturating_sub(begun.elapsed())) {
                Ok(metadata) => return Ok(metadata.topics().first().and_then(Shape::of)),
                Err(_) if begun.elapsed() < REQUEST_MAX => std::thread::sleep(RETRY_EVERY),
                Err(error) => return Err(client.errors().explain(&known, &config, &error)),
            }
        }
    };
    tokio::task::spawn_blocking(fetch).await.map_err(|error| address.unreachable(error.to_string()))?
}

async fn fetch_settings(address: &Address, config: &ClientConfig) -> Result<ConfigResource, OpenError> {
    let unreachable = |error: KafkaError| address.unreachable(error.to_string());
    let timeout = AdminOptions::new().request_timeout(Some(REQUEST_MAX));
    let described = admin_client(address, config)?
        .describe_configs([&ResourceSpecifier::Topic(&address.topic)], &timeout)
        .await
        .map_err(unreachable)?;
    // The client library answers a broker's error with a description without settings.
    let settings = described.into_iter().flatten().find(|topic| !topic.entries.is_empty());
    settings.ok_or_else(|| {
        address.unreachable(
            "a broker does not know the topic yet, or does not allow log.username to describe its settings",
        )
    })
}

fn admin_client(address: &Address, config: &ClientConfig) -> Result<AdminClient<BrokerErrors>, OpenError> {
    AdminClient::from_config_and_context(config, BrokerErrors::default())
        .map_err(|error| client_creation_failed(address, error))
}

struct Shape {
    partitions: u32,
    /// Those of the partition that has the fewest.
    replicas: u32,
}

impl Shape {
    fn of(topic: &MetadataTopic) -> Option<Self> {
        let count = |items: usize| u32::try_from(items).unwrap_or(u32::MAX);
        if topic.error().is_some() || topic.partitions().is_empty() {
            return None;
        }
        let replicas = topic.partitions().iter().map(|partition| count(partition.replicas().len())).min();
        Some(Self { partitions: count(topic.partitions().len()), replicas: replicas.unwrap_or(0) })
    }
}
