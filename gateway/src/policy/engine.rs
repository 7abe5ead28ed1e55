//! The WebAssembly engine, and what bounds the memory and time of an instance.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use wasmtime::{Config, Enabled, Engine, PoolingAllocationConfig, ResourceLimiter, Store, Trap, UpdateDeadline};

use super::deadline::Deadline;
use super::error::LoadError;
use super::memory_budget::{MemoryBudget, MemoryExhausted, MemoryShare};

/// Of all memories of an instance together. Our own policies use two pages.
pub(super) const MEMORY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Of all tables of an instance together.
pub(super) const TABLE_ELEMENTS_MAX: usize = 20_000;
/// A component instantiates its core module and a few adapters.
pub(super) const CORE_INSTANCES_MAX: usize = 16;
pub(super) const MEMORIES_MAX: usize = 4;
pub(super) const TABLES_MAX: usize = 8;
pub(super) const WASM_STACK_BYTES_MAX: usize = 256 * 1024;
/// Of all policies of the process: two generations during a change, and room for those that still finish. Each reserves
/// 4 GiB of addresses, which needs no memory and makes bounds checks unnecessary.
pub(super) const INSTANCES_MAX: u32 = 512;
/// An element is a pointer; the pool reserves two for it.
const TABLE_ELEMENT_BYTES: usize = 16;
/// A table or two an instance.
const TABLES_IN_ALL_MAX: u32 = 2 * INSTANCES_MAX;
/// Memory that a slot without an instance keeps: clearing it is cheaper than mapping it again for the next instance.
const KEPT_MEMORY_BYTES: usize = 256 * 1024;
const KEPT_TABLE_BYTES: usize = 16 * 1024;
/// Slots without an instance that keep memory.
const KEPT_SLOTS_MAX: u32 = 32;
/// What one call may hand to the host: far more than a verdict, far less than a flood.
const HOSTCALL_BYTES_MAX: usize = 64 * 1024;
/// How often a call checks its deadline.
const TICK: Duration = Duration::from_millis(1);

/// How the length of a call is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metering {
    /// By the clock. It costs next to nothing.
    Time,
    /// By fuel, which WebAssembly instructions use up. It depends on nothing but the call.
    Fuel,
}

static LIVE: LazyLock<Result<Engine, String>> = LazyLock::new(|| {
    let engine = start(Metering::Time)?;
    let ticking = engine.weak();
    let tick = move || {
        while let Some(engine) = ticking.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    };
    let thread = std::thread::Builder::new().name("policy-epoch".to_owned()).spawn(tick);
    thread.map(|_| engine).map_err(|error| error.to_string())
});

static METERED: LazyLock<Result<Engine, String>> = LazyLock::new(|| start(Metering::Fuel));

/// The engine of the process that runs policies, which serves requests if it meters time.
pub(super) fn running(metering: Metering) -> Result<&'static Engine, LoadError> {
    let engine = match metering {
        Metering::Time => &LIVE,
        Metering::Fuel => &METERED,
    };
    engine.as_ref().map_err(|error| LoadError::Engine(error.clone()))
}

fn start(metering: Metering) -> Result<Engine, String> {
    let mut config = config(metering);
    config.allocation_strategy(slots());
    Engine::new(&config).map_err(|error| format!("{error:#}"))
}

/// An engine that runs nothing, in the compiler's process. It reserves no addresses.
pub(super) fn for_compiling(metering: Metering) -> wasmtime::Result<Engine> {
    Engine::new(&config(metering))
}

/// What compiled code depends on.
fn config(metering: Metering) -> Config {
    let mut config = Config::new();
    match metering {
        Metering::Time => config.epoch_interruption(true),
        // All that WebAssembly leaves open is decided, so that a call gives the same result on every machine.
        Metering::Fuel => {
            config.consume_fuel(true).cranelift_nan_canonicalization(true).relaxed_simd_deterministic(true)
        }
    };
    config.concurrency_support(false).max_wasm_stack(WASM_STACK_BYTES_MAX);
    // No policy needs a memory of more than 4 GiB, and the code for it is slower.
    config.wasm_memory64(false);
    // A trap records where the instance's memory is, and copies none of it. A call without a trap does nothing for it.
    config.coredump_on_trap(true);
    config
}

/// Memory is reserved once, in slots of the size of an instance's bounds, so an instance is made without mapping any.
fn slots() -> PoolingAllocationConfig {
    let mut slots = PoolingAllocationConfig::new();
    slots
        .total_component_instances(INSTANCES_MAX)
        .total_core_instances(INSTANCES_MAX * CORE_INSTANCES_MAX as u32)
        .total_memories(INSTANCES_MAX)
        .total_tables(TABLES_IN_ALL_MAX)
        .max_core_instances_per_component(CORE_INSTANCES_MAX as u32)
        .max_memories_per_component(MEMORIES_MAX as u32)
        .max_memories_per_module(MEMORIES_MAX as u32)
        .max_tables_per_component(TABLES_MAX as u32)
        .max_tables_per_module(TABLES_MAX as u32)
        .max_memory_size(MEMORY_BYTES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_unused_warm_slots(KEPT_SLOTS_MAX)
        .linear_memory_keep_resident(KEPT_MEMORY_BYTES)
        .table_keep_resident(KEPT_TABLE_BYTES)
        .pagemap_scan(Enabled::Auto);
    slots
}

/// The bounds of one instance, and how much of them it uses.
pub(super) struct Bounds {
    pub(super) memory_bytes: usize,
    table_elements: usize,
    share: MemoryShare,
    /// It was denied memory or a larger table, which ended the call.
    pub(super) was_denied: bool,
    metering: Metering,
    /// Of the current call, if time is metered.
    deadline: Deadline,
}

impl Bounds {
    /// A store whose instance cannot exceed its bounds.
    pub(super) fn store(engine: &Engine, metering: Metering, memory: Arc<MemoryBudget>) -> Store<Self> {
        let (share, deadline) = (MemoryShare::of(memory), Deadline::new(Instant::now()));
        let unused = Self { memory_bytes: 0, table_elements: 0, share, was_denied: false, metering, deadline };
        let mut store = Store::new(engine, unused);
        store.limiter(|bounds| bounds);
        store.epoch_deadline_callback(|mut store| store.data_mut().tick());
        store
    }

    /// Grants the next call its time or its fuel, and its bytes. Needed before every call: both are used up otherwise.
    pub(super) fn renew(store: &mut Store<Self>, deadline: Instant, fuel: u64) {
        match store.data().metering {
            Metering::Time => {
                store.data_mut().deadline = Deadline::new(deadline);
                store.set_epoch_deadline(1);
            }
            Metering::Fuel => store.set_fuel(fuel).expect("the engine meters fuel"),
        }
        store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
    }

    fn take(&mut self, bytes: usize) -> Result<(), MemoryExhausted> {
        self.share.grow(bytes).inspect_err(|_| self.was_denied = true)
    }

    fn tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        if self.deadline.is_over() { Err(Trap::Interrupt.into()) } else { Ok(UpdateDeadline::Continue(1)) }
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
        self.take(desired.saturating_sub(current))?;
        self.memory_bytes = grown;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grown = self.table_elements.saturating_add(desired.saturating_sub(current));
        if grown > TABLE_ELEMENTS_MAX || maximum.is_some_and(|maximum| desired > maximum) {
            self.was_denied = true;
            wasmtime::bail!("expected at most {TABLE_ELEMENTS_MAX} table elements, found {grown}");
        }
        self.take(desired.saturating_sub(current) * TABLE_ELEMENT_BYTES)?;
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
