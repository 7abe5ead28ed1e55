//! All that decides at one moment: one immutable value behind one atomic pointer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::error::NotLoaded;
use super::generation::{Generation, LoadedHooks};
use super::scope::Scope;
use crate::coupon::{CouponId, GenerationNo};

/// The generation of the default pipeline, and those of the coupons that have pipelines of their own.
#[derive(Clone)]
pub(super) struct Generations {
    default: Arc<Generation>,
    coupons: HashMap<CouponId, Arc<Generation>>,
    /// The newest generations in the ledger that cannot be loaded. What decided before them still decides.
    not_loaded: BTreeMap<Scope, NotLoaded>,
}

impl Generations {
    pub(super) fn new(default: Generation) -> Self {
        Self { default: Arc::new(default), coupons: HashMap::new(), not_loaded: BTreeMap::new() }
    }

    pub(super) fn of(&self, scope: Scope) -> &Arc<Generation> {
        match scope {
            Scope::Default => &self.default,
            Scope::Coupon(coupon) => self.coupons.get(&coupon).unwrap_or(&self.default),
        }
    }

    /// Whether a pipeline of the coupon was loaded.
    pub(super) fn has(&self, coupon: CouponId) -> bool {
        self.coupons.contains_key(&coupon)
    }

    pub(super) fn not_loaded(&self) -> &BTreeMap<Scope, NotLoaded> {
        &self.not_loaded
    }

    /// The coupons whose newest pipeline cannot be loaded.
    pub(super) fn coupons_not_loaded(&self) -> impl Iterator<Item = CouponId> {
        self.not_loaded.keys().filter_map(|scope| scope.coupon())
    }

    /// The hooks that coupons do not set follow the new pipeline.
    pub(super) fn set_default(&mut self, default: Generation) {
        self.default = Arc::new(default);
        for coupon in self.coupons.values_mut() {
            *coupon = Arc::new(coupon.over(&self.default));
        }
        self.not_loaded.remove(&Scope::Default);
    }

    /// A coupon that sets no hook any more stays: its number never falls.
    pub(super) fn set_coupon(&mut self, coupon: CouponId, recorded: GenerationNo, hooks: LoadedHooks) {
        let generation = Generation::of_coupon(recorded, hooks, &self.default);
        self.coupons.insert(coupon, Arc::new(generation));
        self.not_loaded.remove(&Scope::Coupon(coupon));
    }

    pub(super) fn set_not_loaded(&mut self, scope: Scope, not_loaded: NotLoaded) {
        self.not_loaded.insert(scope, not_loaded);
    }

    /// The coupons that something is known of.
    pub(super) fn coupons(&self) -> impl Iterator<Item = CouponId> {
        self.coupons.keys().copied().chain(self.coupons_not_loaded())
    }

    /// Forgets these coupons.
    pub(super) fn forget(&mut self, coupons: &[CouponId]) {
        for coupon in coupons {
            self.coupons.remove(coupon);
            self.not_loaded.remove(&Scope::Coupon(*coupon));
        }
    }
}
