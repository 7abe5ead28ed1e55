//! Recorded decisions: for a sample of the requests, what each hook was given and what it returned.
//!
//! A request that is not sampled costs a hash. A sampled one is queued when it is accepted or refused, and a task writes
//! it to bounded files of this process. A full queue or a disk that fails loses samples, counts them, and never holds up
//! a request.

mod decision;
mod explain;
mod filter;
mod options;
mod reader;
mod recorder;
mod segments;
#[cfg(test)]
mod tests;
mod trace;
mod writer;

pub use decision::{Decision, Outcome, Step, Steps, Traced};
pub use explain::explain;
pub use filter::Filter;
pub use options::Options;
pub use reader::{Cursor, Reader};
pub use recorder::Recorder;
pub use trace::Trace;
