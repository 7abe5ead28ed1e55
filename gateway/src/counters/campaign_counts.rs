//! Which whole-campaign counts hold a request.
//!
//! Settlement removes a rejected request from these counts, and has no pipeline that names them. The pipeline may also
//! have changed since the request was counted. So the log record names the counts of the generation that accepted the
//! request, and `forget` touches no others. A record of an earlier version names none: its request may be in any count.

use super::{Hook, Measure, PerHook, Scope};
use crate::coupon::CampaignCounts;

impl CampaignCounts {
    /// Those among the measures of a pipeline.
    #[must_use]
    pub fn among(measures: PerHook<&[Measure]>) -> Self {
        let all = measures.iter().flat_map(|(hook, measures)| measures.iter().map(move |measure| (hook, measure)));
        Self(all.fold(0, |bits, (hook, measure)| match *measure {
            Measure::Count { scope, window_ms: 0 } => bits | bit(hook, scope),
            _ => bits,
        }))
    }

    pub(super) fn measures(self) -> impl Iterator<Item = (Hook, Measure)> {
        let all = Hook::ALL.into_iter().flat_map(|hook| Scope::ALL.map(|scope| (hook, scope)));
        let named = all.filter(move |(hook, scope)| self.0 & bit(*hook, *scope) != 0);
        named.map(|(hook, scope)| (hook, Measure::Count { scope, window_ms: 0 }))
    }
}

/// Stored in log records: a new hook or scope must leave the other bits where they are.
const fn bit(hook: Hook, scope: Scope) -> u16 {
    1 << (4 * hook as u16 + scope as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_a_pipeline_are_those_of_whole_campaigns() {
        let campaign = Measure::Count { scope: Scope::UserOfCoupon, window_ms: 0 };
        let minute = Measure::Count { scope: Scope::User, window_ms: 60_000 };
        let sequence = Measure::Sequence { scope: Scope::Coupon };
        let counts = CampaignCounts::among(PerHook::from([&[minute][..], &[minute, campaign], &[sequence]]));
        assert_eq!(counts.measures().collect::<Vec<_>>(), [(Hook::UserLimit, campaign)]);
        assert_eq!(CampaignCounts::default().measures().count(), Hook::ALL.len() * Scope::ALL.len());
    }
}
