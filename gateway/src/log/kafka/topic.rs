//! The topic: made when asked to, verified at every start, and watched.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;

use super::security::{Complaints, client_config, not_made};
use super::{ASK_TIMEOUT, Address, Ends};
use crate::log::{OpenError, Options};
use crate::telemetry::{BrokersSeen, OffsetsSeen, ReplicasSeen, Telemetry};

/// How old what is known of other gateways' appends, and of replicas that fell behind, may be.
const WATCH_EVERY: Duration = Duration::from_millis(500);
const WATCH_TIMEOUT: Duration = Duration::from_secs(2);
/// A question that fails before its time is asked again, until brokers have had [`ASK_TIMEOUT`].
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// What the library has to tell, it tells at once.
const HEAR: Duration = Duration::from_millis(50);
const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// What [`ensure`] did about a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ensured {
    /// Its name.
    pub topic: String,
    /// Whether it was made now.
    pub is_new: bool,
}

/// What is asked of the cluster, and with what: a client that neither produces nor consumes.
type Asking = BaseConsumer<Complaints>;

/// Makes the topic and its dead-letter topic where they are absent, and verifies them. Safe to repeat.
///
/// # Errors
/// As [`open`](crate::log::open).
pub(in crate::log) async fn ensure(address: &Address, options: &Options) -> Result<Vec<Ensured>, OpenError> {
    let config = client_config(address, options)?;
    // Who is not let in hears it from here.
    ask(address, &config).await?;
    let admin: AdminClient<Complaints> = AdminClient::from_config_and_context(&config, Complaints::default())
        .map_err(|error| not_made(address, error))?;
    let dead_letters = address.dead_letters();
    let min_insync = options.min_insync_replicas.to_string();
    let retention_ms = (u64::from(options.retention_hours) * 3_600_000).to_string();
    let partitions = options.partitions.cast_signed();
    let topic = |name, retention| {
        NewTopic::new(name, partitions, TopicReplication::Fixed(options.replicas.cast_signed()))
            .set(MIN_INSYNC_REPLICAS, &min_insync)
            .set("message.timestamp.type", "LogAppendTime")
            .set("retention.ms", retention)
    };
    // Dead letters wait for somebody to look at them.
    let topics = [topic(&address.topic, &retention_ms), topic(&dead_letters, "-1")];
    let asked = AdminOptions::new().request_timeout(Some(ASK_TIMEOUT)).operation_timeout(Some(ASK_TIMEOUT));
    let made = admin
        .create_topics(&topics, &asked)
        .await
        .map_err(|error| address.unreachable(admin.inner().context().or(&error)))?;
    let mut ensured = Vec::new();
    for result in made {
        ensured.push(match result {
            Ok(topic) => Ensured { topic, is_new: true },
            Err((topic, RDKafkaErrorCode::TopicAlreadyExists)) => Ensured { topic, is_new: false },
            Err((topic, code)) => {
                return Err(OpenError::Topic { topic, problem: format!("cannot be made: {code}") });
            }
        });
    }
    // A new topic is not known to every broker at once.
    for _ in 0..20 {
        match verify(address, &config, options).await {
            Err(OpenError::Topic { .. } | OpenError::Unreachable { .. }) if ensured[0].is_new => {
                tokio::time::sleep(WATCH_EVERY).await;
            }
            verified => return verified.map(|_| ensured),
        }
    }
    verify(address, &config, options).await.map(|_| ensured)
}

/// Looks whether the topic is as the options say, and answers with how many in-sync replicas it asks for.
///
/// # Errors
/// [`OpenError::Unreachable`], [`OpenError::Refused`] or [`OpenError::Topic`].
pub(super) async fn verify(address: &Address, config: &ClientConfig, options: &Options) -> Result<u32, OpenError> {
    let wrong = |problem: String| OpenError::Topic { topic: address.topic.clone(), problem };
    let Some(shape) = ask(address, config).await? else {
        return Err(wrong("does not exist: make it with `sluice topic ensure`".to_owned()));
    };
    if shape.partitions != options.partitions {
        return Err(wrong(format!(
            "has {} {}, log.partitions expects {}: set log.partitions = {}, or give log.url another topic and make \
             it with `sluice topic ensure`",
            shape.partitions,
            if shape.partitions == 1 { "partition" } else { "partitions" },
            options.partitions,
            shape.partitions
        )));
    }
    if shape.replicas < options.replicas {
        return Err(wrong(format!(
            "has {} of the {} replicas that log.replicas expects: add some with kafka-reassign-partitions, or give \
             log.url another topic and make it with `sluice topic ensure`",
            shape.replicas, options.replicas
        )));
    }
    let min_insync = min_insync_replicas(address, config).await?;
    if min_insync < options.min_insync_replicas {
        return Err(wrong(format!(
            "has {MIN_INSYNC_REPLICAS}={min_insync}, log.min_insync_replicas expects {}: what is acknowledged could \
             be lost with {min_insync} of its replicas; set it with kafka-configs --alter",
            options.min_insync_replicas
        )));
    }
    Ok(min_insync)
}

