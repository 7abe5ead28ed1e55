//! Rollouts: a change of the pipeline that serves some users before it serves all, and that is rolled back by itself.
//!
//! A rollout has a candidate: some hooks with other policies. After its checks, the candidate is a shadow, which decides
//! without effect, or a canary, which serves a share of the users, until it is promoted, aborted or rolled back. The
//! ledger has the state: every gateway follows it, reports what its arms decided, and judges all reports by the guards.

mod error;
mod follower;
mod guards;
mod latency;
mod live;
mod meter;
mod open;
mod percent;
mod record;
mod replayed;
mod service;
mod shadow;
mod shadowed;
mod store;
mod tally;

pub use error::RolloutError;
pub use guards::{Guard, Guards, Judgement, Reading};
pub use live::{Chosen, Question};
pub use open::Dependencies;
pub use percent::Percent;
pub use record::{Auto, Event, Rollout, RolloutId, Status};
pub use replayed::ReplayCheck;
pub use service::{MeasuredRollout, NewRollout, Rollouts};
pub use shadowed::Shadowed;
pub use tally::{HookTally, ShadowTally, Tallies};
