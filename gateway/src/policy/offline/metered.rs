//! One policy on the engine that meters fuel: the same call has the same result and the same cost on every machine.

use std::marker::PhantomData;
use std::time::Instant;

use serde_json::{Map, Value};

use super::super::battery::MadeUp;
use super::super::compile::Compiled;
use super::super::digest::Digest;
use super::super::error::LoadError;
use super::super::failure::Failure;
use super::super::instance::Instance;
use super::super::owned_context::OwnedContext;
use super::super::wire::{Facts, Request, WireMeasured};
use crate::counters::{Measure, Measured, PerMeasure};
use crate::telemetry::FailureReason;

/// A policy with its configuration, for the hook of the context `C`.
pub struct MeteredPolicy<C> {
    compiled: Compiled,
    config: String,
    measures: Vec<Measure>,
    context: PhantomData<fn(C)>,
}

/// What a call decided, and what it cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeteredCall<V> {
    /// Or why there is no valid one.
    pub verdict: Result<V, FailureReason>,
    pub fuel: u64,
    /// Of all memories of the instance, after the call.
    pub memory_bytes: usize,
}

/// An instance that has decided nothing, or only what its owner gave it.
pub struct MeteredInstance<'a, C: OwnedContext> {
    policy: &'a MeteredPolicy<C>,
    instance: Instance<C::Lent, C::Verdict>,
}

impl<C: OwnedContext> MeteredPolicy<C> {
    pub(in crate::policy) fn start(compiled: Compiled, config: &Map<String, Value>) -> Result<Self, LoadError> {
        let config = serde_json::to_string(config).expect("a map is JSON");
        let (_, measures) = Instance::<C::Lent, C::Verdict>::start(&compiled, C::HOOK, &config)?;
        Ok(Self { compiled, config, measures, context: PhantomData })
    }

    #[must_use]
    pub fn digest(&self) -> Digest {
        self.compiled.digest
    }

    /// What the policy declared when it was configured.
    #[must_use]
    pub fn measures(&self) -> &[Measure] {
        &self.measures
    }

    /// A new instance, configured.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn instance(&self) -> Result<MeteredInstance<'_, C>, LoadError> {
        let (instance, _) = Instance::start(&self.compiled, C::HOOK, &self.config)?;
        Ok(MeteredInstance { policy: self, instance })
    }
}

impl<C: OwnedContext> MeteredInstance<'_, C> {
    /// Calls the policy. As in a gateway, a failed or worn instance is replaced.
    ///
    /// # Errors
    /// When there is no room for another instance.
    pub fn decide(
        &mut self,
        request: &Request,
        measured: &[Measured],
        context: &C,
    ) -> Result<MeteredCall<C::Verdict>, LoadError> {
        let measured: PerMeasure<WireMeasured> = measured.iter().map(WireMeasured::from).collect();
        self.call((request, &measured, context.lend()), context)
    }

    pub(in crate::policy) fn decide_made_up(&mut self, call: &MadeUp<C>) -> Result<MeteredCall<C::Verdict>, LoadError> {
        self.call(call.facts(), &call.context)
    }

    fn call(&mut self, facts: Facts<'_, C::Lent>, context: &C) -> Result<MeteredCall<C::Verdict>, LoadError> {
        // Fuel bounds the call.
        let called = self.instance.call(facts, Instant::now());
        let (fuel, memory_bytes) = (self.instance.fuel_used(), self.instance.memory_bytes());
        if called.is_err() || self.instance.is_worn() {
            *self = self.policy.instance()?;
        }
        let valid =
            called.and_then(
                |verdict| if context.is_valid(&verdict) { Ok(verdict) } else { Err(Failure::of_verdict(&verdict)) },
            );
        Ok(MeteredCall { verdict: valid.map_err(|failure| failure.reason), fuel, memory_bytes })
    }
}
