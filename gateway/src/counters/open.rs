//! Chooses the adapter that the URL names.

use std::sync::Arc;

use super::fail_open::FailOpen;
use super::local::Local;
use super::redis::Redis;
use super::{Counters, OnUnavailable, OpenError, Options};
use crate::background::Background;
use crate::telemetry::{CountersSeen, Telemetry};

/// Opens the counters that `counters.url` names. The background task, if there is one, keeps their connection up.
///
/// # Errors
/// [`OpenError`] when the options are wrong or authentication fails, and when the counters are unreachable although
/// `counters.on_unavailable` is `refuse`.
pub async fn open(
    options: &Options,
    telemetry: &Telemetry,
) -> Result<(Arc<dyn Counters>, Option<Background>), OpenError> {
    let Some(server) = options.server()? else {
        telemetry.emit(CountersSeen { are_up: true });
        return Ok((Arc::new(Local::new()), None));
    };
    match options.on_unavailable {
        OnUnavailable::Pass => {
            let (redis, keeper) = Redis::open_or_retry(server, telemetry).await?;
            Ok((Arc::new(FailOpen::new(redis)), Some(keeper)))
        }
        OnUnavailable::Refuse => {
            let (redis, keeper) = Redis::open(server, telemetry).await?;
            Ok((Arc::new(redis), Some(keeper)))
        }
    }
}

/// Validates the options and the files they name, without connecting.
///
/// # Errors
/// [`OpenError`] when they are wrong.
pub fn check(options: &Options) -> Result<(), OpenError> {
    options.server().map(|_| ())
}
