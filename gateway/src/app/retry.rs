//! Waiting for dependencies that start later than this process.

use std::time::Duration;

/// Retry interval while a dependency is unreachable.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Repeats a call while its error is transient. Logs each new reason once.
pub(super) async fn retry<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(
    mut call: impl FnMut() -> F,
    is_transient: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let mut logged = String::new();
    loop {
        match call().await {
            Err(error) if is_transient(&error) => {
                let reason = error.to_string();
                if reason != logged {
                    tracing::warn!(%reason, "dependency unreachable, retrying every second");
                    logged = reason;
                }
                tokio::time::sleep(RETRY_EVERY).await;
            }
            answered => return answered,
        }
    }
}
