//! The memory that all policy instances of a gateway may use together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug)]
pub(super) struct MemoryBudget {
    mib_max: usize,
    bytes_used: AtomicUsize,
}

/// Other instances use the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "all policy instances together need more than {mib_max} MiB of memory: use smaller policies, or raise \
     policies.memory_mib_max"
)]
pub(super) struct MemoryExhausted {
    mib_max: usize,
}

/// What one instance uses. It is free again when the instance is dropped.
#[derive(Debug)]
pub(super) struct MemoryShare {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl MemoryBudget {
    pub(super) fn new(mib_max: usize) -> Self {
        Self { mib_max, bytes_used: AtomicUsize::new(0) }
    }

    fn take(&self, bytes: usize) -> Result<(), MemoryExhausted> {
        let bytes_max = self.mib_max.saturating_mul(1024 * 1024);
        let add = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= bytes_max);
        let taken = self.bytes_used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        taken.map(|_| ()).map_err(|_| MemoryExhausted { mib_max: self.mib_max })
    }
}

impl MemoryShare {
    pub(super) fn of(budget: Arc<MemoryBudget>) -> Self {
        Self { budget, bytes: 0 }
    }

    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), MemoryExhausted> {
        self.budget.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.budget.bytes_used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_share_the_memory_and_a_dropped_one_leaves_its_share_to_the_others() {
        let budget = Arc::new(MemoryBudget::new(2));
        let [mut one, mut two] = [(); 2].map(|()| MemoryShare::of(Arc::clone(&budget)));
        let mib = 1024 * 1024;
        one.grow(mib).expect("there is room");
        two.grow(mib).expect("there is room");
        let exhausted = MemoryExhausted { mib_max: 2 };
        assert_eq!(two.grow(1), Err(exhausted));
        assert_eq!(one.grow(usize::MAX), Err(exhausted), "without overflow");
        drop(one);
        two.grow(mib).expect("there is room again");
    }
}
