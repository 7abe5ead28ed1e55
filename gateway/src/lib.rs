//! Sluice: a WebAssembly-extensible issuance gateway.
//!
//! The modules stand in the order in which a request meets them, and a module uses only modules that
//! stand after it.
//!
//! What `main.rs` awaits comes boxed: the code of a future is compiled in every crate that knows its type.

pub mod cli;
pub mod app;
pub mod config;
pub mod http;
pub mod admission;
pub mod ledger_poller;
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
mod secret;
mod sqlite_file;
#[cfg(test)]
mod services;
