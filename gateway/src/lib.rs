//! Sluice: a WebAssembly-extensible issuance gateway.
//!
//! The modules are listed in the order of a request's path, and a module uses only modules that are listed after it. A
//! test checks this.

pub mod cli;
pub mod app;
pub mod config;
pub mod http;
pub mod simulate;
pub mod admission;
pub mod rollout;
pub mod replay;
pub mod decisions;
pub mod ledger_poller;
pub mod retention;
pub mod settlement;
pub mod policy;
pub mod counters;
pub mod log;
pub mod campaign_cache;
pub mod ledger;
pub mod telemetry;
pub mod coupon;
pub mod background;
mod bounded;
mod processor_time;
mod regular_file;
mod secret;
mod sqlite_file;
mod stripes;
#[cfg(test)]
mod services;
