//! Rebalances of the consumer group, queued for the member's thread.

use std::sync::{Mutex, PoisonError};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, ConsumerContext, Rebalance};

/// A change of the partitions that this member reads.
pub(super) enum Change {
    Assigned(Vec<u32>),
    Revoked(Vec<u32>),
}

/// Only queues: the callback runs inside the library's poll, where nothing may block.
#[derive(Default)]
pub(super) struct Rebalances {
    changes: Mutex<Vec<Change>>,
}

impl Rebalances {
    pub(super) fn take(&self) -> Vec<Change> {
        std::mem::take(&mut *self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Rebalances {}

impl ConsumerContext for Rebalances {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let change = match rebalance {
            Rebalance::Assign(partitions) => Change::Assigned(numbers(partitions)),
            Rebalance::Revoke(partitions) => Change::Revoked(numbers(partitions)),
            Rebalance::Error(error) => return tracing::warn!(%error, "consumer group rebalance failed"),
        };
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push(change);
    }
}

fn numbers(partitions: &TopicPartitionList) -> Vec<u32> {
    partitions.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()).collect()
}
