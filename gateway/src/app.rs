//! Wiring, supervision and shutdown. The only module that uses all others.

mod adopt;
mod core;
mod error;
mod groups;
mod identity;
mod listeners;
mod ports;
mod retry;
mod roles;
mod system;
mod tasks;

use crate::config::Config;
use crate::policy::Pipelines;
use crate::telemetry::Telemetry;
use crate::{counters, ledger, log, telemetry};

pub use adopt::{AdoptError, OldLog, adopt};
pub use error::StartError;
pub use ports::Ports;
pub use system::{Running, System};

/// Checks whether a system could start, without opening anything for writing. Answers with warnings about what only the
/// start can find out.
///
/// # Errors
/// What [`System::start`] would report for this configuration.
pub async fn check(config: &Config) -> Result<Vec<String>, StartError> {
    telemetry::check(&config.telemetry).map_err(StartError::Telemetry)?;
    log::check(&config.log)?;
    ledger::check(&config.ledger)?;
    ports::check_shared(config)?;
    counters::check(&config.counters)?;
    listeners::read_tokens(config)?;
    listeners::Certificates::read(config)?;
    listeners::check_addresses(config)?;
    let (policies, telemetry) = (config.policies.read_only(), Telemetry::new());
    if ledger::is_new(&config.ledger) {
        Pipelines::check(&policies, &config.pipeline, &telemetry).await?;
        return Ok(Vec::new());
    }
    Ok(Pipelines::check_folder(&policies, &config.pipeline, &telemetry).await?)
}

/// Two, so that a policy that runs until its deadline blocks one worker, and the other one still serves requests.
const WORKERS_PER_PROCESSOR: usize = 2;

/// The runtime that a system is made for.
///
/// # Errors
/// When the operating system starts no threads.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS_PER_PROCESSOR * processors).enable_all().build()
}
