//! 1,000 campaigns with pipelines of their own over 20 versions of a policy, on two gateways of one ledger: memory, how
//! long a start and the first decisions take, and how soon a change decides on both gateways. Compared with no pipelines
//! of coupons, and with as many of one version.
//!
//! A version has two instances a processor and four more, and a gateway has at most 512: the versions fit on up to 8
//! processors. The servers are those of `infra/native/services up kafka mariadb`.

mod changes;
#[path = "../common/mod.rs"]
mod common;
mod durations;
mod gateway;
mod starts;
mod versions;

use std::time::Duration;

use changes::Changes;
use common::backlog::{Backlog, Ids};
use common::distributed::Stage;
use common::results;
use durations::timed;
use gateway::{Gateway, Machine};
use serde_json::{Value, json};
use starts::Starts;
use tokio::time::sleep;
use versions::version;

/// From 1.
const COUPONS: u64 = 1000;
const VERSIONS: u64 = 20;
/// After a change of all pipelines, before memory is read.
const PAUSE: Duration = Duration::from_secs(2);
/// Of coupons' pipelines, to versions that other coupons use.
const CHANGES: usize = 50;
const CHANGES_TO_NEW_VERSIONS: u64 = 5;
const CHANGES_OF_DEFAULT: usize = 20;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stage = Stage::create().await;
        measure(&stage).await;
        stage.delete().await;
    });
}

async fn measure(stage: &Stage) {
    let campaigns =
        Backlog { records: 0, first_coupon: 1, coupons: COUPONS, stock: 1_000_000, ids: Ids::OrderedByTime };
    campaigns.create_campaigns_on(stage).await;
    let machines = [(); 2].map(|()| Machine::on(stage));
    let pair = Pair { here: machines[0].start().await, there: machines[1].start().await };
    let mut digests = Vec::new();
    for number in 0..VERSIONS {
        digests.push(pair.upload(number).await);
    }
    measure_memory_and_starts(stage, &pair, &digests).await;
    measure_changes(&pair, &digests).await;
}

/// Two gateways. Changes are made on one of them, and the other follows.
struct Pair {
    here: Gateway,
    there: Gateway,
}

impl Pair {
    /// Returns the digest of the version.
    async fn upload(&self, number: u64) -> String {
        self.here.server.upload("picker", version(number)).await
    }

    /// Gives each coupon a pipeline of its own, with one of these versions. Returns the generations.
    async fn change_all(&self, digests: &[String]) -> Vec<u64> {
        let mut generations = Vec::new();
        for coupon in 1..=COUPONS {
            let version = (coupon - 1) * digests.len() as u64 / COUPONS;
            let hooks = picker(&digests[usize::try_from(version).expect("few")]);
            generations.push(self.here.change(&pipeline_of(coupon), &hooks).await);
        }
        self.there.until_decided_by(generations[generations.len() - 1], COUPONS).await;
        generations
    }
}

async fn measure_memory_and_starts(stage: &Stage, pair: &Pair, digests: &[String]) {
    let of_default = vec![1; usize::try_from(COUPONS).expect("few")];
    let mut rows = vec![row(stage, pair, ["none", "", ""].map(str::to_owned), &of_default).await];
    for digests in [&digests[..1], digests] {
        let (took, generations) = timed(pair.change_all(digests)).await;
        let pipelines = [COUPONS.to_string(), digests.len().to_string(), format!("{:.1}", took.as_secs_f64())];
        rows.push(row(stage, pair, pipelines, &generations).await);
    }
    let header =
        ["pipelines of coupons", "versions", "set in, s", "instances", "MiB, made the changes", "MiB, followed"];
    println!("{}", results::table(&[&header[..], &starts::HEADER].concat(), &rows));
}

/// What gateways need while each of these generations decides about its coupon.
async fn row(stage: &Stage, pair: &Pair, pipelines: [String; 3], generations: &[u64]) -> Vec<String> {
    println!("pipelines of coupons: {}, versions: {}", pipelines[0], pipelines[1]);
    sleep(PAUSE).await;
    let instances = pair.here.server.instances().await.to_string();
    let [here, there] = [&pair.here, &pair.there].map(|gateway| gateway.server.resident_mib().to_string());
    let starts = Starts::measure(stage, generations).await.cells();
    [&pipelines[..], &[instances, here, there], &starts].concat()
}

async fn measure_changes(pair: &Pair, digests: &[String]) {
    println!("changes");
    let mut to_used = Changes::default();
    // The first coupons have the first version.
    for (coupon, digest) in (1..).zip(digests[1..].iter().cycle()).take(CHANGES) {
        to_used.measure(pair, &pipeline_of(coupon), &picker(digest), coupon).await;
    }
    let mut to_new = Changes::default();
    for number in VERSIONS..VERSIONS + CHANGES_TO_NEW_VERSIONS {
        let hooks = picker(&pair.upload(number).await);
        to_new.measure(pair, &pipeline_of(1), &hooks, 1).await;
    }
    let mut of_default = Changes::default();
    for policy in ["hash-user", "random"].into_iter().cycle().take(CHANGES_OF_DEFAULT) {
        let hooks = json!({ "shard-picker": { "policy": policy } });
        of_default.measure(pair, "/admin/pipeline", &hooks, COUPONS).await;
    }
    let rows = [
        to_used.cells("a coupon's pipeline, to a version in use"),
        to_new.cells("a coupon's pipeline, to a new version"),
        of_default.cells("the default pipeline"),
    ];
    println!("{}", results::table(&changes::HEADER, &rows));
}

fn pipeline_of(coupon: u64) -> String {
    format!("/admin/coupons/{coupon}/pipeline")
}

fn picker(digest: &str) -> Value {
    json!({ "shard-picker": { "policy": format!("picker@sha256:{digest}") } })
}
