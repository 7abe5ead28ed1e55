//! Predicts without load what a drop would do: a discrete-event simulation in virtual time.
//!
//! It runs the real policies on the real counters, and the real rules of settlement, see [`settle`](crate::settlement).
//! Modelled are only the clients, the log, which makes records durable in groups, and the time that each step takes. A
//! gateway decides at once: how much a processor can do is not modelled.

mod admission;
mod crowd;
mod event_queue;
mod fairness;
mod gateway;
mod group_commit;
mod ledger;
mod model;
mod prediction;
mod profile;
mod random;
mod recording;
mod scenario;
mod scenario_file;
mod settlement;
mod system;
mod tally;
#[cfg(test)]
mod tests;
mod virtual_time;

use std::time::Instant;

use self::model::Model;
use crate::policy::OfflinePipeline;

pub use prediction::{Cost, Prediction};
pub use recording::{Recording, RecordingError, Terms};
pub use scenario::Scenario;
pub use scenario_file::{ScenarioError, ScenarioFile};
pub use system::{Speed, System};
pub use tally::Outcomes;

/// Simulates a scenario until everything is settled. `progress` gets the number of requests so far, after every event.
#[must_use]
pub fn simulate(
    scenario: &Scenario,
    system: &System,
    mut policies: OfflinePipeline,
    seed: u64,
    progress: impl FnMut(u64),
) -> (Prediction, Cost) {
    let started = Instant::now();
    let prediction = Model::new(scenario, system, &mut policies, seed).run(progress);
    let cost = Cost::new(started.elapsed(), prediction.requests, policies.cost());
    (prediction, cost)
}
