//! `sluice log`

use clap::Subcommand;
use serde_json::json;

use super::admin_client::AdminArgs;
use super::common::{Failure, block_on, print};

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
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Show(admin) => {
            let answer = block_on(async { admin.client().get("/admin/log").await })?.map_err(Failure::run)?;
            print(&admin.format(&answer))
        }
        Command::Skip { admin, partition, from, to } => {
            let body = json!({ "partition": partition, "from": from, "to": to });
            let call = async { admin.client().post("/admin/log/skip", Some(body)).await };
            let answer = block_on(call)?.map_err(Failure::run)?;
            print(&admin.format(&answer))
        }
    }
}
