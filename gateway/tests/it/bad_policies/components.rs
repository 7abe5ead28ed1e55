//! Components that are hostile in as many ways as we could think of, one after the other on a gateway under light
//! load: what becomes of each, what it costs the others, and that the gateway recovers.

mod answers;
mod bombs;
mod calls;
mod guest;
mod starts;
#[path = "../../common/component_text.rs"]
pub(super) mod text;
mod trial;

use crate::harness::machine;
use trial::Ground;

/// So that no kind gets lost unnoticed.
const COMPONENTS_MIN: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_component_is_refused_or_fails_alone_and_the_gateway_recovers() {
    machine::exclusive();
    let guests: Vec<_> = [calls::guests(), answers::guests(), starts::guests()].into_iter().flatten().collect();
    assert!(guests.len() >= COMPONENTS_MIN, "{}", guests.len());
    Ground::prepare().await.try_all(guests).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_is_expensive_to_compile_costs_no_other_request() {
    machine::exclusive();
    Ground::prepare().await.try_all(bombs::guests()).await;
}
