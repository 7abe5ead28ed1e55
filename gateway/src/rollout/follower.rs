//! Keeps this gateway on the rollouts in the ledger, reports what it measures, and lets the guards judge.
//!
//! Every gateway judges all reports. The first one that stores a change decides; the others follow it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::guards::Reading;
use super::live::{Live, LiveRollouts, LiveTallies};
use super::meter::Meter;
use super::record::{Event, Next, Rollout, RolloutId, Status};
use super::service::Rollouts;
use super::store::Stored;
use crate::counters::Hook;
use crate::coupon::now_ms;
use crate::policy::{ChangeError, HeldHooks};
use crate::telemetry::RolloutEnded;

/// As the pipeline follower: a change reaches all gateways within the two seconds that are promised.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How soon a bad candidate is rolled back after its guards can tell.
const JUDGE_EVERY: Duration = Duration::from_secs(1);
/// A change of the pipeline reaches all gateways sooner, so a difference that lasts is none of a gateway that is behind.
const DISPLACED_MAX: Duration = Duration::from_secs(5);
/// Other rollouts wait no longer for the publication of one.
const PROMOTION_MAX: Duration = Duration::from_secs(2);

pub(super) struct Follower {
    rollouts: Arc<Rollouts>,
    followed: BTreeMap<RolloutId, Followed>,
    /// When the ledger was last read.
    read_at: Instant,
    /// When the ledger last took a report.
    written_at: Instant,
    judge_at: Instant,
    meter: Meter,
}

/// A rollout that this gateway takes part in.
struct Followed {
    stored: Stored,
    live: Arc<Live>,
    /// For how long the ledger was unavailable, once that was too long. The active policies decide until then.
    suspended_for: Option<Duration>,
    /// The hook that differs from what the candidate is to replace, and since when one does.
    displaced: Option<(Hook, Instant)>,
}

impl Follower {
    pub(super) fn new(rollouts: Arc<Rollouts>) -> Self {
        let (now, meter) = (Instant::now(), Meter::new(rollouts.telemetry.clone()));
        Self { rollouts, followed: BTreeMap::new(), read_at: now, written_at: now, judge_at: now, meter }
    }

