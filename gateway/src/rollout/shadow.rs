//! The shadow: a candidate decides about requests that the active pipeline has decided, and its decisions are only
//! compared.
//!
//! It is asked off the way of the request, by one task for all rollouts. A full queue loses requests and counts them.
//! The task rests four times as long as the candidate computes, so that a slow candidate takes little from the requests.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;

use super::live::Job;
use super::shadowed::{AnyAsked, Asked, Shadowed};
use crate::counters::{Counters, Hook, Measure, Measured, PerMeasure, Unavailable};
use crate::policy::Decided;

/// For one second of computing.
const RESTING_SECONDS: u32 = 4;
/// A shorter rest is not exact, so it is added to the next one.
const REST_MIN: Duration = Duration::from_millis(2);

/// Asks shadows until shutdown.
pub(super) async fn run(mut queue: Receiver<Job>, counters: Arc<dyn Counters>) {
    let mut rest = Duration::ZERO;
    while let Some(job) = queue.recv().await {
        let Job { asked, .. } = &job;
        let took = match asked {
            AnyAsked::Shaper(asked) => ask(&job, asked, &*counters).await,
            AnyAsked::Limit(asked) => ask(&job, asked, &*counters).await,
            AnyAsked::Picker(asked) => ask(&job, asked, &*counters).await,
        };
        rest += took * RESTING_SECONDS;
        if rest >= REST_MIN {
            tokio::time::sleep(std::mem::take(&mut rest)).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

/// Returns how long the candidate computed.
async fn ask<C: Shadowed>(job: &Job, asked: &Asked<C>, counters: &dyn Counters) -> Duration {
    let Job { live, request, .. } = job;
    // Without counters there is no decision to compare, as on the way of a request.
    let Ok(measured) = measure(job, C::HOOK, &asked.measured, counters).await else {
        live.tallies.shadow(C::HOOK, |tally| tally.lost += 1);
        return Duration::ZERO;
    };
    let decided = Decided::timed(|| asked.context.decide(&live.candidate, request, &measured));
    live.tallies.shadow(C::HOOK, |tally| {
        tally.decided.record::<C>(&decided);
        tally.compared += 1;
        let agrees = decided.verdict.as_ref().is_ok_and(|verdict| C::agree(verdict, &asked.verdict));
        tally.different += u64::from(!agrees);
    });
    decided.took
}

/// The candidate's measures. One that the active policy declares too has the same value; the others are taken in the
/// shadow's own counters, so that nothing is counted twice.
async fn measure(
    job: &Job,
    hook: Hook,
    measured: &[Measured],
    counters: &dyn Counters,
) -> Result<PerMeasure<Measured>, Unavailable> {
    let active = job.active.measures(hook);
    let shared =
        |wanted: &Measure| active.iter().zip(measured).find(|(measure, _)| *measure == wanted).map(|(_, value)| *value);
    let wanted = job.live.candidate.measures(hook);
    let missing: PerMeasure<Measure> = wanted.iter().filter(|wanted| shared(wanted).is_none()).copied().collect();
    let own = if missing.is_empty() {
        PerMeasure::new()
    } else {
        counters.reserve(hook, &missing, &job.subject).await?.measured
    };
    let mut own = own.into_iter();
    Ok(wanted.iter().filter_map(|wanted| shared(wanted).or_else(|| own.next())).collect())
}
