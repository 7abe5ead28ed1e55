//! A loaded component: checked, compiled, and called under bounds.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use wasmtime::component::{Component, ComponentNamedList, InstancePre, Lift, Linker, Lower, TypedFunc};
use wasmtime::{Config, Engine, ResourceLimiter, Store, StoreLimits, StoreLimitsBuilder, Trap, UpdateDeadline};

use super::wire::WireMeasure;
use crate::counters::{Hook, MEASURES_MAX, Measure};
use crate::telemetry::FailureReason;

/// A guest that carries a language runtime takes 12 to 18 MB.
pub(crate) const COMPONENT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What one instance may hold; our own policies use two pages.
const MEMORY_BYTES_MAX: usize = 16 * 1024 * 1024;
const TABLE_ELEMENTS_MAX: usize = 20_000;
/// What one call may hand to the host: far more than a verdict, far less than a flood.
const HOSTCALL_BYTES_MAX: usize = 64 * 1024;
/// Deadlines are counted in ticks of this length.
const TICK: Duration = Duration::from_millis(1);
/// A call that is past its deadline is cut once it has also used the processor for so long: a thread
/// that the machine did not let run is no policy that loops.
const OVERTIME: Duration = Duration::from_millis(2);
/// `configure` and the first calls may take this long; they are off the request's path.
const CONFIGURE_TICKS: u64 = 1000;
/// A worn instance is replaced: what it leaked goes with it.
const CALLS_MAX: u64 = 1_000_000;
/// What an instance may grow by before it is replaced, as it stood once it was configured.
const LEAK_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Compiled components kept, so that swapping back and forth compiles nothing.
const COMPILED_MAX: usize = 16;
/// Decisions run on the worker threads. There are so many more instances than workers: one that is used up is
/// missing until its successor is there.
const INSTANCES_SPARE: usize = 4;

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let mut config = Config::new();
    config.epoch_interruption(true).concurrency_support(false).max_wasm_stack(256 * 1024);
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

static COMPILED: LazyLock<Mutex<VecDeque<(String, Component)>>> = LazyLock::new(Mutex::default);

/// Why a component cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is larger than [`COMPONENT_BYTES_MAX`].
    #[error("expected at most {COMPONENT_BYTES_MAX} bytes, found {0}")]
    TooLarge(usize),
    /// A core module.
    #[error("expected a component, found a core module; `sluice policy pack` makes one of it")]
    Module,
    /// Not WebAssembly, or cut off.
    #[error("not a valid component: {0}")]
    Invalid(String),
    /// It wants something of the host.
    #[error("a policy imports nothing, but this one needs: {0}")]
    Imports(String),
    /// It is not of the world that the hook expects.
    #[error("expected the world {expected} of sluice:policy: {found}")]
    World {
        /// The hook's world.
        expected: &'static str,
        /// What is missing.
        found: String,
    },
    /// The policy refused its configuration.
    #[error("the policy refuses its configuration: {0}")]
    Config(String),
    /// It failed while it was configured or tried.
    #[error("the policy failed while it was tried: {0}")]
    Failed(String),
}

/// The digest of a component's bytes, in hexadecimal.
pub(super) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The export of a hook's world that decides.
pub(super) const fn export(hook: Hook) -> &'static str {
    match hook {
        Hook::RateShaper => "shape",
        Hook::UserLimit => "admit",
        Hook::ShardPicker => "pick",
    }
}

/// A component that is checked and ready to be instantiated.
#[derive(Clone)]
pub(super) struct Loaded {
    pre: InstancePre<Bounds>,
}

pub(super) fn load(bytes: &[u8], digest: &str) -> Result<Loaded, LoadError> {
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Err(LoadError::TooLarge(bytes.len()));
    }
    if bytes.get(4..8) == Some(&[1, 0, 0, 0]) {
        return Err(LoadError::Module);
    }
    let component = compile(bytes, digest)?;
    // The linker stays empty: whatever a policy would call is not there.
    let pre =
        Linker::new(&ENGINE).instantiate_pre(&component).map_err(|error| LoadError::Imports(format!("{error:#}")))?;
    Ok(Loaded { pre })
}

fn compile(bytes: &[u8], digest: &str) -> Result<Component, LoadError> {
    let known = |compiled: &VecDeque<(String, Component)>| {
        compiled.iter().find(|(known, _)| known == digest).map(|(_, component)| component.clone())
    };
    if let Some(component) = known(&COMPILED.lock().unwrap_or_else(PoisonError::into_inner)) {
        return Ok(component);
    }
    let component = Component::from_binary(&ENGINE, bytes).map_err(|error| LoadError::Invalid(format!("{error:#}")))?;
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    compiled.push_back((digest.to_owned(), component.clone()));
    if compiled.len() > COMPILED_MAX {
        compiled.pop_front();
    }
    Ok(component)
}

