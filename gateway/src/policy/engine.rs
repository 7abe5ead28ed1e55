//! The WebAssembly engine, and what bounds the memory and time of an instance.

use std::sync::LazyLock;
use std::time::Duration;

use wasmtime::{Config, Engine, ResourceLimiter, Store, Trap, UpdateDeadline};

/// Of all memories of an instance together. Our own policies use two pages.
pub(super) const MEMORY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Of all tables of an instance together.
pub(super) const TABLE_ELEMENTS_MAX: usize = 20_000;
/// A component instantiates its core module and a few adapters.
pub(super) const CORE_INSTANCES_MAX: usize = 16;
pub(super) const MEMORIES_MAX: usize = 4;
pub(super) const TABLES_MAX: usize = 8;
pub(super) const WASM_STACK_BYTES_MAX: usize = 256 * 1024;
/// What one call may hand to the host: far more than a verdict, far less than a flood.
const HOSTCALL_BYTES_MAX: usize = 64 * 1024;
/// Deadlines are counted in ticks of this length.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// A call past its deadline is interrupted only after it has also used this much processor time: a thread that the
/// operating system did not schedule is not a policy that loops.
const OVERTIME: Duration = Duration::from_millis(2);

pub(super) static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let mut config = Config::new();
    config.epoch_interruption(true).concurrency_support(false).max_wasm_stack(WASM_STACK_BYTES_MAX);
    // No policy needs a memory of more than 4 GiB, and the code for it is slower.
    config.wasm_memory64(false);
    let engine = Engine::new(&config).expect("the configuration is valid on this machine");
    let ticking = engine.weak();
    std::thread::Builder::new()
        .name("policy-epoch".to_owned())
        .spawn(move || {
            while let Some(engine) = ticking.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(TICK);
            }
        })
        .expect("a thread can be started");
    engine
});

/// The bounds of one instance, and how much of them it uses.
pub(super) struct Bounds {
    pub(super) memory_bytes: usize,
    table_elements: usize,
    /// It was denied memory or a larger table, which ended the call.
    pub(super) was_denied: bool,
    /// The thread's processor time when the current call passed its deadline.
    overtime_since: Option<Duration>,
}

impl Bounds {
    /// A store whose instance cannot exceed its bounds.
    pub(super) fn store() -> Store<Self> {
        let unused = Self { memory_bytes: 0, table_elements: 0, was_denied: false, overtime_since: None };
        let mut store = Store::new(&ENGINE, unused);
        store.limiter(|bounds| bounds);
        store.epoch_deadline_callback(|mut store| store.data_mut().past_deadline());
        store
    }

    /// Grants the next call its time and its bytes. Needed before every call: both are used up otherwise.
    pub(super) fn renew(store: &mut Store<Self>, deadline_ticks: u64) {
        store.data_mut().overtime_since = None;
        store.set_epoch_deadline(deadline_ticks);
        store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
    }

    fn past_deadline(&mut self) -> wasmtime::Result<UpdateDeadline> {
        let now = processor_time();
        let since = *self.overtime_since.get_or_insert(now);
        if now.saturating_sub(since) < OVERTIME { Ok(UpdateDeadline::Continue(1)) } else { Err(Trap::Interrupt.into()) }
    }
}

/// A growth that is denied ends the call.
impl ResourceLimiter for Bounds {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grown = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if grown > MEMORY_BYTES_MAX || maximum.is_some_and(|maximum| desired > maximum) {
            self.was_denied = true;
            wasmtime::bail!("expected at most {} MiB of memory, found {grown} bytes", MEMORY_BYTES_MAX / 1024 / 1024);
        }
        self.memory_bytes = grown;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grown = self.table_elements.saturating_add(desired.saturating_sub(current));
        if grown > TABLE_ELEMENTS_MAX || maximum.is_some_and(|maximum| desired > maximum) {
            self.was_denied = true;
            wasmtime::bail!("expected at most {TABLE_ELEMENTS_MAX} table elements, found {grown}");
        }
        self.table_elements = grown;
        Ok(true)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }
}

/// Of this thread.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
