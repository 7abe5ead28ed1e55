//! Loads generations, off the async workers.

use super::component::ResolvedPipeline;
use super::error::ChangeError;
use super::generation::Generation;
use super::tasks::run_blocking;
use crate::coupon::GenerationNo;
use crate::telemetry::Telemetry;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trial {
    Run,
    /// It was tried when it was new, and has decided since.
    Skip,
}

pub(super) struct Loader {
    pub(super) is_native: bool,
    pub(super) telemetry: Telemetry,
}

impl Loader {
    pub(super) async fn load(
        &self,
        number: GenerationNo,
        resolved: &ResolvedPipeline,
        trial: Trial,
    ) -> Result<Generation, ChangeError> {
        let (resolved, is_native, telemetry) = (resolved.clone(), self.is_native, self.telemetry.clone());
        run_blocking(move || {
            let generation = Generation::load(number, &resolved, is_native, &telemetry)?;
            if trial == Trial::Run {
                generation.run_trial()?;
            }
            Ok(generation)
        })
        .await
    }
}
