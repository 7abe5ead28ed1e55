//! `sluice simulate`

mod progress;
mod report;

use std::fs::File;
use std::io::BufReader;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::progress::Progress;
use self::report::{Report, Run};
use super::common::{ConfigArgs, Failure, block_on, print};
use crate::config::Config;
use crate::counters::Hook;
use crate::ledger;
use crate::ledger_poller::POLL_EVERY;
use crate::policy::{HookPatch, OfflineHost, OfflinePipeline, Pipeline, PipelinePatch};
use crate::simulate::{Outcomes, Recording, Scenario, ScenarioFile, Speed, System, Terms, simulate};

#[derive(clap::Args)]
#[command(after_help = "\
The simulated system is that of the configuration: pipeline, policies, partitions and batches,
with a ledger in a file or on a server. Nothing is connected to. The default speeds are rough:
docs/simulate.md says how to find out those of your system.

Compare all shard pickers in a drop of the load tests, then with a MySQL ledger and two gateways:
  sluice simulate k6/scenarios.json --scenario drop
  export SLUICE__LEDGER__URL=mysql://sluice@db/sluice
  sluice simulate k6/scenarios.json --scenario drop --gateways 2

Compare them on the requests of a past campaign, next to what really happened:
  sluice coupon export 104 > 104.ndjson
  sluice simulate --export 104.ndjson

Try another rate shaper:
  sluice simulate k6/scenarios.json --scenario drop --picker random --pipeline '{
    \"rate-shaper\": {\"policy\": \"token-bucket\", \"config\": {\"per_second\": 1000, \"burst\": 1000}}}'")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Scenarios by name, as in k6/scenarios.json. docs/simulate.md describes their fields.
    #[arg(value_name = "SCENARIOS", required_unless_present = "export")]
    file: Option<PathBuf>,
    /// The scenario of the file. Default: the only one.
    #[arg(long, value_name = "NAME", conflicts_with = "export")]
    scenario: Option<String>,
    /// Take the long form of the scenario.
    #[arg(long, conflicts_with = "export")]
    full: bool,
    /// Simulate the requests that `sluice coupon export` printed, instead of a scenario.
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    export: Option<PathBuf>,
    /// The number of coupons of the exported campaign. Default: as many as were issued.
    #[arg(long, requires = "export")]
    total: Option<u64>,
    /// The number of shards of the exported campaign. Default: those with requests.
    #[arg(long, requires = "export")]
    shards: Option<NonZeroU32>,
    /// The most coupons that one user of the exported campaign gets. Default: the most that one got.
    #[arg(long, requires = "export")]
    per_user_limit: Option<NonZeroU32>,
    /// The shard pickers to compare, separated by commas. Default: all in the policies folder.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    picker: Vec<String>,
    /// Changes of the pipeline, as for PUT /admin/pipeline.
    #[arg(long, value_name = "JSON", value_parser = patch)]
    pipeline: Option<PipelinePatch>,
    /// The same seed gives the same requests, and the same prediction.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Gateways. More than one need a ledger on a server.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    gateways: u32,
    /// How long the log takes to make a group of records durable. Default: 1, or 3 with a ledger on a server.
    #[arg(long, value_name = "MS", value_parser = milliseconds)]
    append_ms: Option<Duration>,
    /// How long a transaction of settlement takes, whatever it settles. Default: 1, or 3 with a ledger on a server.
    #[arg(long, value_name = "MS", value_parser = milliseconds)]
    transaction_ms: Option<Duration>,
    /// How much longer it takes with each record. Default: 20, or 180 with a ledger on a server.
    #[arg(long, value_name = "US", value_parser = microseconds)]
    record_us: Option<Duration>,
    /// How many times as long settlement takes in one partition, that of the first shard.
    #[arg(long, value_name = "TIMES", default_value_t = 1.0, value_parser = times)]
    slow_partition: f64,
    /// Print the predictions as JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// What is simulated, and what really happened if it is a past campaign.
struct Subject {
    name: String,
    scenario: Scenario,
    measured: Option<Outcomes>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let config = args.config.load()?;
    let system = args.system(&config)?;
    let Subject { name, scenario, measured } = args.subject(system.partitions)?;
    let mut runs = Vec::new();
    for (picker, policies) in block_on(args.load(&config))?? {
        let mut progress = Progress::new(&picker, scenario.requests());
        let (prediction, cost) =
            simulate(&scenario, &system, policies, args.seed, |requests| progress.report(requests));
        runs.push(Run { picker, prediction, cost });
    }
    let report = Report { scenario: name, seed: args.seed, pickers: runs, measured };
    print(&if args.json { report.json() } else { report.table(&scenario, &system) })
}

