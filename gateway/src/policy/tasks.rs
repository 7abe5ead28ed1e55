//! The tasks that a change of the pipeline runs in.

use super::error::ChangeError;
use crate::coupon::GenerationNo;

/// Runs what reads files or calls policies, which must not hold up an async worker.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// As [`blocking`], for a step of a change, which fails if the step panics.
pub(super) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ChangeError> + Send + 'static,
) -> Result<T, ChangeError> {
    tokio::task::spawn_blocking(work).await?
}

/// Runs a change to its end even if the client disconnects: otherwise the recorded generation could differ from the
/// active one.
pub(super) async fn run_detached(
    change: impl Future<Output = Result<GenerationNo, ChangeError>> + Send + 'static,
) -> Result<GenerationNo, ChangeError> {
    tokio::spawn(change).await?
}
