//! Sluice: a WebAssembly-extensible issuance gateway.
//!
//! The modules stand in the order in which a request meets them, and a module uses only modules that
//! stand after it.

pub mod counters;
pub mod coupon;
pub mod ledger;
pub mod log;
pub mod policy;
pub mod telemetry;
