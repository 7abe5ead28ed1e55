//! `sluice decisions`

use clap::{Subcommand, ValueEnum};
use serde_json::Value;

use super::admin_client::{AdminArgs, AdminClient, AdminClientError, Download};
use super::common::{Failure, Reader, block_on, print, print_bytes};

#[derive(clap::Args)]
#[command(after_help = "\
Each gateway records its own decisions: --admin names the one that is asked.

Which shards did the last requests go to, and why was one refused?
  sluice decisions tail --coupon 104 | jq -c '[.request.userId, .steps.\"shard-picker\".verdict]'
  sluice decisions explain 0195c2f0-8a7e-7cc0-b2f4-5d1f4c1c9a10")]
pub(super) struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print decisions as they are recorded, one JSON object a line, until it is interrupted.
    Tail(Filter),
    /// Print all recorded decisions, one JSON object a line.
    Export(Filter),
    /// Say why a request was shaped, refused or sent to its shard.
    Explain {
        /// The requestId of its answer.
        request: String,
    },
}

#[derive(clap::Args)]
struct Filter {
    /// Only of this coupon.
    #[arg(long)]
    coupon: Option<u64>,
    /// Only of requests that arrived at this time or later, such as 2026-12-24T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<jiff::Timestamp>,
    /// Only of requests with this outcome.
    #[arg(long)]
    outcome: Option<Outcome>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Outcome {
    Accepted,
    Refused,
}

pub(super) fn run(Args { admin, command }: &Args) -> Result<(), Failure> {
    let client = admin.client()?;
    match command {
        Command::Tail(filter) => block_on(async { print_lines(client.follow(&filter.path(true)).await).await })?,
        Command::Export(filter) => block_on(async { print_lines(client.download(&filter.path(false)).await).await })?,
        Command::Explain { request } => block_on(explain(admin, &client, request))?,
    }
}

impl Filter {
    fn path(&self, follow: bool) -> String {
        let outcome = self.outcome.map(|outcome| match outcome {
            Outcome::Accepted => "accepted",
            Outcome::Refused => "refused",
        });
        let criteria = [
            self.coupon.map(|coupon| format!("coupon={coupon}")),
            self.since.map(|since| format!("since={since}")),
            outcome.map(|outcome| format!("outcome={outcome}")),
            follow.then(|| "follow=true".to_owned()),
        ];
        format!("/admin/decisions?{}", criteria.into_iter().flatten().collect::<Vec<_>>().join("&"))
    }
}

/// Ends early without a failure when the reader of standard output has all it wants.
async fn print_lines(lines: Result<Download, AdminClientError>) -> Result<(), Failure> {
    let mut lines = lines.map_err(Failure::run)?;
    while let Some(part) = lines.next().await.map_err(Failure::run)? {
        if print_bytes(&part)? == Reader::Closed {
            break;
        }
    }
    Ok(())
}

async fn explain(admin: &AdminArgs, client: &AdminClient, request: &str) -> Result<(), Failure> {
    let answer = client.get(&format!("/admin/decisions/{request}")).await.map_err(Failure::run)?;
    let sentences = answer["explanation"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let text: String = sentences.map(|sentence| format!("{sentence}\n")).collect();
    print(&admin.json(&answer).unwrap_or(text))
}
