//! `sluice policy bench`: what a decision costs, by the size of its input.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::battery::MadeUp;
use super::compile::Compiled;
use super::component::ComponentBytes;
use super::contract;
use super::engine::Metering;
use super::error::LoadError;
use super::fuel_budget::highest_of;
use super::host::Host;
use super::instance::Instance;
use super::offline::MeteredPolicy;
use super::options::Options;
use super::owned_context::OwnedContext;
use super::tasks::blocking;
use super::wire::{Load, Shard, Usage};
use crate::counters::Hook;
use crate::coupon::now_ms;
use crate::telemetry::Telemetry;

/// Numbers of shards. The input of the other hooks has one size.
const SHARDS: [u32; 5] = [1, 4, 12, 64, 256];
/// Calls whose median is the time. The first ones warm the caches.
const TIMED_CALLS: u64 = 1001;
/// More than a deadline: a policy that is as slow as this fails in a gateway.
const CALL_MAX: Duration = Duration::from_secs(1);

/// What a decision costs with an input of one size.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BenchRow {
    /// Absent if the input has one size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<u32>,
    /// The same on every machine.
    pub fuel: u64,
    /// Of a warm instance: the median on this machine.
    pub nanoseconds: u64,
    /// Of all memories of an instance.
    pub memory_bytes: usize,
}

/// Finds out which hook a component is for, and what its decisions cost with this configuration.
///
/// # Errors
/// Why the component cannot be used.
pub async fn bench(
    options: &Options,
    component: Vec<u8>,
    config: Map<String, Value>,
) -> Result<Vec<BenchRow>, LoadError> {
    let host = Host::new(&options.read_only(), &Telemetry::new(), CancellationToken::new());
    let component = ComponentBytes::unsigned(component);
    let hook = contract::contract_of(&component)?.hook;
    let metered = host.compile_for(Metering::Fuel, &component).await?;
    let timed = host.compile(&component).await?;
    blocking(move || match hook {
        Hook::RateShaper => Ok(vec![BenchRow { shards: None, ..row::<Load>(&metered, &timed, &config, 1)? }]),
        Hook::UserLimit => Ok(vec![BenchRow { shards: None, ..row::<Usage>(&metered, &timed, &config, 1)? }]),
        Hook::ShardPicker => {
            SHARDS.map(|shards| row::<Vec<Shard>>(&metered, &timed, &config, shards)).into_iter().collect()
        }
    })
    .await
}

fn row<C: OwnedContext>(
    metered: &Compiled,
    timed: &Compiled,
    config: &Map<String, Value>,
    shards: u32,
) -> Result<BenchRow, LoadError> {
    let cost = highest_of(&MeteredPolicy::<C>::start(metered.clone(), config)?, shards)?;
    let nanoseconds = u64::try_from(median::<C>(timed, config, shards)?.as_nanos()).unwrap_or(u64::MAX);
    Ok(BenchRow { shards: Some(shards), fuel: cost.fuel, nanoseconds, memory_bytes: cost.memory_bytes })
}

/// A call that fails ends the bench: its time means nothing.
fn median<C: OwnedContext>(
    compiled: &Compiled,
    config: &Map<String, Value>,
    shards: u32,
) -> Result<Duration, LoadError> {
    let config = serde_json::to_string(config).expect("a map is JSON");
    let (mut instance, measures) = Instance::<C::Lent, C::Verdict>::start(compiled, C::HOOK, &config)?;
    let arrived_at_ms = now_ms();
    let mut times = (0..TIMED_CALLS)
        .map(|entropy| {
            let call = MadeUp::<C>::new(&measures, shards, arrived_at_ms, entropy);
            let begun = Instant::now();
            let called = instance.call(call.facts(), begun + CALL_MAX);
            let took = begun.elapsed();
            called.map(|_| took).map_err(|failure| LoadError::Trial(failure.to_string()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    times.sort_unstable();
    Ok(times[times.len() / 2])
}