    pub(super) async fn run(mut self) {
        let rollouts = Arc::clone(&self.rollouts);
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = rollouts.changed.notified() => {}
            }
            self.look().await;
        }
    }

    /// One turn: nothing in it fails for good.
    pub(super) async fn look(&mut self) {
        match self.rollouts.store.running().await {
            Ok(running) => {
                self.read_at = Instant::now();
                self.follow(running).await;
                self.suspend(self.written_at);
            }
            Err(error) => {
                tracing::debug!(%error, "rollouts not read; tried again");
                self.suspend(self.read_at);
            }
        }
        self.publish();
    }

    async fn follow(&mut self, running: Vec<Stored>) {
        self.followed.retain(|id, _| running.iter().any(|stored| stored.rollout.id == *id));
        for stored in running {
            let id = stored.rollout.id;
            if let Err(error) = self.follow_one(stored).await {
                tracing::warn!(rollout = id, %error, "rollout not followed; tried again");
            }
        }
        if Instant::now() >= self.judge_at {
            self.judge_at = Instant::now() + JUDGE_EVERY;
            self.judge_all().await;
        }
    }

    async fn follow_one(&mut self, stored: Stored) -> Result<(), ChangeError> {
        let id = stored.rollout.id;
        let is_promoting = stored.rollout.status == Status::Promoting;
        let suspended_for = self.followed.get(&id).and_then(|followed| followed.suspended_for);
        // A promotion is not taken back: the candidate may be published already.
        if let Some(away) = suspended_for.filter(|_| !is_promoting) {
            let reason = format!("the ledger was unavailable for a gateway for {} s", away.as_secs());
            return self.roll_back(&stored, reason, Vec::new()).await;
        }
        match self.load(&stored).await {
            Ok(live) => self.keep(&stored, live),
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                return self.roll_back(&stored, format!("the candidate cannot be loaded: {error}"), Vec::new()).await;
            }
        }
        if is_promoting { self.finish_promotion(&stored).await } else { Ok(()) }
    }

    fn keep(&mut self, stored: &Stored, live: Arc<Live>) {
        let Rollout { id, scope, replaced, status, .. } = &stored.rollout;
        let changed = self.rollouts.pipelines.first_changed(*scope, replaced).filter(|_| *status == Status::Running);
        let known = self.followed.get(id).and_then(|followed| followed.displaced);
        let displaced = changed.map(|hook| (hook, known.map_or_else(Instant::now, |(_, since)| since)));
        let followed = Followed { stored: stored.clone(), live, suspended_for: None, displaced };
        self.followed.insert(*id, followed);
    }

    /// The hook that was changed in another way: by a file while no gateway ran, by a call at the moment of the start, or
    /// by the default pipeline that a coupon follows. The candidate would be compared with something else from then on.
    fn displaced(&self, id: RolloutId) -> Option<Hook> {
        let (hook, since) = self.followed.get(&id)?.displaced?;
        (since.elapsed() >= DISPLACED_MAX).then_some(hook)
    }

    /// What the way of a request needs. It is kept while neither the rollout nor the active pipeline has changed.
    async fn load(&self, stored: &Stored) -> Result<Arc<Live>, ChangeError> {
        let scope = stored.rollout.scope;
        let active = self.rollouts.pipelines.generation_of(scope).number();
        let known = self.followed.get(&stored.rollout.id);
        if let Some(known) = known.filter(|known| known.stored == *stored && known.live.candidate.number() == active) {
            return Ok(Arc::clone(&known.live));
        }
        let same_step = known.filter(|known| known.stored.rollout.step_no == stored.rollout.step_no);
        let tallies =
            same_step.map_or_else(|| Arc::new(LiveTallies::default()), |known| Arc::clone(&known.live.tallies));
        let candidate = match known.filter(|known| known.live.candidate.number() == active) {
            Some(known) => Arc::clone(&known.live.candidate),
            None => Arc::new(self.rollouts.pipelines.load_candidate(scope, &stored.rollout.candidate).await?),
        };
        Ok(Arc::new(Live::new(&stored.rollout, candidate, tallies, &self.rollouts.shadow)))
    }

    /// If any process publishes the candidate, the answer is its generation for all of them.
    async fn finish_promotion(&mut self, stored: &Stored) -> Result<(), ChangeError> {
        let rollout = &stored.rollout;
        let candidate = rollout.candidate.clone();
        let promotion = self.rollouts.pipelines.promote(rollout.scope, candidate, rollout.id, &rollout.started_by);
        // It continues by itself; the next turn finds what it did.
        let Ok(promoted) = tokio::time::timeout(PROMOTION_MAX, promotion).await else { return Ok(()) };
        match promoted {
            Ok(generation) => {
                let what = format!("serves all users, as generation {generation}");
                self.end(stored, Status::Promoted { generation }, what, Vec::new()).await
            }
            Err(error) if error.is_transient() => Err(error),
            Err(error) => self.roll_back(stored, format!("it cannot become the pipeline: {error}"), Vec::new()).await,
        }
    }

    async fn judge_all(&mut self) {
        if self.followed.is_empty() {
            self.written_at = Instant::now();
        }
        let mut nearest = Vec::new();
        for id in self.followed.keys().copied().collect::<Vec<_>>() {
            match self.judge_one(id).await {
                Ok(readings) => nearest.extend(readings),
                Err(error) => tracing::warn!(rollout = id, %error, "rollout not judged; tried again"),
            }
        }
        self.meter.read(&nearest);
    }

    async fn judge_one(&mut self, id: RolloutId) -> Result<Vec<Reading>, ChangeError> {
        let Some(Followed { stored, live, .. }) = self.followed.get(&id) else { return Ok(Vec::new()) };
        let (stored, own) = (stored.clone(), live.tallies.sum());
        let rollout = &stored.rollout;
        self.meter.measured(id, rollout.step_no, &own);
        self.rollouts.store.report(rollout, &own).await?;
        self.written_at = Instant::now();
        let tallies = self.rollouts.store.tallies(rollout).await?;
        let readings = rollout.judge(&tallies);
        if let Some(hook) = self.displaced(id) {
            let reason =
                format!("the {} was changed in another way, so what the rollout replaces is gone", hook.as_str());
            self.roll_back(&stored, reason, readings.clone()).await?;
            return Ok(readings);
        }
        match rollout.next(now_ms(), &readings, rollout.fewest_decisions(&tallies)) {
            Next::Stay => {}
            Next::RollBack(reason) => self.roll_back(&stored, reason, readings.clone()).await?,
            Next::Canary(percent) => {
                let what = format!("all guards are within their bounds: the candidate serves {percent} of the users");
                let mut next = rollout.clone();
                next.step(percent, self.event(what, readings.clone()));
                self.store(&stored, next).await?;
            }
            Next::Promote => {
                let what = "all guards are within their bounds: the candidate becomes the pipeline".to_owned();
                self.end(&stored, Status::Promoting, what, readings.clone()).await?;
            }
        }
        Ok(readings)
    }

    async fn roll_back(&mut self, stored: &Stored, reason: String, measured: Vec<Reading>) -> Result<(), ChangeError> {
        let what = format!("rolled back: {reason}");
        self.end(stored, Status::RolledBack { reason }, what, measured).await
    }

    async fn end(
        &mut self,
        stored: &Stored,
        status: Status,
        what: String,
        measured: Vec<Reading>,
    ) -> Result<(), ChangeError> {
        let mut next = stored.rollout.clone();
        next.set_status(status, self.event(what, measured));
        self.store(stored, next).await
    }

    /// If another process was first, its change is read in the next turn.
    async fn store(&mut self, stored: &Stored, next: Rollout) -> Result<(), ChangeError> {
        let id = next.id;
        if let Some(updated) = self.rollouts.store.update(stored, next).await? {
            let status = &updated.rollout.status;
            if let Status::RolledBack { reason } = status {
                tracing::error!(rollout = id, reason, "rolled back; the pipeline is as it was");
            } else {
                tracing::info!(rollout = id, status = status.as_str(), percent = %updated.rollout.canary_percent, "rollout changed");
            }
            if status.is_over() {
                self.rollouts.telemetry.emit(RolloutEnded(status.as_str()));
                self.followed.remove(&id);
            }
            self.rollouts.changed.notify_one();
        }
        Ok(())
    }

    fn event(&self, what: String, measured: Vec<Reading>) -> Event {
        Event { at_ms: now_ms(), who: self.rollouts.gateway.clone(), what, measured }
    }

    /// Nobody can roll back while the ledger is away, so a gateway returns to the active policies by itself.
    fn suspend(&mut self, since: Instant) {
        let away = since.elapsed();
        for (id, followed) in &mut self.followed {
            if away.as_secs() < followed.stored.rollout.guards.ledger_seconds {
                continue;
            }
            if followed.suspended_for.is_none() {
                tracing::error!(rollout = id, "the ledger is unavailable: the active policies decide until it answers");
            }
            followed.suspended_for = Some(away);
        }
    }

    /// From here on, requests see it.
    fn publish(&self) {
        let running = || self.followed.values().filter(|followed| followed.suspended_for.is_none());
        let held = running().map(|followed| {
            let rollout = &followed.stored.rollout;
            HeldHooks { rollout: rollout.id, scope: rollout.scope, hooks: rollout.changed() }
        });
        self.rollouts.pipelines.hold(held.collect());
        let live: LiveRollouts =
            running().map(|followed| (followed.stored.rollout.scope, Arc::clone(&followed.live))).collect();
        self.meter.running(running().map(|followed| &followed.stored.rollout));
        self.rollouts.live.store(Arc::new(live));
    }
}
