//! Checks a pipeline before anything is started, with the components of the policies' folder.

use tokio_util::sync::CancellationToken;

use super::error::{ChangeError, StartError};
use super::folder::Folder;
use super::host::Host;
use super::inspect;
use super::loader::{Loader, Trial};
use super::options::Options;
use super::pipelines::Pipelines;
use super::policy_ref::PolicyRef;
use super::spec::{HookSpec, Pipeline};
use super::tasks::{blocking, run_blocking};
use crate::counters::{Hook, PerHook};
use crate::telemetry::Telemetry;

impl Pipelines {
    /// Checks whether a pipeline could be loaded, and changes nothing. It may fill the cache of compiled components.
    ///
    /// # Errors
    /// Which policy cannot be loaded, and why.
    pub async fn check(options: &Options, pipeline: &Pipeline, telemetry: &Telemetry) -> Result<(), StartError> {
        let (folder, pipeline) = (Folder::new(options), pipeline.clone());
        let resolved = run_blocking(move || folder.resolve(pipeline)).await?;
        let loader = Loader::new(options, telemetry, CancellationToken::new());
        loader.load(0, &resolved, Trial::Run).await?;
        Ok(())
    }

    /// As [`check`](Self::check), for a ledger that may have policies which are not in the folder. Those are not
    /// checked, and the answer has a warning for each.
    ///
    /// # Errors
    /// As `check`.
    pub async fn check_folder(
        options: &Options,
        pipeline: &Pipeline,
        telemetry: &Telemetry,
    ) -> Result<Vec<String>, StartError> {
        let folder = Folder::new(options);
        let (here, policies) = (folder.clone(), pipeline.hooks().map(|spec| spec.policy.clone()));
        let is_there = blocking(move || policies.map(|policy| here.stamp(&policy).is_some())).await;
        if is_there == PerHook::from([true; 3]) {
            Self::check(options, pipeline, telemetry).await?;
            return Ok(Vec::new());
        }
        let host = Host::new(options, telemetry, CancellationToken::new());
        let mut warnings = Vec::new();
        for (hook, spec) in pipeline.hooks().iter() {
            if is_there[hook] {
                check_one(&host, &folder, hook, spec, telemetry).await?;
            } else {
                warnings.push(missing(&folder, hook, &spec.policy));
            }
        }
        Ok(warnings)
    }
}

async fn check_one(
    host: &Host,
    folder: &Folder,
    hook: Hook,
    spec: &HookSpec,
    telemetry: &Telemetry,
) -> Result<(), ChangeError> {
    let (folder, spec, telemetry) = (folder.clone(), spec.clone(), telemetry.clone());
    let policy = spec.policy.clone();
    let component = run_blocking(move || folder.read(&policy)).await?;
    let compiled = host.compile(&component).await.map_err(ChangeError::load(hook))?;
    run_blocking(move || inspect::trial(hook, &spec, &compiled, &telemetry).map_err(ChangeError::load(hook))).await?;
    Ok(())
}

fn missing(folder: &Folder, hook: Hook, policy: &str) -> String {
    if PolicyRef::of(policy).digits.is_some() {
        return format!("pipeline.{}: a start looks for the version `{policy}` in the ledger", hook.as_str());
    }
    let path = folder.path_of(policy);
    format!(
        "pipeline.{}: {} does not exist: a start looks for the policy `{policy}` in the ledger",
        hook.as_str(),
        path.display()
    )
}
