//! `sluice policy replay`

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ValueEnum;
use serde_json::{Map, Value};

use super::common::failed;
use crate::cli::common::{Failure, block_on, object, print, write};
use crate::cli::table::table;
use crate::counters::Hook;
use crate::decisions::Traced;
use crate::policy::{Load, OfflineHost, Options, Shard, Usage};
use crate::replay::{Instances, Report, replay};

/// All instances have the memory that one may have: how many run at once depends on the machine, and a verdict must not.
const MEMORY_MIB_MAX: usize = 65_536;

#[derive(clap::Args)]
#[command(after_help = "\
Record all decisions for a while, then see what another shard picker would have decided:
  SLUICE__DECISIONS__SAMPLE=1 sluice serve
  sluice decisions export > decisions.ndjson
  sluice policy replay --decisions decisions.ndjson --hook shard-picker --policy policies/weighted.wasm")]
pub(in crate::cli) struct Args {
    /// The output of `sluice decisions export`, or a file of decisions.dir.
    #[arg(long, value_name = "FILE")]
    decisions: PathBuf,
    /// The hook whose decisions are replayed.
    #[arg(long)]
    hook: HookName,
    /// The component that decides.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Its configuration, as JSON.
    #[arg(long, default_value = "{}", value_name = "JSON", value_parser = object)]
    config: Map<String, Value>,
    /// How its instances are kept between decisions.
    #[arg(long, value_enum, default_value_t = Instances::Fresh)]
    instances: Instances,
    /// Print the report as JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// Also write the report as a page of HTML.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum HookName {
    RateShaper,
    UserLimit,
    ShardPicker,
}

impl From<HookName> for Hook {
    fn from(name: HookName) -> Self {
        match name {
            HookName::RateShaper => Self::RateShaper,
            HookName::UserLimit => Self::UserLimit,
            HookName::ShardPicker => Self::ShardPicker,
        }
    }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let report = match args.hook.into() {
        Hook::RateShaper => args.replay::<Load>(),
        Hook::UserLimit => args.replay::<Usage>(),
        Hook::ShardPicker => args.replay::<Vec<Shard>>(),
    }?;
    if let Some(path) = &args.html {
        std::fs::write(path, report.html()).map_err(|error| failed("write", path, &error))?;
    }
    print(&if args.json { report.json() } else { text(&report) })?;
    if report.decisions == 0 {
        return Err(Failure::run(format!("no decision could be replayed: {}", reasons(&report))));
    }
    Ok(())
}

impl Args {
    fn replay<C: Traced>(&self) -> Result<Report, Failure> {
        let host = OfflineHost::new(&Options { memory_mib_max: MEMORY_MIB_MAX, ..Options::default() });
        let component = std::fs::read(&self.policy).map_err(|error| failed("read", &self.policy, &error))?;
        let policy = block_on(host.load_metered::<C>(component, &self.config))?;
        let policy = policy.map_err(|error| Failure::run(format!("{}: {error}", self.policy.display())))?;
        let recording = open(&self.decisions)?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let begun = Instant::now();
        let report = replay(recording, &policy, self.instances, threads, None)
            .map_err(|error| failed("replay", &self.decisions, &error))?;
        let line = format!("sluice: replayed {} decisions in {:.1?}\n", report.decisions, begun.elapsed());
        // The report does not depend on it.
        let _ = write(&mut std::io::stderr(), line.as_bytes());
        Ok(report)
    }
}

fn open(path: &Path) -> Result<BufReader<File>, Failure> {
    File::open(path).map(BufReader::new).map_err(|error| failed("read", path, &error))
}

/// Tables, then a line for each difference.
fn text(report: &Report) -> String {
    let mut rows = serde_json::to_value(report).expect("numbers and strings are JSON");
    let differences = rows.as_object_mut().and_then(|rows| rows.remove("differences")).unwrap_or_default();
    if let Some(rows) = rows.as_object_mut() {
        rows.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
    }
    let mut text = table(&rows);
    if report.stateful > 0 {
        text += "\nThe policy keeps state between its calls: in a gateway, a decision depends on those before it.\n";
    }
    let lines = differences.as_array().into_iter().flatten().map(|difference| format!("{difference}\n"));
    let lines: String = lines.collect();
    if lines.is_empty() { text } else { format!("{text}\nthe first differences\n{lines}") }
}

fn reasons(report: &Report) -> String {
    if report.skipped.is_empty() {
        return "the recording is empty".to_owned();
    }
    let reasons: Vec<String> =
        report.skipped.iter().map(|row| format!("{} skipped: {}", row.decisions, row.because)).collect();
    reasons.join(", ")
}
