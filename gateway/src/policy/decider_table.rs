//! The deciders in use. Pipelines that have the same version of a policy with the same configuration share one, with its
//! warm instances: memory grows with the versions and configurations in use, not with the number of pipelines.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::pinned::PinnedHook;
use crate::counters::Hook;

#[derive(Default)]
pub(super) struct DeciderTable(Mutex<Vec<Entry>>);

struct Entry {
    hook: Hook,
    pinned: PinnedHook,
    /// Of a type that the hook determines.
    decider: Weak<dyn Any + Send + Sync>,
}

impl DeciderTable {
    /// The decider of this hook, if a pipeline uses it.
    pub(super) fn find<D: Any + Send + Sync>(&self, hook: Hook, pinned: &PinnedHook) -> Option<Arc<D>> {
        let entries = self.entries();
        let mut same = entries.iter().filter(|entry| entry.hook == hook && entry.pinned == *pinned);
        same.find_map(|entry| entry.decider.upgrade())?.downcast().ok()
    }

    /// From now on, it is found as long as a pipeline uses it.
    pub(super) fn add<D: Any + Send + Sync>(&self, hook: Hook, pinned: PinnedHook, decider: &Arc<D>) {
        let decider: Arc<dyn Any + Send + Sync> = Arc::<D>::clone(decider);
        let mut entries = self.entries();
        entries.retain(|entry| entry.decider.strong_count() > 0);
        entries.push(Entry { hook, pinned, decider: Arc::downgrade(&decider) });
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::digest::Digest;
    use crate::policy::spec::HookSpec;

    const HOOK: Hook = Hook::ShardPicker;

    fn pinned(component: &[u8], policy: &str) -> PinnedHook {
        PinnedHook { digest: Digest::of(component), spec: HookSpec::of(HOOK, policy) }
    }

    #[test]
    fn the_same_version_with_the_same_configuration_in_the_same_hook_is_shared() {
        let table = DeciderTable::default();
        let random = pinned(b"random", "random");
        let decider = Arc::new(1_u32);
        table.add(HOOK, random.clone(), &decider);
        assert!(table.find(HOOK, &random).is_some_and(|found| Arc::ptr_eq(&found, &decider)));
        assert_eq!(table.find::<u32>(Hook::UserLimit, &random), None);
        assert_eq!(table.find::<u32>(HOOK, &pinned(b"other", "random")), None);
        let slower = HookSpec { deadline_ms: 50, ..random.spec.clone() };
        assert_eq!(table.find::<u32>(HOOK, &PinnedHook { spec: slower, ..random }), None);
    }

    #[test]
    fn a_decider_that_no_pipeline_uses_is_forgotten() {
        let table = DeciderTable::default();
        let (random, weighted) = (pinned(b"1", "random"), pinned(b"2", "weighted"));
        table.add(HOOK, random.clone(), &Arc::new(1_u32));
        assert_eq!(table.find::<u32>(HOOK, &random), None);
        let decider = Arc::new(2_u32);
        table.add(HOOK, weighted, &decider);
        assert_eq!(table.entries().len(), 1);
        table.add(HOOK, random.clone(), &decider);
        assert_eq!(table.find::<u32>(HOOK, &random), Some(decider));
    }
}
