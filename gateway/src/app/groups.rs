//! Joining the ledger groups: the first one before the start goes on, the others as soon as their databases answer. So a
//! database that is down stops only its group, also when a process starts.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::error::StartError;
use super::ports::{Ports, read_progress};
use super::retry::retry;
use crate::background::{Background, TaskFailure};
use crate::coupon::GroupNo;
use crate::ledger::{Ledger, OpenError};
use crate::log::Log;
use crate::settlement::Progress;

/// Retry interval of a group that cannot be reached.
const RETRY_EVERY: Duration = Duration::from_secs(1);

struct Joiner {
    log: Arc<dyn Log>,
    ledger: Arc<dyn Ledger>,
    progress: Arc<Progress>,
    group: GroupNo,
}

/// Joins all groups that can be reached, and returns the tasks that join the others.
///
/// # Errors
/// When a database is not the one of its group.
pub(super) async fn join(ports: &Ports, progress: &Arc<Progress>) -> Result<Vec<Background>, StartError> {
    retry(|| ports.ledger.join(GroupNo::FIRST), OpenError::is_transient).await?;
    let joiners = (1..ports.ledger.groups()).map(|group| Joiner {
        log: Arc::clone(&ports.log),
        ledger: Arc::clone(&ports.ledger),
        progress: Arc::clone(progress),
        group: GroupNo(group),
    });
    let joining = joiners.map(|joiner| async move { (joiner.join().await, joiner) });
    let mut late = Vec::new();
    for (joined, joiner) in join_all(joining).await {
        match joined {
            Ok(()) => {}
            Err(error) if is_transient(&error) => {
                tracing::warn!(group = %joiner.group, %error, "ledger group unreachable: its coupons wait, retrying every second");
                late.push(joiner.background());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(late)
}

impl Joiner {
    async fn join(&self) -> Result<(), StartError> {
        self.ledger.join(self.group).await?;
        read_progress(&*self.log, &*self.ledger, self.group, &self.progress).await
    }

    fn background(self) -> Background {
        let name = format!("join of ledger group {}", self.group);
        let task = name.clone();
        let run = async move {
            loop {
                tokio::time::sleep(RETRY_EVERY).await;
                match self.join().await {
                    Ok(()) => break,
                    Err(error) if is_transient(&error) => {}
                    Err(error) => return Err(TaskFailure { task: task.into(), cause: error.to_string() }),
                }
            }
            tracing::info!(group = %self.group, "ledger group reached");
            // A task that ends before shutdown has failed.
            std::future::pending().await
        };
        Background { name: name.into(), run: Box::pin(run) }
    }
}

fn is_transient(error: &StartError) -> bool {
    match error {
        StartError::Ledger(error) => error.is_transient(),
        StartError::ReadLedger(error) => error.is_transient(),
        _ => false,
    }
}
