//! A slot for each instance of a policy. A thread looks into its own slot first, so threads that call at the same time
//! do not wait for each other, and an instance stays in the cache of one processor.

use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use crate::stripes::Stripes;

pub(super) struct Slots<T> {
    /// Locked while the item is in use, empty once it was removed.
    slots: Stripes<Option<T>>,
    /// Threads that wait for an item.
    waiting: AtomicUsize,
    /// Held by a waiting thread from its search until it sleeps.
    searching: Mutex<()>,
    returned: Condvar,
}

/// An item in use, taken out of its slot. The slot stays empty unless the item is returned.
pub(super) struct Taken<'a, T> {
    slots: &'a Slots<T>,
    no: usize,
    slot: MutexGuard<'a, Option<T>>,
    pub(super) item: T,
}

impl<T> Slots<T> {
    /// At least one item.
    pub(super) fn new(items: impl IntoIterator<Item = T>) -> Self {
        Self {
            slots: Stripes::new(items.into_iter().map(Some)),
            waiting: AtomicUsize::new(0),
            searching: Mutex::new(()),
            returned: Condvar::new(),
        }
    }

    /// The item of this thread's own slot if it is there, or else of any other slot.
    pub(super) fn take(&self) -> Option<Taken<'_, T>> {
        self.slots.own_first().find_map(|no| {
            let mut slot = match self.slots.get(no).try_lock() {
                Ok(slot) => slot,
                // The panic dropped the item.
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return None,
            };
            let item = slot.take()?;
            Some(Taken { slots: self, no, slot, item })
        })
    }

    /// Waits for an item.
    pub(super) fn wait(&self, timeout: Duration) -> Option<Taken<'_, T>> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // A thread that returns an item after the search below sees that this thread waits.
        fence(Ordering::SeqCst);
        let mut taken = None;
        let searching = self.searching.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.returned.wait_timeout_while(searching, timeout, |()| {
            taken = self.take();
            taken.is_none()
        }));
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        taken
    }

    /// Puts an item into an empty slot.
    pub(super) fn fill(&self, no: usize, item: T) {
        *self.slots.get(no).lock().unwrap_or_else(PoisonError::into_inner) = Some(item);
        self.wake();
    }

    /// Waking is a system call, so it is made only for a thread that waits.
    fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            // By then, the threads that have searched sleep.
            drop(self.searching.lock());
            self.returned.notify_one();
        }
    }
}

impl<T> Taken<'_, T> {
    /// Puts the item back into its slot.
    pub(super) fn put_back(self) {
        let Self { slots, mut slot, item, .. } = self;
        *slot = Some(item);
        drop(slot);
        slots.wake();
    }

    /// Leaves the slot empty, and returns its number.
    pub(super) fn remove(self) -> (usize, T) {
        (self.no, self.item)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_thread_finds_the_same_item_again() {
        let slots = Slots::new(0..4);
        let first = slots.take().expect("there are four");
        let (no, item) = (first.no, first.item);
        first.put_back();
        let again = slots.take().expect("it was returned");
        assert_eq!((again.no, again.item), (no, item));
    }

    #[test]
    fn a_thread_whose_own_slot_is_in_use_or_empty_takes_from_another() {
        let slots = Slots::new(0..3);
        let in_use = slots.take().expect("there are three");
        let (_, removed) = slots.take().expect("there are two more").remove();
        let last = slots.take().expect("there is one more");
        assert!(slots.take().is_none());
        let mut items = [in_use.item, removed, last.item];
        items.sort_unstable();
        assert_eq!(items, [0, 1, 2]);
    }

    #[test]
    fn an_emptied_slot_can_be_filled_again() {
        let slots = Slots::new([1]);
        let (no, item) = slots.take().expect("there is one").remove();
        assert!(slots.wait(Duration::from_millis(1)).is_none());
        slots.fill(no, item + 1);
        assert_eq!(slots.take().expect("it was filled").item, 2);
    }

    #[test]
    fn a_thread_that_waits_is_woken_when_an_item_is_returned_or_a_slot_is_filled() {
        let slots = Slots::new([1]);
        let taken = slots.take().expect("there is one");
        thread::scope(|scope| {
            let waiter = scope.spawn(|| slots.wait(PATIENCE).map(Taken::remove));
            while slots.waiting.load(Ordering::Relaxed) == 0 {
                thread::yield_now();
            }
            taken.put_back();
            let (no, item) = waiter.join().expect("does not panic").expect("is woken");
            let waiter = scope.spawn(|| slots.wait(PATIENCE).map(|taken| taken.item));
            while slots.waiting.load(Ordering::Relaxed) == 0 {
                thread::yield_now();
            }
            slots.fill(no, item + 1);
            assert_eq!(waiter.join().expect("does not panic"), Some(2));
        });
    }

    #[test]
    fn no_item_is_lost_or_used_twice_at_a_time_by_more_threads_than_there_are_items() {
        const THREADS: usize = 8;
        let slots = Slots::new([0_u32; 3]);
        let start = Barrier::new(THREADS);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..1_000 {
                        let mut taken = slots.take().or_else(|| slots.wait(PATIENCE)).expect("is returned in time");
                        taken.item += 1;
                        thread::yield_now();
                        taken.put_back();
                    }
                });
            }
        });
        let taken: Vec<_> = std::iter::from_fn(|| slots.take()).collect();
        assert_eq!(taken.iter().map(|taken| taken.item).sum::<u32>(), THREADS as u32 * 1_000);
        assert_eq!(taken.len(), 3);
    }
}
