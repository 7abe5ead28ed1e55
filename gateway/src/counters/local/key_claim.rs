//! Which request an Idempotency-Key belongs to.

use super::table::Counter;
use crate::coupon::RequestId;

#[derive(Debug, Default)]
pub(super) struct KeyClaim(Option<RequestId>);

/// The result of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claimed {
    New,
    /// The request held the key already: this is a retry.
    Before,
    ByAnother,
}

impl KeyClaim {
    /// The first claim wins.
    pub(super) fn claim(&mut self, request_id: RequestId) -> Claimed {
        match self.0 {
            None => {
                self.0 = Some(request_id);
                Claimed::New
            }
            Some(holder) if holder == request_id => Claimed::Before,
            Some(_) => Claimed::ByAnother,
        }
    }

    pub(super) fn holder(&self) -> Option<RequestId> {
        self.0
    }

    pub(super) fn release(&mut self, request_id: RequestId) {
        if self.0 == Some(request_id) {
            self.0 = None;
        }
    }
}

impl Counter for KeyClaim {
    fn is_idle(&self) -> bool {
        self.0.is_none()
    }
}
