//! What operators do with rollouts, and the choice of the arm for each request.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;

use super::error::RolloutError;
use super::guards::{Guards, Reading};
use super::live::{Chosen, Job, LiveRollouts};
use super::percent::Percent;
use super::record::{Auto, Event, Rollout, RolloutId, Status};
use super::replayed::{ReplayCheck, newest};
use super::store::Store;
use super::tally::Tallies;
use crate::counters::Hook;
use crate::coupon::{CouponId, UserId, now_ms};
use crate::decisions::Reader;
use crate::policy::{PipelinePatch, Pipelines, Proposal, Scope};
use crate::telemetry::{RolloutEnded, Telemetry};

/// The rollouts of all gateways on the ledger.
pub struct Rollouts {
    pub(super) pipelines: Arc<Pipelines>,
    pub(super) store: Store,
    pub(super) live: ArcSwap<LiveRollouts>,
    pub(super) shadow: Sender<Job>,
    /// This gateway has changed a rollout.
    pub(super) changed: Notify,
    /// This process in the history of a rollout.
    pub(super) gateway: String,
    pub(super) telemetry: Telemetry,
    pub(super) decisions: Reader,
}

/// What to roll out, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRollout {
    /// The coupon whose pipeline changes; without it, the default pipeline.
    pub coupon_id: Option<CouponId>,
    pub hooks: PipelinePatch,
    /// Whether the candidate is also asked about requests that the active policies decide. Its answers have no effect.
    pub shadow: bool,
    /// The share of the users that the candidate serves first, in percent. 0 only shadows.
    pub canary_percent: Percent,
    /// Larger shares follow by themselves.
    pub auto: Option<Auto>,
    pub guards: Guards,
    pub replay: ReplayCheck,
}

/// A rollout, and what all gateways have measured in its current step.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasuredRollout {
    pub rollout: Rollout,
    pub tallies: Tallies,
    pub guards_found: Vec<Reading>,
}

impl Rollouts {
    /// The generation that decides about a user's request.
    #[must_use]
    pub fn choose(&self, coupon: CouponId, user: UserId) -> Chosen {
        let active = self.pipelines.deciding(coupon);
        let live = self.live.load();
        let of_coupon = || live.get(&Scope::Coupon(coupon));
        // A coupon with hooks of its own follows the default pipeline only once a rollout is promoted.
        let of_default = || live.get(&Scope::Default).filter(|_| !active.has_own_hooks());
        let running = if live.is_empty() { None } else { of_coupon().or_else(of_default) };
        Chosen::new(Arc::clone(&active), running.cloned(), user)
    }

    /// Checks a candidate, and starts its rollout.
    ///
    /// # Errors
    /// [`RolloutError`]: which check it did not pass. Nothing has changed then.
    pub async fn start(&self, new: NewRollout, who: &str) -> Result<Rollout, RolloutError> {
        check(&new)?;
        let scope = new.coupon_id.map_or(Scope::Default, Scope::Coupon);
        self.store.check_scope_free(scope).await?;
        let proposal = self.pipelines.propose(scope, &new.hooks).await?;
        let mut history = vec![event(who, format!("checked: {}", describe(&proposal)))];
        let recorded = newest(&self.decisions, scope).await?;
        for (hook, pinned) in proposal.candidate.iter() {
            let Some(pinned) = pinned else { continue };
            let found = new.replay.run(hook, pinned, &self.pipelines, Arc::clone(&recorded)).await?;
            history.push(event(who, format!("replayed: {found}")));
        }
        let NewRollout { shadow, canary_percent, auto, guards, .. } = new;
        let first = match &auto {
            Some(auto) if !shadow && canary_percent.is_zero() => auto.percents[0],
            _ => canary_percent,
        };
        history.push(event(who, started(first, shadow)));
        let now = now_ms();
        let rollout = Rollout {
            id: 0,
            scope,
            candidate: proposal.candidate,
            replaced: proposal.replaced,
            status: Status::Running,
            canary_percent: first,
            shadow,
            auto,
            guards,
            started_by: who.to_owned(),
            started_at_ms: now,
            step_no: 0,
            step_since_ms: now,
            history,
            salt: uuid::Uuid::new_v4().as_u64_pair().0,
        };
        let rollout = self.store.create(rollout).await?.rollout;
        tracing::info!(rollout = rollout.id, who, percent = %rollout.canary_percent, shadow, "rollout started");
        self.changed.notify_one();
        Ok(rollout)
    }

    /// Changes the share of the users that the candidate serves.
    ///
    /// # Errors
    /// [`RolloutError`], if it is over or being promoted.
    pub async fn set_canary(&self, id: RolloutId, percent: Percent, who: &str) -> Result<Rollout, RolloutError> {
        self.change(id, |rollout| {
            check_tried(rollout.shadow, percent)?;
            if rollout.canary_percent != percent {
                rollout.step(percent, event(who, format!("the candidate serves {percent} of the users")));
            }
            Ok(())
        })
        .await
    }

