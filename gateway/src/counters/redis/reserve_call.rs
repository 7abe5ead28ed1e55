//! The calls to reserve for a hook. Redis may count a request after the caller stopped waiting, and of several calls
//! one may fail: what such calls added is released.

use std::mem::{replace, take};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all, try_join_all};
use tokio::runtime::Handle;

use super::commands::{Call, reserved};
use super::keys::{Counter, Group};
use super::nodes::Nodes;
use super::release::Release;
use crate::counters::{Hook, KEY_ADDED, Measure, Reserved, Subject, Unavailable};
use crate::coupon::now_ms;

/// No caller waits for the release.
const RELEASE_MAX: Duration = Duration::from_secs(1);

/// Dropped before their results are [taken](Self::take), they release whatever they added or still add.
pub(super) struct ReserveCalls {
    calls: Vec<ReserveCall>,
    nodes: Arc<Nodes>,
    subject: Subject,
}

impl ReserveCalls {
    pub(super) fn new(nodes: &Arc<Nodes>, hook: Hook, measures: &[Measure], subject: &Subject) -> Self {
        let groups = nodes.server.keys.groups(hook, measures, subject).into_iter();
        let calls = groups.map(|group| ReserveCall::new(nodes, group, subject)).collect();
        Self { calls, nodes: Arc::clone(nodes), subject: *subject }
    }

    /// Sends the calls, and awaits their answers.
    pub(super) async fn answer(&mut self, limit: Duration) -> Result<(), Unavailable> {
        for call in &self.calls {
            self.nodes.reach(call.slot)?; // while one is known to be down, the others are not called in vain
        }
        let nodes = &self.nodes;
        try_join_all(self.calls.iter_mut().map(|call| call.answer(nodes, limit))).await.map(|_| ())
    }

    /// Whether the answer is that another request holds the key.
    pub(super) fn is_key_taken(&self) -> bool {
        self.calls.iter().any(ReserveCall::is_key_taken)
    }

    /// The answers, with the positions of their measures in the hook.
    pub(super) fn take(mut self) -> Vec<(Group, Reserved)> {
        take(&mut self.calls).into_iter().filter_map(ReserveCall::into_answer).collect()
    }

    /// Releases what the calls added: together what was answered, and each of the others once it is answered, because a
    /// hung node must not hold up the rest.
    pub(super) fn release_added(&mut self, limit: Duration) -> BoxFuture<'static, ()> {
        let (nodes, subject) = (Arc::clone(&self.nodes), self.subject);
        let (waiting, ended): (Vec<_>, Vec<_>) =
            take(&mut self.calls).into_iter().partition(|call| matches!(call.progress, Progress::Waiting(_)));
        let release_added = async move {
            let answered = ended.into_iter().filter_map(ReserveCall::into_answer).collect();
            let late = waiting.into_iter().map(async |call| {
                if let Some(answer) = call.into_late_answer().await {
                    release(&nodes, limit, &subject, vec![answer]).await;
                }
            });
            tokio::join!(release(&nodes, limit, &subject, answered), join_all(late));
        };
        release_added.boxed()
    }
}

impl Drop for ReserveCalls {
    fn drop(&mut self) {
        if self.calls.iter().any(ReserveCall::may_add)
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(self.release_added(RELEASE_MAX));
        }
    }
}

async fn release(nodes: &Nodes, limit: Duration, subject: &Subject, answers: Vec<(Group, Reserved)>) {
    let claimed = answers.iter().find(|(_, reserved)| reserved.added & KEY_ADDED != 0);
    let claim = claimed.and_then(|(group, _)| group.claim);
    let counters = answers.iter().flat_map(|(group, reserved)| added_counters(group, reserved.added));
    let releases = Release::of_attempt(&nodes.server.keys, subject, claim, counters);
    if let Err((releases, error)) = nodes.undo(limit, releases).await
        && !nodes.queue(releases)
    {
        tracing::warn!(%error, request_id = %subject.request_id, "failed to release an abandoned reservation");
    }
}

fn added_counters(group: &Group, added: u32) -> impl Iterator<Item = Counter> {
    let counters = group.counters.iter().filter(move |(position, _)| added & (1 << position) != 0);
    counters.map(|(_, counter)| *counter)
}

/// One call, for what is on one slot.
struct ReserveCall {
    progress: Progress,
    slot: u16,
    group: Group,
}

enum Progress {
    Unsent(Call),
    Waiting(BoxFuture<'static, Result<Vec<u64>, Unavailable>>),
    Answered(Reserved),
    Ended,
}

impl ReserveCall {
    fn new(nodes: &Nodes, group: Group, subject: &Subject) -> Self {
        let call = nodes.server.keys.reserve(&group, subject, now_ms());
        Self { slot: call.slot, progress: Progress::Unsent(call), group }
    }

    async fn answer(&mut self, nodes: &Arc<Nodes>, limit: Duration) -> Result<(), Unavailable> {
        self.begin(nodes);
        let Progress::Waiting(answer) = &mut self.progress else { return Ok(()) };
        let answer = nodes.within(limit, self.slot, answer.as_mut().map(Ok)).await?;
        self.progress = Progress::Ended;
        self.progress = Progress::Answered(parse(&self.group, &answer?)?);
        Ok(())
    }

    fn begin(&mut self, nodes: &Arc<Nodes>) {
        self.progress = match replace(&mut self.progress, Progress::Ended) {
            Progress::Unsent(call) => {
                let nodes = Arc::clone(nodes);
                Progress::Waiting(async move { nodes.send(&call).await }.boxed())
            }
            sent => sent,
        };
    }

    fn is_key_taken(&self) -> bool {
        matches!(&self.progress, Progress::Answered(Reserved { is_key_taken: true, .. }))
    }

    fn may_add(&self) -> bool {
        match &self.progress {
            Progress::Waiting(_) => true,
            Progress::Answered(reserved) => reserved.added != 0,
            Progress::Unsent(_) | Progress::Ended => false,
        }
    }

    fn into_answer(self) -> Option<(Group, Reserved)> {
        let Progress::Answered(reserved) = self.progress else { return None };
        Some((self.group, reserved))
    }

    async fn into_late_answer(self) -> Option<(Group, Reserved)> {
        let Progress::Waiting(answer) = self.progress else { return None };
        let reserved = parse(&self.group, &answer.await.ok()?).ok()?;
        Some((self.group, reserved))
    }
}

fn parse(group: &Group, answer: &[u64]) -> Result<Reserved, Unavailable> {
    reserved(group, answer).ok_or_else(|| Unavailable("unexpected answer of the reserve script".to_owned()))
}