/// The topic's shape, if it is there.
async fn ask(address: &Address, config: &ClientConfig) -> Result<Option<Shape>, OpenError> {
    let asking = connect(address, config)?;
    let (known, config) = (address.clone(), config.clone());
    let begun = Instant::now();
    let ask = move || {
        loop {
            match asking.fetch_metadata(Some(&known.topic), ASK_TIMEOUT.saturating_sub(begun.elapsed())) {
                Ok(metadata) => return Ok(metadata.topics().first().and_then(Shape::of)),
                // A broker that hung up may be one of many, or about to end.
                Err(_) if begun.elapsed() < ASK_TIMEOUT => std::thread::sleep(ASK_AGAIN),
                Err(error) => return Err(complaints(&asking).explain(&known, &config, &error)),
            }
        }
    };
    tokio::task::spawn_blocking(ask).await.map_err(|error| address.unreachable(error.to_string()))?
}

async fn min_insync_replicas(address: &Address, config: &ClientConfig) -> Result<u32, OpenError> {
    let unreachable = |error: KafkaError| address.unreachable(error.to_string());
    let admin: AdminClient<Complaints> = AdminClient::from_config_and_context(config, Complaints::default())
        .map_err(|error| not_made(address, error))?;
    let asked = AdminOptions::new().request_timeout(Some(ASK_TIMEOUT));
    let described =
        admin.describe_configs([&ResourceSpecifier::Topic(&address.topic)], &asked).await.map_err(unreachable)?;
    let value = described.into_iter().flatten().next().and_then(|config| {
        config.get(MIN_INSYNC_REPLICAS).and_then(|entry| entry.value.as_deref().and_then(|value| value.parse().ok()))
    });
    value.ok_or_else(|| address.unreachable(format!("it does not say the topic's {MIN_INSYNC_REPLICAS}")))
}

fn connect(address: &Address, config: &ClientConfig) -> Result<Asking, OpenError> {
    let mut config = config.clone();
    // Whatever this process logs, `Complaints` wants to hear of connections that end.
    config.set_log_level(RDKafkaLogLevel::Info);
    Asking::from_config_and_context(&config, Complaints::default()).map_err(|error| not_made(address, error))
}

/// What was complained of; the library hands over most of it only when it is polled.
fn complaints(asking: &Asking) -> &Complaints {
    while asking.poll(HEAR).is_some() {}
    asking.context()
}

/// What the brokers say of a topic.
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

/// Follows what other gateways append, and whether enough replicas are in sync.
pub(super) struct Watch {
    asking: Asking,
    topic: String,
    unreachable: Box<dyn Fn(String) -> OpenError + Send>,
    min_insync_replicas: u32,
    ends: Arc<Ends>,
    closed: Arc<AtomicBool>,
    telemetry: Telemetry,
}

impl Watch {
    pub(super) fn new(
        address: &Address,
        config: &ClientConfig,
        min_insync_replicas: u32,
        ends: Arc<Ends>,
        closed: Arc<AtomicBool>,
        telemetry: Telemetry,
    ) -> Result<Self, OpenError> {
        let known = address.clone();
        Ok(Self {
            asking: connect(address, config)?,
            topic: address.topic.clone(),
            unreachable: Box::new(move |reason| known.unreachable(reason)),
            min_insync_replicas,
            ends,
            closed,
            telemetry,
        })
    }

    /// Reads the ends once: a log that does not tell them is not open.
    pub(super) fn start(self) -> Result<Self, OpenError> {
        self.ends().map_err(|reason| (self.unreachable)(reason))?;
        Ok(self)
    }

    /// Follows the topic until the log is closed. Blocks its thread.
    pub(super) fn run(self) {
        while !self.closed.load(Ordering::Acquire) {
            std::thread::sleep(WATCH_EVERY);
            // What the library has to tell would pile up.
            complaints(&self.asking);
            let (replicas, ends) = (self.replicas(), self.ends());
            let trouble = replicas.and(ends).err();
            let mut known = self.ends.trouble.lock().unwrap_or_else(PoisonError::into_inner);
            match (&*known, &trouble) {
                (None, Some(trouble)) => tracing::error!(%trouble, "the log cannot be appended to"),
                (Some(_), None) => tracing::info!("the log can be appended to again"),
                _ => {}
            }
            *known = trouble;
        }
    }

    /// Reads the end of every partition.
    fn ends(&self) -> Result<(), String> {
        for partition in 0..self.ends.offsets.len() {
            let partition = i32::try_from(partition).expect("as many as a u32 says");
            let (start, end) = self
                .asking
                .fetch_watermarks(&self.topic, partition, WATCH_TIMEOUT)
                .map_err(|error| format!("partition {partition}: {}", complaints(&self.asking).or(&error)))?;
            let [start, end] = [start, end].map(i64::unsigned_abs);
            self.ends.reached(partition, end);
            self.telemetry.emit(OffsetsSeen { partition, start, end });
        }
        Ok(())
    }

    fn replicas(&self) -> Result<(), String> {
        let metadata = self.asking.fetch_metadata(Some(&self.topic), WATCH_TIMEOUT).map_err(|error| {
            self.telemetry.emit(BrokersSeen(0));
            complaints(&self.asking).or(&error)
        })?;
        self.telemetry.emit(BrokersSeen(metadata.brokers().len()));
        let mut trouble = Ok(());
        for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
            let (replicas, in_sync) = (partition.replicas().len(), partition.isr().len());
            self.telemetry.emit(ReplicasSeen {
                partition: partition.id(),
                leader: partition.leader(),
                replicas,
                in_sync,
            });
            if in_sync < self.min_insync_replicas as usize {
                let expected = self.min_insync_replicas;
                trouble = Err(format!("partition {} has {in_sync} of {expected} in-sync replicas", partition.id()));
            }
        }
        trouble
    }
}
