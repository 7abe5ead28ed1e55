//! The active pipelines, and the service that changes them. A change resolves the components, loads them, tries them,
//! records the generation and activates it. If a step fails, nothing has changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use super::applied_file::AppliedFile;
use super::author::Author;
use super::component::ComponentBytes;
use super::error::{ChangeError, NotLoaded};
use super::folder_state::FolderState;
use super::generation::Generation;
use super::generations::Generations;
use super::held::HeldHooks;
use super::history::{History, HistoryEntry};
use super::loader::Loader;
use super::pinned::OwnHooks;
use super::registry::{ListedPolicy, Registry, UploadedPolicy};
use super::scope::Scope;
use super::spec::PipelinePatch;
use super::state::State;
use super::tasks::run_detached;
use crate::counters::PerHook;
use crate::coupon::{CouponId, GenerationNo};
use crate::ledger::Ledger;
use crate::telemetry::{CouponPipelinesNotLoaded, GenerationPublished, GenerationRefused};

/// A change is made on top of the newest generation. Another process may publish one at the same moment, again and again.
pub(super) const ATTEMPTS_MAX: usize = 10;

/// Whether the campaign of a coupon is over: its pipeline decides nothing any more.
pub type IsOver = Arc<dyn Fn(CouponId) -> bool + Send + Sync>;

/// The active generations, and the service that changes them.
pub struct Pipelines {
    pub(super) loader: Loader,
    pub(super) registry: Registry,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) applied_file: AppliedFile,
    pub(super) is_over: IsOver,
    /// Replaced only by the holder of `state`.
    active: ArcSwap<Generations>,
    /// The newest generation in the ledger, as far as this process knows.
    newest: AtomicU64,
    /// Locked by a change: changes are applied one after the other.
    pub(super) state: Mutex<State>,
    pub(super) history: History,
    /// By the rollouts that are running.
    pub(super) held: ArcSwap<Vec<HeldHooks>>,
}

/// A change of a coupon's own pipeline.
pub(super) enum CouponChange {
    /// Set the hooks that the patch gives.
    Patch(Box<PipelinePatch>),
    /// Set these hooks, to versions that are in the ledger.
    Pin(Box<OwnHooks>),
    /// Let all hooks follow the default pipeline.
    Clear,
    /// Return to the hooks that were set before.
    RollBack,
}

impl Pipelines {
    pub(super) fn new(
        loader: Loader,
        registry: Registry,
        applied_file: AppliedFile,
        is_over: IsOver,
        first: Generation,
        state: State,
        history: History,
    ) -> Self {
        loader.telemetry.emit(GenerationPublished(first.number()));
        Self {
            loader,
            ledger: Arc::clone(&registry.ledger),
            registry,
            applied_file,
            is_over,
            active: ArcSwap::from_pointee(Generations::new(first)),
            newest: AtomicU64::new(0),
            state: Mutex::new(state),
            history,
            held: ArcSwap::default(),
        }
    }

    /// The generation of the default pipeline.
    #[must_use]
    pub fn current(&self) -> Arc<Generation> {
        self.generation_of(Scope::Default)
    }

    /// The generation that decides about requests for a coupon.
    #[must_use]
    pub fn deciding(&self, coupon: CouponId) -> Arc<Generation> {
        self.generation_of(Scope::Coupon(coupon))
    }

    /// The generation that decides about requests of a scope.
    #[must_use]
    pub fn generation_of(&self, scope: Scope) -> Arc<Generation> {
        Arc::clone(self.active.load().of(scope))
    }

    /// The newest generation of a pipeline in the ledger and why it cannot be loaded, if the active one is older.
    #[must_use]
    pub fn not_loaded(&self, scope: Scope) -> Option<NotLoaded> {
        self.active.load().not_loaded().get(&scope).cloned()
    }

    /// As [`not_loaded`](Self::not_loaded), of all pipelines.
    #[must_use]
    pub fn all_not_loaded(&self) -> BTreeMap<Scope, NotLoaded> {
        self.active.load().not_loaded().clone()
    }

    /// The newest changes of the default pipeline, newest first, and those that this process refused.
    #[must_use]
    pub fn history(&self) -> Vec<HistoryEntry> {
        self.history.entries()
    }

