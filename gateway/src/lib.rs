//! Sluice: a WebAssembly-extensible issuance gateway.
//!
//! The modules stand in the order in which a request meets them, and a module uses only modules that
//! stand after it.

pub mod settlement;
pub mod policy;
pub mod counters;
pub mod log;
pub mod campaigns;
pub mod ledger;
pub mod coupon;
pub mod telemetry;
pub mod sqlite_file;
