//! One configured instance of a policy.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use wasmtime::component::{ComponentType, Lift, Lower, TypedFunc};
use wasmtime::{PoolConcurrencyLimitError, Store};

use super::compile::Compiled;
use super::engine::Bounds;
use super::error::LoadError;
use super::failure::{Failure, explain, one_line};
use super::memory_budget::MemoryExhausted;
use super::wire::{Facts, WireMeasure};
use crate::counters::{Hook, MEASURES_MAX, Measure};

/// `configure` may take this long; it runs off the request's path.
const CONFIGURE_MAX: Duration = Duration::from_secs(1);
/// Of fuel: about a second.
const CONFIGURE_FUEL_MAX: u64 = 1_000_000_000;
/// What a call may use of fuel: several milliseconds, as the deadline of a hook.
pub(super) const CALL_FUEL_MAX: u64 = 20_000_000;
/// A worn instance is replaced, which frees what it leaked.
const CALLS_MAX: u64 = 1_000_000;
/// An instance may grow by this much after it was configured before it is replaced.
const LEAK_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a hook sees besides the request and its measures: the load, the usage or the shards.
pub(super) trait Context: Lower + Debug + 'static {}

impl<T: Lower + Debug + ?Sized + 'static> Context for T {}

/// The result of a hook's function.
pub(super) trait Verdict: ComponentType + Lift + Debug + Send + Sync + 'static {}

impl<T: ComponentType + Lift + Debug + Send + Sync + 'static> Verdict for T {}

pub(super) struct Instance<C: ?Sized + 'static, V: 'static> {
    store: Store<Bounds>,
    decide: TypedFunc<Facts<'static, C>, (V,)>,
    calls: u64,
    /// Past this size the instance has leaked.
    memory_bytes_worn: usize,
}

impl<C: Context + ?Sized, V: Verdict> Instance<C, V> {
    /// Instantiates and configures the policy; returns the measures that it declares.
    pub(super) fn start(compiled: &Compiled, hook: Hook, config: &str) -> Result<(Self, Vec<Measure>), LoadError> {
        let mut store = compiled.store();
        Bounds::renew(&mut store, Instant::now() + CONFIGURE_MAX, CONFIGURE_FUEL_MAX);
        let world = |found| LoadError::World { expected: hook.as_str(), found };
        let other_type = |error: wasmtime::Error| world(format!("{error:#}"));
        let instance =
            compiled.pre.instantiate(&mut store).map_err(|error| failed("instantiate", &error, &mut store))?;
        for name in ["configure", export(hook)] {
            if instance.get_func(&mut store, name).is_none() {
                return Err(world(format!("it exports no function `{name}`")));
            }
        }
        let configure = instance
            .get_typed_func::<(&str,), (Result<Vec<WireMeasure>, String>,)>(&mut store, "configure")
            .map_err(other_type)?;
        let decide = instance.get_typed_func(&mut store, export(hook)).map_err(other_type)?;
        let (measures,) =
            configure.call(&mut store, (config,)).map_err(|error| failed("configure", &error, &mut store))?;
        let measures = check(measures.map_err(|error| LoadError::Config(one_line(&error)))?)?;
        let memory_bytes_worn = store.data().memory_bytes + LEAK_BYTES_MAX;
        Ok((Self { store, decide, calls: 0, memory_bytes_worn }, measures))
    }

    pub(super) fn call(&mut self, facts: Facts<'_, C>, deadline: Instant) -> Result<V, Failure> {
        Bounds::renew(&mut self.store, deadline, CALL_FUEL_MAX);
        self.calls += 1;
        match self.decide.call(&mut self.store, facts) {
            Ok((verdict,)) => Ok(verdict),
            Err(error) => Err(Failure::of_call(&error, &mut self.store)),
        }
    }

    /// Of the last call; 0 on the engine that meters time.
    pub(super) fn fuel_used(&self) -> u64 {
        self.store.get_fuel().map_or(0, |left| CALL_FUEL_MAX - left)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.store.data().memory_bytes
    }

    pub(super) fn is_worn(&self) -> bool {
        self.calls >= CALLS_MAX || self.store.data().memory_bytes > self.memory_bytes_worn
    }
}

/// The export of a hook's world that decides.
pub(super) const fn export(hook: Hook) -> &'static str {
    match hook {
        Hook::RateShaper => "shape",
        Hook::UserLimit => "admit",
        Hook::ShardPicker => "pick",
    }
}

fn failed(step: &str, error: &wasmtime::Error, store: &mut Store<Bounds>) -> LoadError {
    if error.is::<MemoryExhausted>() || error.is::<PoolConcurrencyLimitError>() {
        return LoadError::Capacity(error.root_cause().to_string());
    }
    LoadError::Trial(format!("{step}: {}", explain(error, store)))
}

fn check(measures: Vec<WireMeasure>) -> Result<Vec<Measure>, LoadError> {
    if measures.len() > MEASURES_MAX {
        return Err(LoadError::Trial(format!("expected at most {MEASURES_MAX} measures, found {}", measures.len())));
    }
    let zero = || LoadError::Trial("expected a bucket's requests, per-ms and burst from 1 up, found 0".to_owned());
    measures.into_iter().map(|measure| measure.to_measure().ok_or_else(zero)).collect()
}