    /// Makes the candidate the pipeline of all users.
    ///
    /// # Errors
    /// [`RolloutError`], if it is over or being promoted.
    pub async fn promote(&self, id: RolloutId, who: &str) -> Result<Rollout, RolloutError> {
        let promoted = event(who, "promoted: the candidate becomes the pipeline".to_owned());
        self.set_status(id, &Status::Promoting, &promoted).await
    }

    /// Returns all users to the active policies.
    ///
    /// # Errors
    /// [`RolloutError`], if it is over or being promoted.
    pub async fn abort(&self, id: RolloutId, reason: Option<&str>, who: &str) -> Result<Rollout, RolloutError> {
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let aborted = event(who, format!("aborted{reason}"));
        let status = Status::Aborted { by: who.to_owned() };
        let rollout = self.set_status(id, &status, &aborted).await?;
        self.telemetry.emit(RolloutEnded(rollout.status.as_str()));
        Ok(rollout)
    }

    async fn set_status(&self, id: RolloutId, status: &Status, event: &Event) -> Result<Rollout, RolloutError> {
        self.change(id, |rollout| {
            rollout.set_status(status.clone(), event.clone());
            Ok(())
        })
        .await
    }

    async fn change(
        &self,
        id: RolloutId,
        change: impl Fn(&mut Rollout) -> Result<(), RolloutError>,
    ) -> Result<Rollout, RolloutError> {
        let changed = self.store.change(id, |rollout| match &rollout.status {
            Status::Running => change(rollout),
            Status::Promoting => Err(RolloutError::Promoting(id)),
            status => Err(RolloutError::Over { id, status: status.clone() }),
        });
        let rollout = changed.await?.rollout;
        self.changed.notify_one();
        Ok(rollout)
    }

    /// The rollouts that run and the newest ones, newest first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn list(&self) -> Result<Vec<Rollout>, RolloutError> {
        let stored = [self.store.newest().await?, self.store.running().await?].into_iter().flatten();
        let by_id: BTreeMap<_, _> = stored.map(|stored| (stored.rollout.id, stored.rollout)).collect();
        Ok(by_id.into_values().rev().collect())
    }

    /// A rollout with both arms side by side.
    ///
    /// # Errors
    /// When there is none with this number, or the ledger cannot be read.
    pub async fn get(&self, id: RolloutId) -> Result<MeasuredRollout, RolloutError> {
        let rollout = self.store.get(id).await?.rollout;
        let tallies = self.store.tallies(&rollout).await?;
        let guards_found = rollout.judge(&tallies);
        Ok(MeasuredRollout { rollout, tallies, guards_found })
    }
}

fn check(new: &NewRollout) -> Result<(), RolloutError> {
    let NewRollout { shadow, canary_percent, auto, guards, replay, .. } = new;
    guards.check().map_err(RolloutError::Invalid)?;
    if let Some(auto) = auto {
        auto.check().map_err(RolloutError::Invalid)?;
    }
    if auto.is_none() {
        check_tried(*shadow, *canary_percent)?;
    }
    if !(0.0..=1.0).contains(&replay.changed) || !(0.0..=1.0).contains(&replay.failures) {
        return Err(RolloutError::Invalid("replay: expected shares from 0 to 1".to_owned()));
    }
    Ok(())
}

fn check_tried(shadow: bool, percent: Percent) -> Result<(), RolloutError> {
    if shadow || !percent.is_zero() {
        return Ok(());
    }
    let message = "canaryPercent: expected more than 0 if shadow is false, or nothing would be tried";
    Err(RolloutError::Invalid(message.to_owned()))
}

fn event(who: &str, what: String) -> Event {
    Event { at_ms: now_ms(), who: who.to_owned(), what, measured: Vec::new() }
}

fn started(percent: Percent, shadow: bool) -> String {
    match (percent.is_zero(), shadow) {
        (true, _) => "started as a shadow".to_owned(),
        (false, true) => format!("started: the candidate serves {percent} of the users, and shadows the others"),
        (false, false) => format!("started: the candidate serves {percent} of the users"),
    }
}

/// What was loaded and tried, beside what it replaces.
fn describe(proposal: &Proposal) -> String {
    let hook = |hook: Hook| {
        let (new, old) = (proposal.candidate[hook].as_ref()?, proposal.replaced[hook].as_ref()?);
        let [new, old] = [new, old].map(|pinned| format!("{} ({})", pinned.spec.policy, pinned.digest.version()));
        Some(format!("{}: {new} instead of {old}", hook.as_str()))
    };
    let hooks: Vec<String> = Hook::ALL.into_iter().filter_map(hook).collect();
    format!(
        "{}; it loads, accepts its configuration, decides trial requests and keeps its budget of fuel",
        hooks.join(", ")
    )
}
