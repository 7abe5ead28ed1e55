//! Replays recorded decisions with another policy: what would it have decided?
//!
//! The same recording and the same component give the same report, byte for byte, on every machine. The policy runs on
//! the engine that meters fuel. The work is cut into chunks of a fixed size, and all that is reported is a sum or
//! ordered, so the number of processors does not matter.

mod chunk;
mod difference;
mod error;
mod input;
mod instances;
mod report;
mod tally;
#[cfg(test)]
mod tests;

use std::io::BufRead;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use self::chunk::Chunks;
use self::input::Input;
use self::tally::Tally;
use crate::decisions::Traced;
use crate::policy::MeteredPolicy;

pub use error::ReplayError;
pub use instances::Instances;
pub use report::{Fuel, Recorded, Report, Row, SkippedRow};

/// Replays all decisions of a hook, on this number of threads, if the policy does it before the deadline.
///
/// # Errors
/// [`ReplayError`]. A last line that is cut off is ignored.
pub fn replay<C: Traced>(
    recording: impl BufRead + Send,
    policy: &MeteredPolicy<C>,
    instances: Instances,
    threads: usize,
    deadline: Option<Instant>,
) -> Result<Report, ReplayError> {
    let input = Mutex::new(Input::new(recording));
    let work = || -> Result<Tally, ReplayError> {
        let mut chunks = Chunks::new(policy, instances, deadline);
        let mut lines = Vec::new();
        loop {
            let first_line = input.lock().unwrap_or_else(PoisonError::into_inner).next(&mut lines)?;
            if lines.is_empty() {
                return Ok(chunks.into_tally());
            }
            chunks.replay(first_line, &lines)?;
        }
    };
    let tallies = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let results =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        results.collect::<Result<Vec<_>, _>>()
    })?;
    let tally = tallies.into_iter().fold(Tally::default(), Tally::merge);
    Ok(tally.report(C::HOOK, policy.digest(), instances))
}
