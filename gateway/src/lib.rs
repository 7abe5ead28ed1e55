//! Sluice: a WebAssembly-extensible issuance gateway.
//!
//! The modules stand in the order in which a request meets them, and a module uses only modules that
//! stand after it.
//!
//! What `main.rs` awaits comes boxed: the code of a future is compiled in every crate that knows its type.

pub mod client;
pub mod app;
pub mod config;
pub mod http;
pub mod admission;
pub mod peers;
pub mod settlement;
pub mod policy;
pub mod counters;
pub mod log;
pub mod campaigns;
pub mod ledger;
pub mod telemetry;
pub mod coupon;
mod bounded;
mod sqlite_file;
#[cfg(test)]
mod services;
