//! Light tests first, a few beside each other; then the heavy ones, each alone.
//!
//! With a thread for every test (`RUST_TEST_THREADS`) no light one waits behind a heavy one.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Light tests mostly wait, so more of them than processors get on well.
const LIGHT_MAX: usize = 4;

static TURNS: Mutex<Turns> = Mutex::new(Turns { light_waiting: 0, light_running: 0, heavy_runs: false });
static CHANGED: Condvar = Condvar::new();

struct Turns {
    light_waiting: usize,
    light_running: usize,
    heavy_runs: bool,
}

/// Until it is dropped, the test runs.
pub(crate) enum Turn {
    Light,
    Heavy,
}

/// For a test that loads the machine, measures something, or fails a server of all: no other runs while it does.
pub(crate) fn alone() -> Turn {
    let mut turns = wait_while(lock(), |turns| turns.heavy_runs || turns.light_running + turns.light_waiting > 0);
    turns.heavy_runs = true;
    Turn::Heavy
}

/// For every other test that starts a gateway.
pub(crate) fn together() -> Turn {
    let mut turns = lock();
    turns.light_waiting += 1;
    let mut turns = wait_while(turns, |turns| turns.heavy_runs || turns.light_running == LIGHT_MAX);
    turns.light_waiting -= 1;
    turns.light_running += 1;
    Turn::Light
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = lock();
        match self {
            Self::Light => turns.light_running -= 1,
            Self::Heavy => turns.heavy_runs = false,
        }
        drop(turns);
        CHANGED.notify_all();
    }
}

fn lock() -> MutexGuard<'static, Turns> {
    TURNS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait_while(turns: MutexGuard<'static, Turns>, not_yet: fn(&Turns) -> bool) -> MutexGuard<'static, Turns> {
    CHANGED.wait_while(turns, |turns| not_yet(turns)).unwrap_or_else(PoisonError::into_inner)
}
