//! The requests that this process accepted recently. A retry and a status call find them here before they are settled.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::coupon::{Offset, PartitionNo, RequestId};

/// At least this many requests are kept, and at most twice as many. At 32 bytes each and as many of overhead, they take up to 16 MiB.
const REQUESTS_MIN: usize = 1 << 17;
/// More locks mean less contention between threads.
const STRIPES: usize = 16;

/// Where the log holds an accepted request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPosition {
    pub partition: PartitionNo,
    /// See [`Ack`](crate::log::Ack).
    pub offset: Offset,
}

/// A bounded map: when the new half is full, it replaces the old half.
#[derive(Debug, Default)]
pub(super) struct RecentRequests {
    stripes: [Mutex<Halves>; STRIPES],
}

#[derive(Debug, Default)]
struct Halves {
    new: HashMap<RequestId, LogPosition>,
    old: HashMap<RequestId, LogPosition>,
}

impl RecentRequests {
    pub(super) fn insert(&self, request: RequestId, position: LogPosition) {
        let mut halves = self.stripe(request).lock().unwrap_or_else(PoisonError::into_inner);
        if halves.new.len() >= REQUESTS_MIN / STRIPES {
            halves.old = std::mem::take(&mut halves.new);
        }
        halves.new.insert(request, position);
    }

    pub(super) fn get(&self, request: RequestId) -> Option<LogPosition> {
        let halves = self.stripe(request).lock().unwrap_or_else(PoisonError::into_inner);
        halves.new.get(&request).or_else(|| halves.old.get(&request)).copied()
    }

    fn stripe(&self, request: RequestId) -> &Mutex<Halves> {
        &self.stripes[request.entropy() as usize % STRIPES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_requests_are_found_and_the_oldest_are_dropped() {
        let recent = RecentRequests::default();
        let position = |offset| LogPosition { partition: PartitionNo(0), offset };
        let requests: Vec<_> = (0..4 * REQUESTS_MIN as u64).map(|n| (RequestId::new(), position(n))).collect();
        for (request, position) in &requests {
            recent.insert(*request, *position);
        }
        let (last, first) = (requests[requests.len() - 1], requests[0]);
        assert_eq!(recent.get(last.0), Some(last.1));
        assert_eq!(recent.get(first.0), None);
        let kept = requests.iter().filter(|(request, _)| recent.get(*request).is_some()).count();
        assert!((REQUESTS_MIN..=2 * REQUESTS_MIN).contains(&kept), "{kept}");
    }
}
