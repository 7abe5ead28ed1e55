//! Hooks that are tried beside the active ones, before they replace them.

use std::sync::Arc;

use super::author::{Author, Source};
use super::coupon_pipeline::Components;
use super::engine::Metering;
use super::error::ChangeError;
use super::generation::Generation;
use super::held::HeldHooks;
use super::loader::Trial;
use super::offline::MeteredPolicy;
use super::owned_context::OwnedContext;
use super::pinned::{OwnHooks, PinnedHook};
use super::pipelines::{ATTEMPTS_MAX, CouponChange, Pipelines};
use super::registry::read_component;
use super::scope::Scope;
use super::spec::PipelinePatch;
use super::state::{Replacement, State};
use super::tasks::run_detached;
use crate::counters::{Hook, PerHook};
use crate::coupon::GenerationNo;

/// A change that was loaded and tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    pub candidate: OwnHooks,
    /// The same hooks as they are.
    pub replaced: OwnHooks,
}

impl Pipelines {
    /// Makes all checks of a change, and changes nothing: resolves the policies, compiles and configures them, gives them
    /// trial requests, and compares their fuel with their budgets.
    ///
    /// # Errors
    /// As for [`change`](Self::change), and when nothing differs from the active pipeline.
    pub async fn propose(&self, scope: Scope, patch: &PipelinePatch) -> Result<Proposal, ChangeError> {
        self.compile_changed(scope, patch).await?;
        let active = self.generation_of(scope);
        let pipeline = active.pipeline().patched(patch);
        pipeline.check().map_err(ChangeError::Pipeline)?;
        let components: Components = self.resolve_changed(&mut self.state.lock().await.folder, patch).await?;
        let candidate = PerHook::from_fn(|hook| {
            let digest = components[hook].as_ref().map_or(active.policy(hook).digest, |component| component.digest);
            let pinned = PinnedHook { digest, spec: pipeline.hook(hook).clone() };
            (pinned != active.pinned(hook)).then_some(pinned)
        });
        if candidate == OwnHooks::default() {
            return Err(ChangeError::Pipeline("nothing differs from the active pipeline".to_owned()));
        }
        self.load_own(&candidate, &components, Trial::Run).await?;
        let replaced = PerHook::from_fn(|hook| candidate[hook].as_ref().map(|_| active.pinned(hook)));
        Ok(Proposal { candidate, replaced })
    }

    /// The active pipeline of a scope with the hooks of a candidate. It has the active generation's number.
    ///
    /// # Errors
    /// Why it cannot be loaded.
    pub async fn load_candidate(&self, scope: Scope, hooks: &OwnHooks) -> Result<Generation, ChangeError> {
        let loaded = self.load_own(hooks, &Components::default(), Trial::Skip).await?;
        Ok(self.generation_of(scope).with(loaded))
    }

    /// The first of these hooks that is not active as it is here.
    #[must_use]
    pub fn first_changed(&self, scope: Scope, hooks: &OwnHooks) -> Option<Hook> {
        let active = self.generation_of(scope);
        let differs = |hook: &Hook| hooks[*hook].as_ref().is_some_and(|pinned| *pinned != active.pinned(*hook));
        Hook::ALL.into_iter().find(differs)
    }

    /// A candidate's policy on the engine that meters fuel, for a replay.
    ///
    /// # Errors
    /// Why it cannot be loaded.
    pub async fn load_metered<C: OwnedContext>(&self, pinned: &PinnedHook) -> Result<MeteredPolicy<C>, ChangeError> {
        let damaged = || ChangeError::Damaged { digest: pinned.digest.to_string() };
        let component = read_component(&*self.ledger, pinned.digest).await?.ok_or_else(damaged)?;
        let compiled = self.loader.host.compile_for(Metering::Fuel, &component).await;
        let compiled = compiled.map_err(ChangeError::load(C::HOOK))?;
        MeteredPolicy::start(compiled, &pinned.spec.config).map_err(ChangeError::load(C::HOOK))
    }

    /// Makes the candidate of a rollout part of the pipeline. If it already is, the answer is the active generation.
    ///
    /// # Errors
    /// [`ChangeError`]; then nothing has changed.
    pub async fn promote(
        self: &Arc<Self>,
        scope: Scope,
        hooks: OwnHooks,
        rollout: u64,
        started_by: &str,
    ) -> Result<GenerationNo, ChangeError> {
        let (this, author) = (Arc::clone(self), Author::rollout(rollout, started_by));
        run_detached(async move {
            let mut state = this.state.lock().await;
            let before = this.generation_of(scope).number();
            let published = match scope {
                Scope::Default => this.promote_default(&mut state, &hooks, &author).await,
                Scope::Coupon(coupon) => {
                    this.change_coupon(&mut state, coupon, &CouponChange::Pin(Box::new(hooks)), &author).await
                }
            };
            if !matches!(published, Ok(number) if number == before) {
                this.record_history(scope, &author, &published);
            }
            published
        })
        .await
    }

    async fn promote_default(
        &self,
        state: &mut State,
        hooks: &OwnHooks,
        author: &Author,
    ) -> Result<GenerationNo, ChangeError> {
        let mut more_attempts = 1..ATTEMPTS_MAX;
        loop {
            match self.replace_pinned(state, hooks, author).await {
                Err(ChangeError::Conflict) if more_attempts.next().is_some() => self.catch_up(state).await?,
                published => return published,
            }
        }
    }

    async fn replace_pinned(
        &self,
        state: &mut State,
        hooks: &OwnHooks,
        author: &Author,
    ) -> Result<GenerationNo, ChangeError> {
        let patch = hooks.as_ref().map(|pinned| pinned.as_ref().map(|pinned| pinned.spec.clone().into()));
        let pipeline = state.active.pipeline.patched(&patch);
        let mut components = Components::default();
        for (hook, pinned) in hooks.iter() {
            let Some(pinned) = pinned else { continue };
            let damaged = || ChangeError::Damaged { digest: pinned.digest.to_string() };
            components[hook] = Some(read_component(&*self.ledger, pinned.digest).await?.ok_or_else(damaged)?);
        }
        let observed_file = state.newest_file();
        self.replace(state, Replacement { pipeline, components, observed_file, author: author.clone() }).await
    }

    /// From now on, these hooks change only through their rollouts.
    pub fn hold(&self, held: Vec<HeldHooks>) {
        self.held.store(Arc::new(held));
    }

    pub(super) fn check_held(&self, scope: Scope, changed: PerHook<bool>, by: Source) -> Result<(), ChangeError> {
        if by == Source::Rollout {
            return Ok(());
        }
        let held = self.held.load();
        for held in held.iter().filter(|held| held.scope == scope) {
            if let Some(hook) = Hook::ALL.into_iter().find(|hook| held.hooks[*hook] && changed[*hook]) {
                return Err(ChangeError::Held { hook, rollout: held.rollout });
            }
        }
        Ok(())
    }
}
