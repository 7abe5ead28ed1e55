//! What settlement reads from a record.

use super::verdict::Item;
use crate::counters::Subject;
use crate::coupon::{Accepted, PartitionNo, RequestId};
use crate::log::Stored;

/// The error says why the record is not an accepted request.
pub(super) fn decode(stored: &Stored) -> Result<Accepted, String> {
    Accepted::decode(&stored.record.value).map_err(|error| error.to_string())
}

pub(super) fn item(partition: PartitionNo, stored: &Stored) -> Item {
    let content = decode(stored);
    let header = stored.record.headers.request_id;
    let request_id = match &content {
        Ok(accepted) => accepted.request_id,
        Err(_) => header.unwrap_or_else(|| RequestId::from_log_position(partition, stored.offset)),
    };
    Item { partition, offset: stored.offset, request_id, content }
}

/// The request as the counters know it.
pub(super) fn subject(accepted: &Accepted) -> Subject {
    Subject {
        request_id: accepted.request_id,
        attempt: 0,
        coupon_id: accepted.request.coupon_id,
        user_id: accepted.request.user_id,
        arrived_at_ms: accepted.arrived_at_ms,
        fingerprint: None,
        campaign_counts: accepted.campaign_counts,
    }
}
