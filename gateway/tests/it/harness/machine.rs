//! Which tests may run at the same time: four that share the machine, or one that has it to itself.
//!
//! A test takes its place when it starts its first process and keeps it until its thread ends. The test harness
//! of Rust gives every test a thread, on which `#[tokio::test]` also polls the test's body, so the place is a
//! thread-local value: a test with several processes takes one place, and needs no guard.
//!
//! Exclusive tests start after the shared ones. With a thread for every test (`--test-threads 128`) no shared test
//! waits behind an exclusive one.

use std::cell::RefCell;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Shared tests mostly wait for time to pass, so there may be more of them than processors.
const SHARED_MAX: usize = 4;

static PLACES: Mutex<Places> = Mutex::new(Places { shared_waiting: 0, shared_running: 0, exclusive_runs: false });
static CHANGED: Condvar = Condvar::new();

thread_local! {
    static MINE: RefCell<Option<Place>> = const { RefCell::new(None) };
}

struct Places {
    shared_waiting: usize,
    shared_running: usize,
    exclusive_runs: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Shared,
    Exclusive,
}

/// Free again when it is dropped.
struct Place(Kind);

/// The first line of a test that loads the machine, measures something, or makes a server fail that all tests use:
/// no other test runs at the same time.
pub(crate) fn exclusive() {
    MINE.with_borrow_mut(|mine| {
        if mine.as_ref().is_none_or(|place| place.0 == Kind::Shared) {
            // A place is left over from the test before when all tests run on one thread. It must be free before
            // this thread waits for all of them.
            *mine = None;
            *mine = Some(Place::exclusive());
        }
    });
}

/// Waits for a place among the tests that share the machine, unless this test has one. The fixtures call it.
pub(super) fn share() {
    let thread = std::thread::current();
    let is_worker = thread.name().is_some_and(|name| name.starts_with("tokio-"));
    assert!(!is_worker, "a test starts its processes in its own body: a spawned task cannot see the test's place");
    MINE.with_borrow_mut(|mine| {
        mine.get_or_insert_with(Place::shared);
    });
}

impl Place {
    fn exclusive() -> Self {
        let is_taken = |places: &mut Places| places.exclusive_runs || places.shared_running + places.shared_waiting > 0;
        let mut places = wait_while(lock(), is_taken);
        places.exclusive_runs = true;
        Self(Kind::Exclusive)
    }

    fn shared() -> Self {
        let mut places = lock();
        places.shared_waiting += 1;
        let is_taken = |places: &mut Places| places.exclusive_runs || places.shared_running == SHARED_MAX;
        let mut places = wait_while(places, is_taken);
        places.shared_waiting -= 1;
        places.shared_running += 1;
        Self(Kind::Shared)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = lock();
        match self.0 {
            Kind::Shared => places.shared_running -= 1,
            Kind::Exclusive => places.exclusive_runs = false,
        }
        drop(places);
        CHANGED.notify_all();
    }
}

fn lock() -> MutexGuard<'static, Places> {
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait_while(
    places: MutexGuard<'static, Places>,
    is_taken: impl FnMut(&mut Places) -> bool,
) -> MutexGuard<'static, Places> {
    CHANGED.wait_while(places, is_taken).unwrap_or_else(PoisonError::into_inner)
}
