//! Wiring, supervision and shutdown. The only module that uses all others.

mod core;
mod error;
mod ports;
mod roles;
mod system;
mod tasks;

use crate::config::Config;
use crate::http::AdminToken;
use crate::policy::Pipelines;
use crate::{counters, ledger, log, telemetry};

pub use error::StartError;
pub use ports::Ports;
pub use system::{Running, System};

/// Checks whether a system could start, without opening anything for writing.
///
/// # Errors
/// What [`System::start`] would report for this configuration.
pub fn check(config: &Config) -> Result<(), StartError> {
    telemetry::check(&config.telemetry).map_err(StartError::Telemetry)?;
    log::check(&config.log)?;
    ledger::check(&config.ledger)?;
    counters::check(&config.counters)?;
    config.admin.token_file.as_deref().map(AdminToken::read).transpose().map_err(StartError::Token)?;
    Pipelines::check(&config.policies, &config.pipeline)?;
    Ok(())
}
