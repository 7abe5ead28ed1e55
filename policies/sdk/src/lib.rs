//! Write a policy for Sluice in Rust: the contract as types, and the glue.
//!
//! A policy is a configuration, a pure function that decides, and one line that exports the two:
//!
//! ```
//! use std::num::NonZeroU32;
//!
//! use serde::Deserialize;
//! use sluice_policy::{Configuration, Measured, Request, ShardList, shard_picker::Shard};
//!
//! /// Consecutive user ids share a shard, `users_per_shard` at a time.
//! #[derive(Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! struct Config {
//!     users_per_shard: NonZeroU32,
//! }
//!
//! impl Default for Config {
//!     fn default() -> Self {
//!         Self { users_per_shard: NonZeroU32::MIN }
//!     }
//! }
//!
//! impl Configuration for Config {}
//!
//! fn decide(config: &Config, request: &Request, _: &[Measured], shards: &[Shard]) -> u32 {
//!     shards.at_modulo(request.user_id / u64::from(config.users_per_shard.get())).shard_no
//! }
//!
//! sluice_policy::export_shard_picker!(Config, decide);
//! ```
//!
//! Set `crate-type = ["cdylib"]`. `policies/build` compiles the crate for `wasm32-unknown-unknown` and packs
//! it into a component, which imports nothing: it has no clock, no randomness and no input or output. What a
//! policy needs to know of earlier requests, it declares as a [`Measure`].
//!
//! A panic is a trap. It fails this one decision, and the hook's `on_failure` decides instead. The gateway reports
//! the panic's message and the arguments of the call. The SDK panics only where the host broke the contract or the
//! policy reads a measure that it did not declare.

mod bindings;
mod config;
mod export;
#[cfg(any(target_arch = "wasm32", test))]
mod panic_message;
mod random;
pub mod testing;
mod types;

pub use bindings::sluice::policy::types::{BucketState, Measure, Measured, Rate, Rejection, Request, Scope, Window};
pub use bindings::{rate_shaper, shard_picker, user_limit};
pub use config::{ConfigCell, Configuration, NoConfig, parse_config};
pub use random::{Random, mix};
pub use types::{Measurements, RATE_LIMITED, ShardList, USER_LIMIT};
