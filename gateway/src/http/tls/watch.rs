//! Loads a certificate again when its files change.
//!
//! The files are read and compared, not only their metadata: they are small, and a renewal may replace a link or a
//! folder above them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Tls;
use super::files::{Pem, TlsError};
use super::identity::Identity;
use crate::background::Background;
use crate::telemetry::{CertificateLoaded, CertificateRefused, Telemetry};

const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A renewal replaces one file after the other. Between the two, the key does not belong to the certificate.
const LOOKS_BEFORE_REPORT: u32 = 2;

pub(super) fn background(tls: &Tls, telemetry: &Telemetry) -> Background {
    let found = Ok(tls.0.identity.load().pem.clone());
    let watch = Watch { tls: tls.clone(), telemetry: telemetry.clone(), found, looks: 1 };
    watch.announce();
    Background::new(format!("certificate watcher of [{}]", tls.section()), watch.run())
}

struct Watch {
    tls: Tls,
    telemetry: Telemetry,
    /// What the last look found, and how many looks in a row have found it.
    found: Result<Pem, TlsError>,
    looks: u32,
}

impl Watch {
    async fn run(mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let tls = self.tls.clone();
            // A network file system may not answer for a long time.
            match tokio::task::spawn_blocking(move || tls.0.files.read()).await {
                Ok(found) => self.compare(found),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
    }

    fn compare(&mut self, found: Result<Pem, TlsError>) {
        self.looks = if found == self.found { self.looks.saturating_add(1) } else { 1 };
        self.found = found;
        if self.looks > LOOKS_BEFORE_REPORT {
            return;
        }
        match (self.looks, self.identity()) {
            (1, Ok(identity)) => {
                self.tls.0.identity.store(Arc::new(identity));
                self.announce();
            }
            (LOOKS_BEFORE_REPORT, Err(error)) => {
                tracing::error!(%error, "certificate not loaded; the one before stays in use");
                self.telemetry.emit(CertificateRefused { section: self.tls.section() });
            }
            _ => {}
        }
    }

    fn identity(&self) -> Result<Identity, TlsError> {
        Identity::new(&self.tls.0.files, self.found.clone()?)
    }

    fn announce(&self) {
        let expires_at_seconds = self.tls.0.identity.load().expires_at_seconds;
        let section = self.tls.section();
        self.telemetry.emit(CertificateLoaded { section, expires_at_seconds });
        let expires_at = Timestamp::from_second(expires_at_seconds).unwrap_or(Timestamp::MAX);
        if expires_at < Timestamp::now() {
            tracing::warn!(section, %expires_at, "certificate loaded, but it has expired: renew it");
        } else {
            tracing::info!(section, %expires_at, "certificate loaded");
        }
    }
}
