//! Choosing the adapter by the URL's scheme.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::embedded::Embedded;
use super::kafka::{self, Address, Kafka};
use super::{Change, Ensured, Log, OpenError, Options};
use crate::background::Background;
use crate::telemetry::Telemetry;

enum Adapter<'a> {
    Embedded { path: &'a str },
    Kafka(Address),
}

impl<'a> Adapter<'a> {
    fn of(options: &'a Options) -> Result<Self, OpenError> {
        if let Some(path) = options.url.strip_prefix("embedded:").filter(|path| !path.is_empty()) {
            return Ok(Self::Embedded { path });
        }
        Address::parse(&options.url).map(Self::Kafka).ok_or_else(|| OpenError::UnknownUrl(options.url.clone()))
    }
}

/// Checks the options. It reads the files that they name and connects to nothing.
///
/// # Errors
/// [`OpenError::UnknownUrl`] or [`OpenError::Refused`].
pub fn check(options: &Options) -> Result<(), OpenError> {
    match Adapter::of(options)? {
        Adapter::Embedded { .. } => Ok(()),
        Adapter::Kafka(address) => kafka::check(&address, options),
    }
}

/// Whether the URL names a topic, which several processes can use.
#[must_use]
pub fn is_shared(options: &Options) -> bool {
    matches!(Adapter::of(options), Ok(Adapter::Kafka(_)))
}

/// Opens the log that the URL names. Its background tasks make records durable: run them until it is closed.
///
/// # Errors
/// See [`OpenError`]. Retry while it [is transient](OpenError::is_transient).
pub async fn open(options: &Options, telemetry: &Telemetry) -> Result<(Arc<dyn Log>, Vec<Background>), OpenError> {
    match Adapter::of(options)? {
        Adapter::Embedded { path } => {
            let (log, background) = Embedded::open(path, options, telemetry).await?;
            Ok((Arc::new(log), background))
        }
        Adapter::Kafka(address) => {
            let (log, background) = Kafka::open(address, options, telemetry).await?;
            Ok((Arc::new(log), background))
        }
    }
}

/// Creates the topics that the URL names, where absent, adds the partitions of new ledger groups, and verifies them. An
/// embedded log has no topic; only partitions are added to it, and the answer is empty if none are.
///
/// # Errors
/// See [`OpenError`].
pub fn ensure_topics(options: &Options) -> BoxFuture<'_, Result<Vec<Ensured>, OpenError>> {
    Box::pin(async {
        match Adapter::of(options)? {
            Adapter::Embedded { path } => {
                let is_extended = Embedded::add_partitions(path, options).await?;
                let extended = Ensured { name: path.to_owned(), change: Change::Extended };
                Ok(is_extended.then_some(extended).into_iter().collect())
            }
            Adapter::Kafka(address) => kafka::ensure(&address, options).await,
        }
    })
}
