//! The WebAssembly engine, and what bounds the memory and time of an instance.

use std::sync::LazyLock;
use std::time::Duration;

use wasmtime::{Config, Engine, ResourceLimiter, Store, StoreLimits, StoreLimitsBuilder, Trap, UpdateDeadline};

/// Our own policies use two pages.
pub(super) const MEMORY_BYTES_MAX: usize = 16 * 1024 * 1024;
const TABLE_ELEMENTS_MAX: usize = 20_000;
/// A component instantiates its core module and a few adapters.
const CORE_INSTANCES_MAX: usize = 16;
const MEMORIES_MAX: usize = 4;
const TABLES_MAX: usize = 8;
const WASM_STACK_BYTES_MAX: usize = 256 * 1024;
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
    limits: StoreLimits,
    /// Of all its memories.
    pub(super) memory_bytes: usize,
    /// It was denied memory or a larger table, which ended the call.
    pub(super) was_denied: bool,
    /// The thread's processor time when the current call passed its deadline.
    overtime_since: Option<Duration>,
}

impl Bounds {
    /// A store whose instance cannot exceed its bounds.
    pub(super) fn store() -> Store<Self> {
        let limits = StoreLimitsBuilder::new()
            .memory_size(MEMORY_BYTES_MAX)
            .table_elements(TABLE_ELEMENTS_MAX)
            .instances(CORE_INSTANCES_MAX)
            .memories(MEMORIES_MAX)
            .tables(TABLES_MAX)
            .trap_on_grow_failure(true)
            .build();
        let mut store = Store::new(&ENGINE, Self { limits, memory_bytes: 0, was_denied: false, overtime_since: None });
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

impl ResourceLimiter for Bounds {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grown = self.limits.memory_growing(current, desired, maximum);
        match grown {
            Ok(true) => self.memory_bytes += desired - current,
            _ => self.was_denied = true,
        }
        grown
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grown = self.limits.table_growing(current, desired, maximum);
        self.was_denied |= !matches!(grown, Ok(true));
        grown
    }
}

/// Of this thread.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