/// What bounds an instance.
struct Bounds {
    limits: StoreLimits,
    /// What its memories hold, in bytes.
    memory_bytes: usize,
    /// It was denied memory or a larger table, which ended the call.
    was_denied: bool,
    /// The thread's processor time when the call under way passed its deadline.
    overtime_since: Option<Duration>,
}

impl Bounds {
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

/// How long this thread has run.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A configured instance and its decision.
struct Instance<P: 'static, R: 'static> {
    store: Store<Bounds>,
    decide: TypedFunc<P, (R,)>,
    calls: u64,
    /// Bytes of memory past which it has leaked.
    memory_mark: usize,
}

impl<P, R> Instance<P, R> {
    fn is_worn(&self) -> bool {
        self.calls >= CALLS_MAX || self.store.data().memory_bytes > self.memory_mark
    }
}

/// A policy of one version with one configuration: what it wants measured, and its warm instances.
pub(super) struct Guest<P: 'static, R: 'static> {
    loaded: Loaded,
    hook: Hook,
    config: String,
    deadline_ticks: u64,
    is_fresh: bool,
    pub(super) measures: Vec<Measure>,
    warm: Mutex<Vec<Instance<P, R>>>,
}

impl<P, R> Guest<P, R>
where
    P: ComponentNamedList + Lower + Send + Sync + 'static,
    R: Lift + wasmtime::component::ComponentType + Send + Sync + 'static,
{
    pub(super) fn new(
        loaded: Loaded,
        hook: Hook,
        config: String,
        deadline_ms: u32,
        is_fresh: bool,
    ) -> Result<Arc<Self>, LoadError> {
        let (first, measures) = instantiate(&loaded, hook, &config)?;
        let mut warm = vec![first];
        let workers = tokio::runtime::Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
        for _ in 1..workers + INSTANCES_SPARE {
            warm.push(instantiate(&loaded, hook, &config)?.0);
        }
        // A call begins somewhere within a tick, so one more is granted.
        let deadline_ticks = u64::from(deadline_ms) + 1;
        Ok(Arc::new(Self { loaded, hook, config, deadline_ticks, is_fresh, measures, warm: Mutex::new(warm) }))
    }

    /// Has the guest decide.
    pub(super) fn call(self: &Arc<Self>, facts: P) -> Result<R, FailureReason> {
        let mut instance = self.take()?;
        instance.store.data_mut().overtime_since = None;
        instance.store.set_epoch_deadline(self.deadline_ticks);
        instance.store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
        instance.calls += 1;
        let answer = instance.decide.call(&mut instance.store, facts);
        match answer {
            Ok((verdict,)) => {
                if self.is_fresh || instance.is_worn() {
                    self.replace(instance);
                } else {
                    self.put_back(instance);
                }
                Ok(verdict)
            }
            Err(error) => {
                let was_denied = instance.store.data().was_denied;
                let reason = if was_denied { FailureReason::Memory } else { reason(&error) };
                self.replace(instance);
                Err(reason)
            }
        }
    }

    /// A warm instance, waiting for one no longer than a decision may take.
    fn take(&self) -> Result<Instance<P, R>, FailureReason> {
        let patience = Instant::now();
        loop {
            if let Some(instance) = self.warm.lock().unwrap_or_else(PoisonError::into_inner).pop() {
                return Ok(instance);
            }
            if patience.elapsed() >= TICK.saturating_mul(u32::try_from(self.deadline_ticks).unwrap_or(u32::MAX)) {
                return Err(FailureReason::Busy);
            }
            std::thread::yield_now();
        }
    }

    fn put_back(&self, instance: Instance<P, R>) {
        self.warm.lock().unwrap_or_else(PoisonError::into_inner).push(instance);
    }

    /// Has a new instance take the place of a used one, off the request's path.
    fn replace(self: &Arc<Self>, used: Instance<P, R>) {
        let guest = Arc::clone(self);
        let renew = move || {
            drop(used);
            match instantiate(&guest.loaded, guest.hook, &guest.config) {
                Ok((instance, _)) => guest.put_back(instance),
                Err(error) => tracing::error!(hook = guest.hook.as_str(), %error, "an instance was not replaced"),
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(renew)),
            Err(_) => renew(),
        }
    }
}

fn instantiate<P, R>(loaded: &Loaded, hook: Hook, config: &str) -> Result<(Instance<P, R>, Vec<Measure>), LoadError>
where
    P: ComponentNamedList + Lower + Send + Sync + 'static,
    R: Lift + wasmtime::component::ComponentType + Send + Sync + 'static,
{
    let limits = StoreLimitsBuilder::new()
        .memory_size(MEMORY_BYTES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .instances(16)
        .memories(4)
        .tables(8)
        .trap_on_grow_failure(true)
        .build();
    let mut store = Store::new(&ENGINE, Bounds { limits, memory_bytes: 0, was_denied: false, overtime_since: None });
    store.limiter(|bounds| bounds);
    store.epoch_deadline_callback(|mut store| store.data_mut().past_deadline());
    store.set_epoch_deadline(CONFIGURE_TICKS);
    store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
    let failed = |error: wasmtime::Error| LoadError::Failed(format!("{error:#}"));
    let world = |found| LoadError::World { expected: hook.as_str(), found };
    let other_type = |error: wasmtime::Error| world(format!("{error:#}"));
    let instance = loaded.pre.instantiate(&mut store).map_err(failed)?;
    for name in ["configure", export(hook)] {
        if instance.get_func(&mut store, name).is_none() {
            return Err(world(format!("it exports no function `{name}`")));
        }
    }
    let configure = instance
        .get_typed_func::<(&str,), (Result<Vec<WireMeasure>, String>,)>(&mut store, "configure")
        .map_err(other_type)?;
    let decide = instance.get_typed_func(&mut store, export(hook)).map_err(other_type)?;
    let (measures,) = configure.call(&mut store, (config,)).map_err(failed)?;
    let measures = measures.map_err(LoadError::Config)?;
    if measures.len() > MEASURES_MAX {
        return Err(LoadError::Failed(format!("expected at most {MEASURES_MAX} measures, found {}", measures.len())));
    }
    let measures = measures
        .into_iter()
        .map(|measure| measure.to_measure().ok_or_else(|| LoadError::Failed("a rate has a zero in it".to_owned())))
        .collect::<Result<_, _>>()?;
    let memory_mark = store.data().memory_bytes + LEAK_BYTES_MAX;
    Ok((Instance { store, decide, calls: 0, memory_mark }, measures))
}

fn reason(error: &wasmtime::Error) -> FailureReason {
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => FailureReason::Deadline,
        Some(_) => FailureReason::Trap,
        None => FailureReason::Answer,
    }
}

/// What `sluice policy inspect` says of a component.
#[derive(Debug)]
pub struct Inspection {
    hook: Hook,
    digest: String,
    bytes: usize,
    measures: Vec<Measure>,
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "world     {}", self.hook.as_str())?;
        writeln!(f, "size      {} bytes", self.bytes)?;
        writeln!(f, "digest    {}", self.digest)?;
        writeln!(f, "limits    {} MiB of memory an instance", MEMORY_BYTES_MAX / 1024 / 1024)?;
        for measure in &self.measures {
            writeln!(f, "measures  {}", serde_json::to_string(measure).unwrap_or_default())?;
        }
        Ok(())
    }
}

