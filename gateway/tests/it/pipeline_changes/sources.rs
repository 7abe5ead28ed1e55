//! Changes from every source at once: the admin API of two gateways on one ledger, and `sluice.toml` and the policies'
//! folder of one of them.

mod observed;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Answer;
use crate::crowd::Crowd;
use crate::harness::{Campaign, Cluster, Gateway, Memory, Resources, eventually, machine, policy, soak};
use crate::load;
use observed::Observed;

/// In all, the invalid ones included.
const CHANGES: (u64, u64) = (200, 10_000);
const INVALID_EVERY: u64 = 3;
/// Growth is measured from here on.
const WARM_UP_SHARE: u64 = 5;
/// After a change by an operator. A gateway lists its last 20 changes, and the other sources look for theirs there.
const PAUSE: Duration = Duration::from_millis(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// From writing a file until its change is active or refused.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);

/// An allocator may keep this much of its largest use.
const MORE_BYTES_MAX: u64 = 24 << 20;
const MORE_RESOURCES_MAX: usize = 40;
/// A gateway keeps the code of 16 components in memory, and the instances of 3 policies.
const MEMORY_MAPS_MAX: usize = 1_000;
/// The gateway keeps 64 compiled components; the others are the policies, the configuration and the log's identity.
const FILES_MAX: usize = 100;
/// The ledger keeps 100 generations, 200 versions of policies and those that the generations name.
const ROWS_MAX: [(&str, u64); 3] = [("pipeline_generation", 100), ("policy_version", 300), ("policy_component", 300)];

struct Change {
    number: u64,
    is_valid: bool,
}

impl Change {
    /// For the policy `quota`. No other change has the same.
    fn limit(&self) -> Value {
        if self.is_valid { json!(1_000 + self.number) } else { json!(format!("invalid {}", self.number)) }
    }

    /// A shard picker that no other change has.
    fn component(&self) -> Vec<u8> {
        let picker = policy("random");
        if self.is_valid {
            // A custom section: the number 0, its length, then the length of its name.
            let section = [&[0, 13, 4][..], b"test", &self.number.to_le_bytes()].concat();
            [picker, section].concat()
        } else {
            picker[..picker.len() / 2].to_vec()
        }
    }

    /// Waits until the change of a file is in the gateway's history. Returns its generation if it was accepted.
    async fn wait_until_noticed(&self, gateway: &Gateway, source: &str, since: jiff::Timestamp) -> Option<u64> {
        let is_it = |entry: &&Value| {
            // The change before may have been made in the millisecond in which this one begins.
            let is_new = entry["atMs"].as_i64() > Some(since.as_millisecond());
            entry["source"] == source && is_new && entry["generation"].is_u64() == self.is_valid
        };
        let noticed = async || {
            let shown = gateway.pipeline().await;
            let entry = shown["history"].as_array().expect("a list").iter().find(is_it)?;
            Some(entry["generation"].as_u64())
        };
        eventually("the changed file is noticed", NOTICED_WITHIN, noticed).await
    }
}

/// The changes of one test.
struct Changes {
    count: u64,
    begun: AtomicU64,
    /// Answers 409.
    conflicts: AtomicU64,
    are_made: AtomicBool,
    observed: Observed,
}

impl Changes {
    fn next(&self) -> Option<Change> {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let is_valid = !number.is_multiple_of(INVALID_EVERY);
        (number < self.count).then_some(Change { number, is_valid })
    }

    async fn operate(&self, gateway: &Gateway) {
        while let Some(change) = self.next() {
            let limit = change.limit();
            let answer = self.put_limit(gateway, &limit).await;
            assert_eq!(answer.status, if change.is_valid { 200 } else { 422 }, "{limit}: {answer}");
            let accepted = answer.json()["generation"].as_u64().unwrap_or(0);
            if change.is_valid {
                self.observed.accepted(accepted, &limit);
            }
            assert!(self.observed.look(gateway).await >= accepted, "{limit} is active at once where it was accepted");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// As an operator whose change is refused because others change the pipeline all the time: sends it again.
    async fn put_limit(&self, gateway: &Gateway, limit: &Value) -> Answer {
        loop {
            let answer = gateway.put_pipeline(json!({ "user-limit": { "config": { "limit": limit } } })).await;
            if answer.status != 409 {
                return answer;
            }
            assert_eq!(answer.reason(), "PIPELINE_CHANGED", "{answer}");
            self.conflicts.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn edit_file(&self, gateway: &Gateway) {
        while let Some(change) = self.next() {
            let since = jiff::Timestamp::now();
            let config = format!("{{ limit = {} }}", change.limit());
            gateway.home.configure(&format!("[pipeline.user-limit]\npolicy = \"quota\"\nconfig = {config}\n"));
            if let Some(accepted) = change.wait_until_noticed(gateway, "file", since).await {
                self.observed.accepted(accepted, &change.limit());
            }
        }
    }

    async fn replace_component(&self, gateway: &Gateway) {
        while let Some(change) = self.next() {
            let since = jiff::Timestamp::now();
            gateway.home.install("random", &change.component());
            change.wait_until_noticed(gateway, "folder", since).await;
        }
    }

    /// The active generation never becomes an older one.
    async fn watch(&self, gateway: &Gateway) {
        let mut newest = 0;
        while !self.are_made.load(Ordering::Relaxed) {
            let number = self.observed.look(gateway).await;
            assert!(number >= newest, "{number} after {newest}");
            newest = number;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn warm_up(&self, gateways: [&Gateway; 2]) -> [Sample; 2] {
        while self.begun.load(Ordering::Relaxed) < self.count / WARM_UP_SHARE {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        gateways.map(Sample::of)
    }
}

/// What a gateway uses.
#[derive(Debug)]
struct Sample {
    memory: Memory,
    resources: Resources,
    /// In its folder.
    files: usize,
}

impl Sample {
    fn of(gateway: &Gateway) -> Self {
        Self { memory: gateway.memory(), resources: gateway.resources(), files: count_files(gateway.home.path()) }
    }

    fn assert_flat_since(&self, warm_up: &Self) {
        println!("{}, {}, {} files at the end", self.memory, self.resources, self.files);
        let (now, then) = (self.resources, warm_up.resources);
        let is_flat = self.memory.now < warm_up.memory.now + MORE_BYTES_MAX
            && now.memory_maps <= MEMORY_MAPS_MAX
            && now.threads <= then.threads + MORE_RESOURCES_MAX
            && now.open_files <= then.open_files + MORE_RESOURCES_MAX
            && self.files <= FILES_MAX;
        assert!(is_flat, "{warm_up:?}, then {self:?}");
    }
}

fn count_files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.map(|path| if path.is_dir() { count_files(&path) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_changes_from_every_source_at_once_the_newest_accepted_one_is_active_everywhere() {
    machine::exclusive();
    let cluster = Cluster::start(2, 0).await;
    let [here, there] = &cluster.gateways[..] else { panic!("two gateways") };
    let changes = Changes {
        count: soak::short_or_long(CHANGES.0, CHANGES.1),
        begun: AtomicU64::new(0),
        conflicts: AtomicU64::new(0),
        are_made: AtomicBool::new(false),
        observed: Observed::default(),
    };
    let begun = Instant::now();
    let making = async {
        let of_files = async { tokio::join!(changes.edit_file(here), changes.replace_component(here)) };
        tokio::join!(changes.operate(here), changes.operate(there), of_files);
        changes.are_made.store(true, Ordering::Relaxed);
    };
    let (warm_up, ..) = tokio::join!(changes.warm_up([here, there]), making, changes.watch(here), changes.watch(there));
    let conflicts = changes.conflicts.load(Ordering::Relaxed);
    println!("{:.0} changes/s, {conflicts} sent again", load::per_second(changes.count as usize, begun));

    let newest = cluster.number("SELECT max(number) FROM pipeline_generation").await;
    for gateway in [here, there] {
        let is_active = async || (changes.observed.look(gateway).await == newest).then_some(());
        eventually("the newest generation is active", NOTICED_WITHIN, is_active).await;
    }
    assert_accepted_by(&cluster, newest).await;
    for (table, most) in ROWS_MAX {
        let rows = cluster.number(&format!("SELECT count(*) FROM {table}")).await;
        println!("{table}: {rows} rows");
        assert!(rows <= most, "{table}: {rows} rows");
    }
    for (gateway, warm_up) in [here, there].into_iter().zip(&warm_up) {
        Sample::of(gateway).assert_flat_since(warm_up);
    }
    cluster.tear_down().await;
}

/// A request to each gateway is decided by this generation.
async fn assert_accepted_by(cluster: &Cluster, generation: u64) {
    let coupon = cluster.gateways[0].create(Campaign::of(100, 4)).await;
    cluster.wait_for_campaign(coupon).await;
    for (user, gateway) in (1..).zip(&cluster.gateways) {
        let reply = Crowd::at(gateway, coupon).request(user).await;
        assert_eq!(reply.receipt().generation, Some(generation));
    }
}
