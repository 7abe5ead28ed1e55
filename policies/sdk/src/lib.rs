//! Everything that a policy for Sluice needs: the contract as Rust types, and the glue.
//!
//! A policy is a configuration, a pure function that decides, and one line that exports the two:
//!
//! ```
//! use std::num::NonZeroU32;
//!
//! use serde::Deserialize;
//! use sluice_policy::{Configuration, Measured, Request, ShardList, shard_picker::Shard};
//!
//! /// Every user goes to the shard with his number, counted around.
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
//!     shards.counted_around(request.user_id / u64::from(config.users_per_shard.get())).shard_no
//! }
//!
//! sluice_policy::export_shard_picker!(Config, decide);
//! ```
//!
//! It is built as a `cdylib` for `wasm32-unknown-unknown` and packed into a component. It imports
//! nothing: no clock, no randomness, no memory of other requests but what it asks the host to measure.
//!
//! A panic is a trap, which costs the policy this one decision. Code here panics only where the host
//! breaks the contract, for then no verdict can be right.

mod bindings;
mod config;
mod export;
mod facts;
mod random;
pub mod testing;

pub use bindings::sluice::policy::types::{BucketState, Measure, Measured, Rate, Rejection, Request, Scope, Window};
pub use bindings::{rate_shaper, shard_picker, user_limit};
pub use config::{Configuration, Configured, NoConfig, parse};
pub use facts::{Answers, RATE_LIMITED, ShardList, USER_LIMIT};
pub use random::{Random, mix};