impl Args {
    fn system(&self, config: &Config) -> Result<System, Failure> {
        let is_shared = ledger::is_shared(&config.ledger);
        if self.gateways > 1 && !is_shared {
            return Err(Failure::usage(format!(
                "--gateways {}: a ledger in a file has one gateway; set ledger.url to a MySQL server",
                self.gateways
            )));
        }
        let speed = if is_shared { Speed::SERVERS } else { Speed::EMBEDDED };
        let partitions = config.log.partitions;
        Ok(System {
            gateways: self.gateways,
            partitions,
            batch_records_max: config.settlement.batch_records_max,
            transactions_max: if is_shared { partitions } else { 1 },
            stock_poll: is_shared.then_some(POLL_EVERY),
            speed: Speed {
                append: self.append_ms.unwrap_or(speed.append),
                transaction: self.transaction_ms.unwrap_or(speed.transaction),
                record: self.record_us.unwrap_or(speed.record),
            },
            slow_partition: self.slow_partition,
        })
    }

    fn subject(&self, partitions: u32) -> Result<Subject, Failure> {
        match (&self.file, &self.export) {
            (_, Some(export)) => self.recording(export),
            (Some(file), None) => {
                let text = std::fs::read_to_string(file).map_err(|error| about(file, error))?;
                let read =
                    |text: &str| ScenarioFile::parse(text)?.scenario(self.scenario.as_deref(), self.full, partitions);
                let (name, scenario) = read(&text).map_err(|error| about(file, error))?;
                Ok(Subject { name, scenario, measured: None })
            }
            (None, None) => Err(Failure::usage("expected a file of scenarios, or --export")),
        }
    }

    fn recording(&self, export: &Path) -> Result<Subject, Failure> {
        let Self { total, shards, per_user_limit, .. } = *self;
        let file = File::open(export).map_err(|error| about(export, error))?;
        let recording = Recording::read(BufReader::new(file)).map_err(|error| about(export, error))?;
        let replay = recording.replay(&Terms { total, shards, per_user_limit });
        let (scenario, measured) = replay.map_err(|error| about(export, error))?;
        Ok(Subject { name: export.display().to_string(), scenario, measured: Some(measured) })
    }

    /// Each picker with its pipeline, so that a wrong name is found before anything is simulated.
    async fn load(&self, config: &Config) -> Result<Vec<(String, OfflinePipeline)>, Failure> {
        let host = OfflineHost::new(&config.policies);
        let pickers = if self.picker.is_empty() { host.policies(Hook::ShardPicker) } else { self.picker.clone() };
        if pickers.is_empty() {
            return Err(Failure::run(format!(
                "no shard picker in {}: build the policies with `policies/build`, or set policies.dir to their folder",
                config.policies.dir.display()
            )));
        }
        let mut loaded = Vec::new();
        for picker in pickers {
            let policies = host.load(&self.pipeline_with(config, &picker)).await.map_err(Failure::run)?;
            loaded.push((picker, policies));
        }
        Ok(loaded)
    }

    fn pipeline_with(&self, config: &Config, picker: &str) -> Pipeline {
        let picker = HookPatch { policy: Some(picker.to_owned()), ..HookPatch::default() };
        let patch = PipelinePatch { shard_picker: Some(picker), ..PipelinePatch::default() };
        config.pipeline.patched(&self.pipeline.clone().unwrap_or_default()).patched(&patch)
    }
}

fn about(file: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::usage(format!("{}: {error}", file.display()))
}

fn patch(text: &str) -> Result<PipelinePatch, serde_json::Error> {
    serde_json::from_str(text)
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    seconds(text, 1e-3)
}

fn microseconds(text: &str) -> Result<Duration, String> {
    seconds(text, 1e-6)
}

/// At most an hour: virtual time must not overflow.
fn seconds(text: &str, unit: f64) -> Result<Duration, String> {
    let seconds = text.parse().ok().map(|number: f64| number * unit).filter(|seconds| (0.0..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected a number from 0 up to an hour".to_owned())
}

fn times(text: &str) -> Result<f64, String> {
    let times = text.parse().ok().filter(|times| (1.0..=1000.0).contains(times));
    times.ok_or_else(|| "expected a number from 1 to 1000".to_owned())
}
