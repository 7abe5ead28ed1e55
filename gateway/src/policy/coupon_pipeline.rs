//! The pipelines of coupons. Each sets some hooks; the others follow the default pipeline.

use std::sync::Arc;

use super::author::Author;
use super::component::ComponentBytes;
use super::coupon_records::{self, RecordedHooks};
use super::decider::Decider;
use super::error::{ChangeError, NotLoaded};
use super::generation::LoadedHooks;
use super::history::HistoryEntry;
use super::loader::Trial;
use super::owned_context::OwnedContext;
use super::pinned::{OwnHooks, PinnedHook};
use super::pipelines::{ATTEMPTS_MAX, CouponChange, Pipelines};
use super::registry::read_component;
use super::rollback::RollbackStack;
use super::scope::Scope;
use super::spec::PipelinePatch;
use super::state::State;
use super::wire::{Load, Shard, Usage};
use crate::counters::PerHook;
use crate::coupon::{CouponId, GenerationNo};
use crate::ledger::{GenerationRow, LedgerError};
use crate::telemetry::CouponPipelinePublished;

/// The components that are at hand. Others are read from the ledger, unless their policy is loaded already.
pub(super) type Components = PerHook<Option<ComponentBytes>>;

/// What became of the newest record of a coupon.
struct Loaded {
    /// What decides from now on; `None` changes nothing.
    hooks: Option<(GenerationNo, LoadedHooks)>,
    not_loaded: Option<NotLoaded>,
}

