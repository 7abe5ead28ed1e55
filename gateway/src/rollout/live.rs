//! The rollouts that are running, as the way of a request sees them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::Sender;

use super::percent::Percent;
use super::record::Rollout;
use super::shadowed::{AnyAsked, Asked, Shadowed};
use super::tally::{HookTally, ShadowTally, Tallies};
use crate::counters::{Hook, Measured, PerHook, PerMeasure, Subject};
use crate::coupon::{Arm, DecidedBy, UserId};
use crate::policy::{Decided, Generation, Request, Scope};
use crate::stripes::Stripes;

/// More than the workers of most machines.
const STRIPES: usize = 16;

/// By scope. Mostly empty.
pub(super) type LiveRollouts = HashMap<Scope, Arc<Live>>;

/// A rollout that this gateway takes part in.
pub(super) struct Live {
    pub(super) changed: PerHook<bool>,
    /// The active pipeline with the candidate's hooks.
    pub(super) candidate: Arc<Generation>,
    pub(super) tallies: Arc<LiveTallies>,
    percent: Percent,
    salt: u64,
    /// To the worker, if the candidate shadows the active pipeline.
    shadow: Option<Sender<Job>>,
}

/// The tallies of this gateway in the current step.
pub(super) struct LiveTallies {
    active: PerHook<Stripes<HookTally>>,
    canary: PerHook<Stripes<HookTally>>,
    shadow: PerHook<Mutex<ShadowTally>>,
}

/// A request that the active pipeline has decided.
pub(super) struct Job {
    pub(super) live: Arc<Live>,
    pub(super) active: Arc<Generation>,
    pub(super) subject: Subject,
    pub(super) request: Request,
    pub(super) asked: AnyAsked,
}

/// The generation that decides about a request, and the arm of the rollout to which it belongs.
pub struct Chosen {
    pub generation: Arc<Generation>,
    arm: Arm,
    live: Option<Arc<Live>>,
}

/// What a hook was asked with.
pub struct Question<'a> {
    pub subject: &'a Subject,
    pub request: &'a Request,
    /// Absent if the counters were unavailable.
    pub measured: Option<&'a PerMeasure<Measured>>,
}

impl Live {
    pub(super) fn new(
        rollout: &Rollout,
        candidate: Arc<Generation>,
        tallies: Arc<LiveTallies>,
        queue: &Sender<Job>,
    ) -> Self {
        Self {
            changed: rollout.changed(),
            candidate,
            tallies,
            percent: rollout.canary_percent,
            salt: rollout.salt,
            shadow: rollout.shadow.then(|| queue.clone()),
        }
    }
}

impl Chosen {
    /// `active` decides, unless the user belongs to the canary.
    pub(super) fn new(active: Arc<Generation>, live: Option<Arc<Live>>, user: UserId) -> Self {
        match &live {
            Some(running) if running.percent.holds(user, running.salt) => {
                Self { generation: Arc::clone(&running.candidate), arm: Arm::Canary, live }
            }
            _ => Self { generation: active, arm: Arm::Active, live },
        }
    }

    #[must_use]
    pub fn decided_by(&self) -> DecidedBy {
        DecidedBy { generation: self.generation.number(), arm: self.arm }
    }

    /// Calls a hook, with its processor time if a rollout compares it.
    pub fn call<V>(&self, hook: Hook, call: impl FnOnce(&Generation) -> Decided<V>) -> Decided<V> {
        let call = || call(&self.generation);
        if self.live.as_ref().is_some_and(|live| live.changed[hook]) { Decided::timed(call) } else { call() }
    }

    /// Takes note of a decision, and asks the shadow about the same request. `context` is called only then.
    pub fn observe<C: Shadowed>(
        &self,
        question: &Question<'_>,
        context: impl FnOnce() -> C,
        decided: &Decided<C::Verdict>,
    ) {
        let Some(live) = self.live.as_ref().filter(|live| live.changed[C::HOOK]) else { return };
        let tallies = match self.arm {
            Arm::Active => &live.tallies.active,
            Arm::Canary => &live.tallies.canary,
        };
        tallies[C::HOOK].own().record::<C>(decided);
        if let (Arm::Active, Some(queue)) = (self.arm, &live.shadow) {
            self.ask_shadow(live, queue, question, context, decided);
        }
    }

    fn ask_shadow<C: Shadowed>(
        &self,
        live: &Arc<Live>,
        queue: &Sender<Job>,
        question: &Question<'_>,
        context: impl FnOnce() -> C,
        decided: &Decided<C::Verdict>,
    ) {
        // Without a decision of the active policy, there is nothing to compare with.
        let (Some(measured), Ok(verdict), None) = (question.measured, &decided.verdict, decided.failure) else {
            return;
        };
        let Ok(place) = queue.try_reserve() else {
            live.tallies.shadow(C::HOOK, |tally| tally.lost += 1);
            return;
        };
        place.send(Job {
            live: Arc::clone(live),
            active: Arc::clone(&self.generation),
            // The shadow claims no key.
            subject: Subject { fingerprint: None, ..*question.subject },
            request: *question.request,
            asked: C::asked(Asked { measured: measured.clone(), context: context(), verdict: verdict.clone() }),
        });
    }
}

impl LiveTallies {
    pub(super) fn shadow(&self, hook: Hook, change: impl FnOnce(&mut ShadowTally)) {
        change(&mut self.shadow[hook].lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn sum(&self) -> Tallies {
        let sum = |stripes: &Stripes<HookTally>| {
            let mut sum = HookTally::default();
            stripes.iter().for_each(|tally| sum.add(&tally));
            sum
        };
        Tallies {
            active: self.active.as_ref().map(sum),
            canary: self.canary.as_ref().map(sum),
            shadow: self.shadow.as_ref().map(|tally| tally.lock().unwrap_or_else(PoisonError::into_inner).clone()),
        }
    }
}

impl Default for LiveTallies {
    fn default() -> Self {
        let stripes = |_| Stripes::new((0..STRIPES).map(|_| HookTally::default()));
        Self {
            active: PerHook::from_fn(stripes),
            canary: PerHook::from_fn(stripes),
            shadow: PerHook::from_fn(|_| Mutex::default()),
        }
    }
}