    /// The versions of all policies, newest first, and the files of this machine's folder that are no policies.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn list(&self) -> Result<Vec<ListedPolicy>, ChangeError> {
        self.registry.list().await
    }

    /// Registers a component as the newest version of a policy, for all gateways on the ledger. It decides only once a
    /// pipeline names it.
    ///
    /// # Errors
    /// Why it is no policy, or not one that this gateway trusts.
    pub async fn upload(
        &self,
        name: &str,
        bytes: Vec<u8>,
        signature: Option<&str>,
        who: &str,
    ) -> Result<UploadedPolicy, ChangeError> {
        self.registry.upload(name, bytes, signature, who).await
    }

    /// Changes the hooks that the patch gives. A hook whose policy it names gets the newest version of that policy. All
    /// others keep their components, even if there are newer ones. A hook that a coupon sets for the first time is
    /// patched as it is in the default pipeline. If nothing differs from the active pipeline, the answer is its number.
    ///
    /// # Errors
    /// [`ChangeError`]; then nothing has changed.
    pub async fn change(
        self: &Arc<Self>,
        scope: Scope,
        patch: PipelinePatch,
        who: &str,
    ) -> Result<GenerationNo, ChangeError> {
        // Compiling takes long and changes nothing. So it ends when the client disconnects, and holds up no other change.
        let compiled = self.compile_changed(scope, &patch).await;
        let (this, author) = (Arc::clone(self), Author::admin(who));
        run_detached(async move {
            let mut state = this.state.lock().await;
            let before = this.generation_of(scope).number();
            let published = match (compiled, scope) {
                (Err(error), _) => Err(error),
                (Ok(()), Scope::Default) => {
                    let file = state.newest_file();
                    this.patch(&mut state, &patch, file, &author).await
                }
                (Ok(()), Scope::Coupon(coupon)) => {
                    this.change_coupon(&mut state, coupon, &CouponChange::Patch(Box::new(patch)), &author).await
                }
            };
            if !matches!(published, Ok(number) if number == before) {
                this.record_history(scope, &author, &published);
            }
            published
        })
        .await
    }

    /// Lets all hooks of a coupon follow the default pipeline. If they do, the answer is the number of the active one.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn clear(self: &Arc<Self>, coupon: CouponId, who: &str) -> Result<GenerationNo, ChangeError> {
        let (this, author) = (Arc::clone(self), Author::admin(who));
        run_detached(async move {
            let mut state = this.state.lock().await;
            let published = this.change_coupon(&mut state, coupon, &CouponChange::Clear, &author).await;
            this.record_history(Scope::Coupon(coupon), &author, &published);
            published
        })
        .await
    }

    /// Returns to the pipeline before the active one, with the components it had. Another rollback goes further back.
    ///
    /// # Errors
    /// [`ChangeError::NoEarlierPipeline`] when none is recorded. The first pipeline of a coupon has none before it.
    pub async fn rollback(self: &Arc<Self>, scope: Scope, who: &str) -> Result<GenerationNo, ChangeError> {
        let (this, author) = (Arc::clone(self), Author::rollback(who));
        run_detached(async move {
            let mut state = this.state.lock().await;
            let published = match scope {
                Scope::Default => this.publish_earlier(&mut state, &author).await,
                Scope::Coupon(coupon) => this.change_coupon(&mut state, coupon, &CouponChange::RollBack, &author).await,
            };
            this.record_history(scope, &author, &published);
            published
        })
        .await
    }

    /// Compiles what the change will load.
    pub(super) async fn compile_changed(&self, scope: Scope, patch: &PipelinePatch) -> Result<(), ChangeError> {
        let pipeline = self.generation_of(scope).pipeline().patched(patch);
        pipeline.check().map_err(ChangeError::Pipeline)?;
        let components = self.resolve_changed(&mut self.state.lock().await.folder, patch).await?;
        for (hook, component) in components.iter() {
            if let Some(component) = component {
                self.loader.host.compile(component).await.map_err(ChangeError::load(hook))?;
            }
        }
        Ok(())
    }

    /// The newest version of each policy that the patch names.
    pub(super) async fn resolve_changed(
        &self,
        folder: &mut FolderState,
        patch: &PipelinePatch,
    ) -> Result<PerHook<Option<ComponentBytes>>, ChangeError> {
        let mut components = PerHook::default();
        for (hook, patch) in patch.iter() {
            if let Some(policy) = patch.as_ref().and_then(|patch| patch.policy.as_ref()) {
                components[hook] = Some(self.registry.resolve(folder, policy).await?);
            }
        }
        Ok(components)
    }

    /// The newest generation in the ledger, as far as this process knows.
    pub(super) fn newest(&self) -> GenerationNo {
        self.newest.load(Ordering::Relaxed)
    }

    /// The ledger has this generation, and this process knows all before it.
    pub(super) fn note_newest(&self, number: GenerationNo) {
        self.newest.fetch_max(number, Ordering::Relaxed);
    }

    /// Replaces what decides. Only the holder of the state calls it.
    pub(super) fn update(&self, change: impl FnOnce(&mut Generations)) {
        let mut next = Generations::clone(&self.active.load());
        change(&mut next);
        self.loader.telemetry.emit(CouponPipelinesNotLoaded(next.coupons_not_loaded().count()));
        let old = self.active.swap(Arc::new(next));
        // Unmapping instances takes a while; requests do not wait for it.
        tokio::task::spawn_blocking(move || drop(old));
    }

    pub(super) fn has_pipeline(&self, coupon: CouponId) -> bool {
        self.active.load().has(coupon)
    }

    /// The coupons whose newest pipeline cannot be loaded.
    pub(super) fn coupons_not_loaded(&self) -> Vec<CouponId> {
        self.active.load().coupons_not_loaded().collect()
    }

    /// The coupons with a pipeline whose campaigns are over.
    pub(super) fn coupons_over(&self) -> Vec<CouponId> {
        self.active.load().coupons().filter(|coupon| (self.is_over)(*coupon)).collect()
    }

    pub(super) fn record_history(&self, scope: Scope, author: &Author, published: &Result<GenerationNo, ChangeError>) {
        if let Err(error) = published {
            self.loader.telemetry.emit(GenerationRefused);
            let Author { source, who, rollout } = author;
            tracing::error!(pipeline = %scope, ?source, who, rollout, %error, "pipeline change refused");
        }
        if scope == Scope::Default {
            self.history.record(author, published);
        }
    }
}