impl Pipelines {
    /// The stored changes of a coupon's own pipeline, newest first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn history_of(&self, coupon: CouponId) -> Result<Vec<HistoryEntry>, LedgerError> {
        let recorded = coupon_records::read(&*self.ledger, coupon).await?;
        Ok(recorded.iter().map(RecordedHooks::history_entry).collect())
    }

    /// Changes the newest pipeline of a coupon, whichever process published it.
    pub(super) async fn change_coupon(
        &self,
        state: &mut State,
        coupon: CouponId,
        change: &CouponChange,
        author: &Author,
    ) -> Result<GenerationNo, ChangeError> {
        let mut more_attempts = 1..ATTEMPTS_MAX;
        loop {
            let (hooks, components) = match change {
                CouponChange::Patch(patch) => self.patch_own(state, coupon, patch).await?,
                CouponChange::Pin(hooks) => (self.deciding(coupon).own_hooks_with(hooks), Components::default()),
                CouponChange::Clear => (OwnHooks::default(), Components::default()),
                CouponChange::RollBack => (self.earlier_hooks(coupon).await?, Components::default()),
            };
            match self.publish_own(coupon, hooks, &components, author).await {
                Err(ChangeError::Conflict) if more_attempts.next().is_some() => self.catch_up(state).await?,
                published => return published,
            }
        }
    }

    async fn patch_own(
        &self,
        state: &mut State,
        coupon: CouponId,
        patch: &PipelinePatch,
    ) -> Result<(OwnHooks, Components), ChangeError> {
        let deciding = self.deciding(coupon);
        let pipeline = deciding.pipeline().patched(patch);
        pipeline.check().map_err(ChangeError::Pipeline)?;
        let components = self.resolve_changed(&mut state.folder, patch).await?;
        let mut hooks = deciding.own_hooks();
        for (hook, _) in patch.iter().filter(|(_, patch)| patch.is_some()) {
            let digest = components[hook].as_ref().map_or(deciding.policy(hook).digest, |component| component.digest);
            hooks[hook] = Some(PinnedHook { digest, spec: pipeline.hook(hook).clone() });
        }
        Ok((hooks, components))
    }

    async fn earlier_hooks(&self, coupon: CouponId) -> Result<OwnHooks, ChangeError> {
        let oldest_first = coupon_records::read(&*self.ledger, coupon).await?.into_iter().rev();
        let mut stack = RollbackStack::replay(oldest_first.map(|recorded| (recorded.author.source, recorded.hooks)));
        stack.pop().ok_or(ChangeError::NoEarlierPipeline)
    }

    async fn publish_own(
        &self,
        coupon: CouponId,
        hooks: OwnHooks,
        components: &Components,
        author: &Author,
    ) -> Result<GenerationNo, ChangeError> {
        let deciding = self.deciding(coupon);
        if self.not_loaded(Scope::Coupon(coupon)).is_none() && deciding.own_hooks() == hooks {
            // Against the newest generation, it might be a change.
            return if self.is_behind().await? { Err(ChangeError::Conflict) } else { Ok(deciding.number()) };
        }
        let before = deciding.own_hooks();
        self.check_held(Scope::Coupon(coupon), PerHook::from_fn(|hook| before[hook] != hooks[hook]), author.source)?;
        let number = self.newest() + 1;
        let loaded = self.load_own(&hooks, components, Trial::Run).await?;
        coupon_records::publish(&*self.ledger, number, coupon, &hooks, components, author).await?;
        self.note_newest(number);
        self.update(|generations| generations.set_coupon(coupon, number, loaded));
        self.loader.telemetry.emit(CouponPipelinePublished);
        let Author { source, who, rollout } = author;
        tracing::info!(generation = number, %coupon, ?source, who, rollout, "pipeline of a coupon changed");
        Ok(number)
    }

    /// Loads what other processes recorded of coupons. A pipeline that cannot be loaded holds up none of the others.
    pub(super) async fn load_coupons(&self, rows: &[GenerationRow]) {
        let mut loaded = Vec::new();
        for row in rows.iter().filter(|row| !row.has_ended()) {
            if let Some(coupon) = row.coupon.filter(|coupon| !(self.is_over)(*coupon)) {
                loaded.push((coupon, self.load_row(coupon, row).await));
            }
        }
        if loaded.is_empty() {
            return;
        }
        tracing::info!(coupons = loaded.len(), "pipelines of coupons read");
        self.update(|generations| {
            for (coupon, Loaded { hooks, not_loaded }) in loaded {
                if let Some((number, hooks)) = hooks {
                    generations.set_coupon(coupon, number, hooks);
                }
                if let Some(not_loaded) = not_loaded {
                    generations.set_not_loaded(Scope::Coupon(coupon), not_loaded);
                }
            }
        });
    }

    async fn load_row(&self, coupon: CouponId, row: &GenerationRow) -> Loaded {
        let loaded = match coupon_records::parse(row) {
            Some(recorded) => self.load_own(&recorded.hooks, &Components::default(), Trial::Skip).await,
            None => Err(ChangeError::IncompleteRecord),
        };
        let generation = row.number;
        match loaded {
            Ok(hooks) => {
                tracing::debug!(generation, %coupon, "pipeline of a coupon loaded");
                Loaded { hooks: Some((generation, hooks)), not_loaded: None }
            }
            Err(error) => {
                let not_loaded = NotLoaded { generation, error: error.to_string() };
                if self.not_loaded(Scope::Coupon(coupon)).is_none_or(|known| known != not_loaded) {
                    tracing::error!(generation, %coupon, %error, "pipeline of a coupon not loaded; the one before it decides");
                }
                Loaded { hooks: self.load_earlier(coupon, generation).await, not_loaded: Some(not_loaded) }
            }
        }
    }

    /// The newest pipeline of a coupon before this one that loads, unless one is active, as on a start.
    async fn load_earlier(&self, coupon: CouponId, before: GenerationNo) -> Option<(GenerationNo, LoadedHooks)> {
        if self.has_pipeline(coupon) {
            return None;
        }
        let recorded = coupon_records::read(&*self.ledger, coupon).await.ok()?;
        for earlier in recorded.iter().filter(|earlier| earlier.number < before) {
            if let Ok(hooks) = self.load_own(&earlier.hooks, &Components::default(), Trial::Skip).await {
                return Some((earlier.number, hooks));
            }
        }
        None
    }

    pub(super) async fn load_own(
        &self,
        hooks: &OwnHooks,
        components: &Components,
        trial: Trial,
    ) -> Result<LoadedHooks, ChangeError> {
        Ok(LoadedHooks {
            shaper: self.load_own_hook::<Load>(hooks, components, trial).await?,
            limiter: self.load_own_hook::<Usage>(hooks, components, trial).await?,
            picker: self.load_own_hook::<Vec<Shard>>(hooks, components, trial).await?,
        })
    }

    async fn load_own_hook<C: OwnedContext>(
        &self,
        hooks: &OwnHooks,
        components: &Components,
        trial: Trial,
    ) -> Result<Option<Arc<Decider<C::Lent, C::Verdict>>>, ChangeError> {
        let Some(pinned) = hooks[C::HOOK].clone() else { return Ok(None) };
        let digest = pinned.digest;
        let component = async {
            match &components[C::HOOK] {
                Some(component) => Ok(component.clone()),
                None => read_component(&*self.ledger, digest)
                    .await?
                    .ok_or_else(|| ChangeError::Damaged { digest: digest.to_string() }),
            }
        };
        self.loader.decider::<C>(pinned, component, trial).await.map(Some)
    }
}
