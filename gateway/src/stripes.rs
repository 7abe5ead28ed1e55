//! A copy of a value for each thread, so that threads that use it at the same time do not wait for each other.
//!
//! Threads are numbered in the order in which they first ask. With more threads than copies, some threads share one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static THREAD_NO: usize = THREADS.fetch_add(1, Ordering::Relaxed);
}

#[derive(Debug)]
pub(crate) struct Stripes<T>(Box<[Stripe<T>]>);

/// Alone on its cache line, and on the next one, which processors load with it.
#[derive(Debug)]
#[repr(align(128))]
struct Stripe<T>(Mutex<T>);

impl<T> Stripes<T> {
    /// At least one copy.
    pub(crate) fn new(copies: impl IntoIterator<Item = T>) -> Self {
        Self(copies.into_iter().map(|copy| Stripe(Mutex::new(copy))).collect())
    }

    /// The numbers of all copies, beginning with this thread's.
    pub(crate) fn own_first(&self) -> impl Iterator<Item = usize> {
        let own = self.own_no();
        (own..self.0.len()).chain(0..own)
    }

    pub(crate) fn get(&self, no: usize) -> &Mutex<T> {
        &self.0[no].0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = MutexGuard<'_, T>> {
        self.0.iter().map(|stripe| stripe.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// This thread's copy.
    pub(crate) fn own(&self) -> MutexGuard<'_, T> {
        self.0[self.own_no()].0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own_no(&self) -> usize {
        THREAD_NO.with(|thread_no| thread_no % self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_keeps_its_copy_and_the_next_new_thread_has_another() {
        let stripes = Stripes::new([(); 64]);
        let own = |stripes: &Stripes<()>| stripes.own_first().next();
        assert_eq!(own(&stripes), own(&stripes));
        let others = std::thread::scope(|scope| {
            let two = [(); 2].map(|()| scope.spawn(|| own(&stripes)));
            two.map(|thread| thread.join().expect("does not panic"))
        });
        assert_ne!(others[0], others[1]);
    }

    #[test]
    fn every_copy_is_reached_from_every_thread() {
        let stripes = Stripes::new([(); 5]);
        let mut all: Vec<usize> = stripes.own_first().collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4]);
    }
}
