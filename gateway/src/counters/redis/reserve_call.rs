//! A call to reserve. Redis may count a request after the caller stopped waiting, and of several calls for a hook one
//! may fail: what such calls added is released.

use std::mem::replace;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use tokio::runtime::Handle;

use super::commands::{Call, reserved};
use super::keys::Group;
use super::nodes::Nodes;
use super::release::Release;
use crate::counters::{Reserved, Subject, Unavailable};
use crate::coupon::now_ms;

/// No caller waits for the release.
const RELEASE_MAX: Duration = Duration::from_secs(1);

/// Dropped before its result is [taken](Self::take), it releases whatever it added or still adds.
pub(super) struct ReserveCall {
    progress: Progress,
    pub(super) slot: u16,
    nodes: Arc<Nodes>,
    group: Group,
    subject: Subject,
}

enum Progress {
    Unsent(Call),
    Waiting(BoxFuture<'static, Result<Vec<u64>, Unavailable>>),
    Answered(Reserved),
    Ended,
}

impl ReserveCall {
    pub(super) fn new(nodes: &Arc<Nodes>, group: Group, subject: &Subject) -> Self {
        let call = nodes.server.keys.reserve(&group, subject, now_ms());
        let (slot, nodes) = (call.slot, Arc::clone(nodes));
        Self { progress: Progress::Unsent(call), slot, nodes, group, subject: *subject }
    }

    /// Sends the call, and awaits its answer.
    pub(super) async fn answer(&mut self, limit: Duration) -> Result<(), Unavailable> {
        self.begin();
        let Progress::Waiting(answer) = &mut self.progress else { return Ok(()) };
        let answer = self.nodes.within(limit, self.slot, answer.as_mut().map(Ok)).await?;
        self.progress = Progress::Ended;
        self.progress = Progress::Answered(parse(&self.group, &answer?)?);
        Ok(())
    }

    fn begin(&mut self) {
        self.progress = match replace(&mut self.progress, Progress::Ended) {
            Progress::Unsent(call) => {
                let nodes = Arc::clone(&self.nodes);
                Progress::Waiting(async move { nodes.send(&call).await }.boxed())
            }
            sent => sent,
        };
    }

    /// Whether the answer is that another request holds the key.
    pub(super) fn is_key_taken(&self) -> bool {
        matches!(&self.progress, Progress::Answered(Reserved { is_key_taken: true, .. }))
    }

    /// The answer, with the positions of its measures in the hook.
    pub(super) fn take(mut self) -> Option<(Group, Reserved)> {
        let Progress::Answered(reserved) = replace(&mut self.progress, Progress::Ended) else { return None };
        Some((self.group.clone(), reserved))
    }

    /// Releases what the call added. If it is not answered yet, what the answer will add.
    pub(super) fn release_added(&mut self, limit: Duration) -> BoxFuture<'static, ()> {
        let progress = replace(&mut self.progress, Progress::Ended);
        let (nodes, group, subject) = (Arc::clone(&self.nodes), self.group.clone(), self.subject);
        let release_added = async move {
            let reserved = match progress {
                Progress::Waiting(answer) => answer.await.and_then(|answer| parse(&group, &answer)).ok(),
                Progress::Answered(reserved) => Some(reserved),
                Progress::Unsent(_) | Progress::Ended => None,
            };
            let release = reserved.and_then(|reserved| Release::of_added(&group, &subject, reserved.added));
            if let Some(release) = release
                && let Err((releases, error)) = nodes.undo(limit, vec![release]).await
                && !nodes.queue(releases)
            {
                tracing::warn!(%error, request_id = %subject.request_id, "failed to release an abandoned reservation");
            }
        };
        release_added.boxed()
    }
}

impl Drop for ReserveCall {
    fn drop(&mut self) {
        let adds_nothing = match &self.progress {
            Progress::Waiting(_) => false,
            Progress::Answered(reserved) => reserved.added == 0,
            Progress::Unsent(_) | Progress::Ended => true,
        };
        if !adds_nothing && let Ok(runtime) = Handle::try_current() {
            runtime.spawn(self.release_added(RELEASE_MAX));
        }
    }
}

fn parse(group: &Group, answer: &[u64]) -> Result<Reserved, Unavailable> {
    reserved(group, answer).ok_or_else(|| Unavailable("unexpected answer of the reserve script".to_owned()))
}
