//! One configured instance of a policy.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use wasmtime::component::{ComponentNamedList, ComponentType, Instance as Component, Lift, Lower, TypedFunc};
use wasmtime::{PoolConcurrencyLimitError, Store};

use super::compile::Compiled;
use super::contract::{Contract, Version, function};
use super::engine::Bounds;
use super::error::LoadError;
use super::failure::{Failure, explain, one_line};
use super::memory_budget::MemoryExhausted;
use super::wire::{Facts, LimitVerdict, Shaping, WireMeasure, v0_1};
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
pub trait Verdict: ComponentType + Lift + Debug + Send + Sync + 'static {
    /// As in version 0.1 of the contract.
    type V0_1: ComponentType + Lift + Into<Self> + Send + Sync + 'static;
}

impl Verdict for Shaping {
    type V0_1 = v0_1::Shaping;
}

impl Verdict for LimitVerdict {
    type V0_1 = v0_1::LimitVerdict;
}

impl Verdict for u32 {
    type V0_1 = Self;
}

/// The function that decides, with the verdict of its version of the contract.
enum Decide<C: ?Sized + 'static, V: Verdict> {
    V0_1(TypedFunc<Facts<'static, C>, (V::V0_1,)>),
    V0_2(TypedFunc<Facts<'static, C>, (V,)>),
}

pub(super) struct Instance<C: ?Sized + 'static, V: Verdict> {
    store: Store<Bounds>,
    decide: Decide<C, V>,
    calls: u64,
    /// Past this size the instance has leaked.
    memory_bytes_worn: usize,
}

impl<C: Context + ?Sized, V: Verdict> Instance<C, V> {
    /// Instantiates and configures the policy; returns the measures that it declares.
    pub(super) fn start(compiled: &Compiled, hook: Hook, config: &str) -> Result<(Self, Vec<Measure>), LoadError> {
        let mut store = compiled.store();
        Bounds::renew(&mut store, Instant::now() + CONFIGURE_MAX, CONFIGURE_FUEL_MAX);
        let contract = compiled.contract;
        if contract.hook != hook {
            let found = format!("it is of the world {}: name it for that hook", contract.hook.as_str());
            return Err(LoadError::World { expected: hook.as_str(), found });
        }
        let component =
            compiled.pre.instantiate(&mut store).map_err(|error| failed("instantiate", &error, &mut store))?;
        let configure =
            find::<(&str,), (Result<Vec<WireMeasure>, String>,)>(contract, &component, &mut store, "configure")?;
        let decide = match contract.version {
            Version::V0_1 => Decide::V0_1(find(contract, &component, &mut store, function(hook))?),
            Version::V0_2 => Decide::V0_2(find(contract, &component, &mut store, function(hook))?),
        };
        let (measures,) =
            configure.call(&mut store, (config,)).map_err(|error| failed("configure", &error, &mut store))?;
        let measures = check(measures.map_err(|error| LoadError::Config(one_line(&error)))?)?;
        let memory_bytes_worn = store.data().memory_bytes + LEAK_BYTES_MAX;
        Ok((Self { store, decide, calls: 0, memory_bytes_worn }, measures))
    }

    pub(super) fn call(&mut self, facts: Facts<'_, C>, deadline: Instant) -> Result<V, Failure> {
        Bounds::renew(&mut self.store, deadline, CALL_FUEL_MAX);
        self.calls += 1;
        let called = match &self.decide {
            Decide::V0_1(decide) => decide.call(&mut self.store, facts).map(|(verdict,)| verdict.into()),
            Decide::V0_2(decide) => decide.call(&mut self.store, facts).map(|(verdict,)| verdict),
        };
        called.map_err(|error| Failure::of_call(&error, &mut self.store))
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

/// A function of the contract, in its interface if it has one.
fn find<P, R>(
    contract: Contract,
    component: &Component,
    store: &mut Store<Bounds>,
    function: &str,
) -> Result<TypedFunc<P, R>, LoadError>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    let lacks = || contract.lacks(function);
    let interface = match contract.interface() {
        Some(name) => Some(component.get_export_index(&mut *store, None, &name).ok_or_else(lacks)?),
        None => None,
    };
    let index = component.get_export_index(&mut *store, interface.as_ref(), function).ok_or_else(lacks)?;
    component.get_typed_func(&mut *store, index).map_err(|error| contract.differs(format!("{error:#}")))
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
