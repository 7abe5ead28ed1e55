//! `sluice rollout`

mod arms;
mod field;
mod history;
mod number;
mod start;
mod status;
mod watch;

use clap::Subcommand;
use serde_json::{Value, json};

use super::admin_client::{AdminArgs, AdminClient, AdminClientError};
use super::common::{Failure, block_on, print};

#[derive(clap::Args)]
#[command(after_help = "\
Give 5 % of the users another shard picker, look at both arms, then give it to all:
  sluice rollout start --hook shard-picker=weighted --canary 5
  sluice rollout status
  sluice rollout promote
  sluice rollout watch 1

ID may be left out while exactly one rollout is running. docs/rollouts.md has a worked example.")]
pub(super) struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check a changed policy, and run it as a shadow or for a share of the users.
    Start(Box<start::Args>),
    /// Show both arms side by side, and how far the guards are from their bounds.
    Status {
        /// The number of the rollout.
        id: Option<u64>,
    },
    /// Show the status every second until the rollout is over. Exits with 0 if it was promoted, with 1 if it was rolled
    /// back or aborted.
    ///
    /// If standard output is no terminal, it prints a line for each step instead. Ctrl-C ends the command, not the
    /// rollout.
    Watch {
        /// The number of the rollout.
        id: Option<u64>,
    },
    /// Change the share of the users that the candidate serves. A larger share keeps the users of a smaller one.
    Canary {
        /// In percent, with at most two decimals. With 0, the candidate only shadows.
        percent: f64,
        /// The number of the rollout.
        id: Option<u64>,
    },
    /// Make the candidate the pipeline of all users, whatever the guards find.
    Promote {
        /// The number of the rollout.
        id: Option<u64>,
    },
    /// Return all users to the active policies.
    Abort {
        /// The number of the rollout.
        id: Option<u64>,
        /// For the history.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Print every step of a rollout: when, who, what, and what the guards found. Without ID, list the newest rollouts.
    History {
        /// The number of the rollout.
        id: Option<u64>,
    },
}

pub(super) fn run(Args { admin, command }: &Args) -> Result<(), Failure> {
    let client = admin.client()?;
    block_on(command.run(admin, &client))?
}

impl Command {
    async fn run(&self, admin: &AdminArgs, client: &AdminClient) -> Result<(), Failure> {
        match self {
            Self::Start(args) => {
                let started = client.post("/admin/rollouts", Some(args.body()?)).await;
                show(admin, started, start::started)
            }
            Self::Status { id } => {
                let path = number::path(client, *id).await?;
                show(admin, client.get(&path).await, status::page)
            }
            Self::Watch { id } => watch::watch(admin, client, &number::path(client, *id).await?).await,
            Self::Canary { percent, id } => {
                let path = number::path(client, *id).await?;
                let changed = client.patch(&path, json!({ "canaryPercent": percent })).await;
                show(admin, changed, status::summary)
            }
            Self::Promote { id } => {
                let path = number::path(client, *id).await?;
                show(admin, client.post(&format!("{path}/promote"), None).await, status::summary)
            }
            Self::Abort { id, reason } => {
                let path = number::path(client, *id).await?;
                let body = json!({ "reason": reason });
                show(admin, client.post(&format!("{path}/abort"), Some(body)).await, status::summary)
            }
            Self::History { id: None } => show(admin, client.get("/admin/rollouts").await, history::list),
            Self::History { id: Some(id) } => show(admin, client.get(&number::path_of(*id)).await, history::of_rollout),
        }
    }
}

/// Prints an answer as JSON, or in words.
fn show(
    admin: &AdminArgs,
    answer: Result<Value, AdminClientError>,
    in_words: impl Fn(&Value) -> String,
) -> Result<(), Failure> {
    let answer = answer.map_err(Failure::run)?;
    print(&admin.json(&answer).unwrap_or_else(|| in_words(&answer)))
}
