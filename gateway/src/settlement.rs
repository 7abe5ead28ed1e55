//! The second half of a request's path: a batch from one partition becomes outcomes in the ledger.
//!
//! One task per partition reads in offset order and settles a batch in one transaction: outcomes, stock and offset
//! together. On a ledger with one writer, the partitions that wait for their turn share a transaction. A rejection is a
//! row; a failure rolls the whole batch back, and the batch is settled again. Nothing here knows which log and which
//! ledger it runs on.

mod batch;
mod catch_up;
mod committer;
mod context;
mod dead_letters;
mod exhausted;
mod partition;
mod progress;
mod record;
mod releases;
mod takeover;
mod transaction;
mod verdict;

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use self::committer::Committer;
use self::partition::PartitionTask;
use crate::background::TaskFailure;
use crate::bounded::bounded;
use crate::coupon::{GroupNo, PartitionNo};
use crate::telemetry::PartitionOwned;

pub use committer::share;
pub use context::Settlement;
pub use exhausted::{Exhausted, union};
pub use progress::Progress;
pub use verdict::{Facts, Item, Verdict, settle};

/// `[settlement]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section")]
pub struct Options {
    /// The most records that one transaction settles, 1 to 4096. A larger batch locks its shard rows for longer; a
    /// smaller one needs more commits.
    #[serde(deserialize_with = "bounded::<_, _, 1, 4096>")]
    pub batch_records_max: u32,
    /// Deprecated: `false` is `--role gateway`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

impl Default for Options {
    fn default() -> Self {
        Self { batch_records_max: 2048, enabled: None }
    }
}

impl Settlement {
    /// Settles every partition that the log assigns, until `stop` is cancelled.
    ///
    /// # Errors
    /// The first partition's task that panicked, or the log if it stopped assigning: both leave records unsettled.
    pub async fn run(self, stop: CancellationToken) -> Result<(), TaskFailure> {
        let settlement = Arc::new(self);
        for partition in (0..settlement.log.partitions()).map(PartitionNo) {
            settlement.telemetry.emit(PartitionOwned { partition, is_owned: false });
        }
        let committer = |group| Arc::new(Committer::new(Arc::clone(&settlement), group));
        let committers: Vec<Arc<Committer>> = settlement.layout.groups().map(committer).collect();
        let mut assignments = settlement.log.assignments();
        let mut partitions: JoinSet<PartitionNo> = JoinSet::new();
        let mut running: HashMap<Id, PartitionNo> = HashMap::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                assignment = assignments.recv() => {
                    let assignment = assignment.ok_or_else(|| TaskFailure::ended("partition assignment"))?;
                    let partition = assignment.partition;
                    let group = settlement.layout.group_of(partition).unwrap_or(GroupNo::FIRST);
                    let committer = Arc::clone(&committers[group.index()]);
                    let task = PartitionTask::new(Arc::clone(&settlement), committer, partition);
                    let stop = stop.clone();
                    let id = partitions.spawn(async move {
                        task.run(assignment, stop).await;
                        partition
                    }).id();
                    running.insert(id, partition);
                }
                Some(ended) = partitions.join_next_with_id() => check(&mut running, ended)?,
            }
        }
        while let Some(ended) = partitions.join_next_with_id().await {
            check(&mut running, ended)?;
        }
        Ok(())
    }
}

/// A partition's task ends when the partition is revoked, or at shutdown.
fn check(
    running: &mut HashMap<Id, PartitionNo>,
    ended: Result<(Id, PartitionNo), JoinError>,
) -> Result<(), TaskFailure> {
    let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
    let partition = running.remove(&id);
    match ended {
        Err(error) if error.is_panic() => {
            let name = partition.map_or_else(String::new, |partition| format!(" of partition {partition}"));
            Err(TaskFailure::panicked(format!("settlement{name}"), &*error.into_panic()))
        }
        _ => Ok(()),
    }
}