/// Looks at a component, with a configuration given as JSON.
///
/// # Errors
/// Why it cannot be used.
pub fn inspect(bytes: &[u8], config: &str) -> Result<Inspection, LoadError> {
    let digest = digest(bytes);
    let loaded = load(bytes, &digest)?;
    let mut last = None;
    for hook in Hook::ALL {
        match measures(&loaded, hook, config) {
            Ok(measures) => return Ok(Inspection { hook, digest, bytes: bytes.len(), measures }),
            Err(error @ LoadError::World { .. }) => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or(LoadError::Module))
}

fn measures(loaded: &Loaded, hook: Hook, config: &str) -> Result<Vec<Measure>, LoadError> {
    use super::generation::{AdmitFacts, PickFacts, ShapeFacts};
    use super::wire::{LimitVerdict, Shaping};

    Ok(match hook {
        Hook::RateShaper => instantiate::<ShapeFacts, Shaping>(loaded, hook, config)?.1,
        Hook::UserLimit => instantiate::<AdmitFacts, LimitVerdict>(loaded, hook, config)?.1,
        Hook::ShardPicker => instantiate::<PickFacts, u32>(loaded, hook, config)?.1,
    })
}

/// Makes a component of a core module that carries the metadata of `wit-bindgen`.
///
/// # Errors
/// When it is not such a module.
pub fn pack(module: &[u8]) -> Result<Vec<u8>, LoadError> {
    let encoded = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| LoadError::Invalid(format!("{error:#}")))
}
