//! Which log a ledger settles, and the offsets that an operator moved.

use serde::Serialize;
use utoipa::ToSchema;

use crate::coupon::{LogId, Offset, PartitionNo, UnixMs};

/// The log that a ledger settles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogIdentity {
    pub log_id: LogId,
    /// When a process last read this identity in the log itself; `None` until the log stores it.
    pub seen_at_ms: Option<UnixMs>,
}

/// The offset of a partition that an operator moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OffsetChange {
    pub partition: PartitionNo,
    #[schema(value_type = u64)]
    pub from: Offset,
    #[schema(value_type = u64)]
    pub to: Offset,
    pub reason: OffsetChangeReason,
    #[serde(skip)]
    pub changed_at_ms: UnixMs,
}

/// Why an operator moved an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum OffsetChangeReason {
    /// Missing records were given up.
    Skip,
    /// The ledger was moved to another log.
    Adopt,
}

impl OffsetChangeReason {
    pub(super) const ALL: [Self; 2] = [Self::Skip, Self::Adopt];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "SKIP",
            Self::Adopt => "ADOPT",
        }
    }
}
