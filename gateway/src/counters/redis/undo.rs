//! Sends releases. A key goes first, because only its answer tells whether the counts of its request are undone.

use std::time::Duration;

use futures_util::future::join_all;

use super::nodes::Nodes;
use super::release::{Release, per_call};
use crate::counters::Unavailable;

/// The releases of a call, and why it failed.
type Failed = (Vec<Release>, Unavailable);

impl Nodes {
    /// Undoes the releases, or returns those that failed. One call undoes all that have one home.
    pub(super) async fn undo(&self, limit: Duration, releases: Vec<Release>) -> Result<(), Failed> {
        let (after_keys, failed) = self.undo_at_once(limit, releases).await;
        // Without keys: nothing follows.
        let (_, failed_after) = self.undo_at_once(limit, after_keys).await;
        let failed = failed.into_iter().chain(failed_after);
        let all = failed.reduce(|(mut all, error), (releases, _)| {
            all.extend(releases);
            (all, error)
        });
        all.map_or(Ok(()), Err)
    }

    /// Sends all calls at the same time. Answers with what to undo after the keys, and with what failed.
    async fn undo_at_once(&self, limit: Duration, releases: Vec<Release>) -> (Vec<Release>, Vec<Failed>) {
        let calls = per_call(releases).into_iter().map(|releases| self.undo_in_one_call(limit, releases));
        let (after_keys, failed): (Vec<_>, Vec<_>) = join_all(calls).await.into_iter().unzip();
        (after_keys.into_iter().flatten().collect(), failed.into_iter().flatten().collect())
    }

    async fn undo_in_one_call(&self, limit: Duration, mut releases: Vec<Release>) -> (Vec<Release>, Option<Failed>) {
        let keys = &self.server.keys;
        let call = keys.release(&releases);
        match self.within(limit, call.slot, self.send::<Vec<Option<String>>>(&call)).await {
            Ok(answers) => {
                let keyed = releases.iter().filter(|release| release.claim.is_some());
                let after_keys =
                    keyed.zip(answers).flat_map(|(release, left)| release.after_key(keys, left.as_deref()));
                (after_keys.collect(), None)
            }
            Err(error) => {
                let after_keys = releases.iter_mut().flat_map(Release::take_elsewhere).collect();
                (after_keys, Some((releases, error)))
            }
        }
    }

    /// Retries releases when Redis is back. `false` when the queue is full.
    pub(super) fn queue(&self, releases: Vec<Release>) -> bool {
        releases.into_iter().all(|release| self.release_queue.add(release))
    }
}
