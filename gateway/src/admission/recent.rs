//! The requests that were accepted a moment ago, so that a retry and a status call find them before
//! they are settled.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::coupon::{Fingerprint, Offset, PartitionNo, RequestId};

/// Remembered at least; twice as many at most. At 64 bytes each they take about 16 MiB.
const REQUESTS_MIN: usize = 1 << 17;
/// So that threads seldom wait for each other.
const STRIPES: usize = 16;

/// Where an accepted request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPosition {
    /// Which partition carries it.
    pub partition: PartitionNo,
    /// Where it stands there.
    pub offset: Offset,
    /// Given when the client sent an Idempotency-Key.
    pub fingerprint: Option<Fingerprint>,
}

/// A bounded memory: when the young half is full, the old half is forgotten.
#[derive(Debug, Default)]
pub struct Recent {
    stripes: [Mutex<Halves>; STRIPES],
}

#[derive(Debug, Default)]
struct Halves {
    young: HashMap<RequestId, LogPosition>,
    old: HashMap<RequestId, LogPosition>,
}

impl Recent {
    /// Remembers a request.
    pub fn insert(&self, request: RequestId, place: LogPosition) {
        let mut halves = self.stripe(request).lock().unwrap_or_else(PoisonError::into_inner);
        if halves.young.len() >= REQUESTS_MIN / STRIPES {
            halves.old = std::mem::take(&mut halves.young);
        }
        halves.young.insert(request, place);
    }

    /// Where a request stands, if it is remembered.
    #[must_use]
    pub fn get(&self, request: RequestId) -> Option<LogPosition> {
        let halves = self.stripe(request).lock().unwrap_or_else(PoisonError::into_inner);
        halves.young.get(&request).or_else(|| halves.old.get(&request)).copied()
    }

    fn stripe(&self, request: RequestId) -> &Mutex<Halves> {
        &self.stripes[request.entropy() as usize % STRIPES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered_and_the_oldest_forgotten() {
        let recent = Recent::default();
        let place = |offset| LogPosition { partition: PartitionNo(0), offset, fingerprint: None };
        let requests: Vec<_> = (0..4 * REQUESTS_MIN as u64).map(|n| (RequestId::new(), place(n))).collect();
        for (request, place) in &requests {
            recent.insert(*request, *place);
        }
        let (last, first) = (requests[requests.len() - 1], requests[0]);
        assert_eq!(recent.get(last.0), Some(last.1));
        assert_eq!(recent.get(first.0), None);
        let remembered = requests.iter().filter(|(request, _)| recent.get(*request).is_some()).count();
        assert!((REQUESTS_MIN..=2 * REQUESTS_MIN).contains(&remembered), "{remembered}");
    }
}
