//! `sluice log`

use clap::{ArgGroup, Subcommand};
use serde_json::json;

use super::admin_client::AdminArgs;
use super::common::{ConfigArgs, Failure, block_on, print};
use crate::app::{self, OldLog};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Show the log's identity, how far each partition is settled, and the offsets that operators moved. Asks a
    /// running gateway.
    Show(AdminArgs),
    /// Give up accepted requests that the log has lost, so that their partition continues. Asks a running gateway.
    /// The error of the stopped partition names the range.
    Skip {
        #[command(flatten)]
        admin: AdminArgs,
        /// The stopped partition.
        #[arg(long)]
        partition: u32,
        /// The first missing offset.
        #[arg(long)]
        from: u64,
        /// The first offset after the gap.
        #[arg(long)]
        to: u64,
    },
    /// Move the ledger to the log of log.url, which must be new or restored. Stop all gateways and consumers first.
    #[command(group = ArgGroup::new("old").required(true))]
    Adopt {
        #[command(flatten)]
        config: ConfigArgs,
        /// The URL of the log that the ledger settled until now. It must be settled completely.
        #[arg(long, value_name = "URL", group = "old")]
        from: Option<String>,
        /// The old log is lost: its accepted requests that are not settled never get an outcome. Or the log was restored
        /// from a backup and lacks records that the ledger has settled: it continues where it ends.
        #[arg(long, group = "old")]
        lost: bool,
    },
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Show(admin) => {
            let client = admin.client()?;
            let answer = block_on(client.get("/admin/log"))?.map_err(Failure::run)?;
            print(&admin.format(&answer))
        }
        Command::Skip { admin, partition, from, to } => {
            let body = json!({ "partition": partition, "from": from, "to": to });
            let client = admin.client()?;
            let call = client.post("/admin/log/skip", Some(body));
            let answer = block_on(call)?.map_err(Failure::run)?;
            print(&admin.format(&answer))
        }
        Command::Adopt { config, from, .. } => {
            let config = config.load()?;
            let old = from.as_deref().map_or(OldLog::Lost, OldLog::At);
            let log_id = block_on(app::adopt(&config, old))?.map_err(Failure::run)?;
            print(&format!("the ledger now settles the log {log_id}\n"))
        }
    }
}
