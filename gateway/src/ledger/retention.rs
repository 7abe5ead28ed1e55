//! What the ledger deletes of a campaign that is over, and how its outcomes are listed before that.

use std::time::Duration;

use crate::coupon::{Arm, GenerationNo, Offset, Outcome, PartitionNo, RequestId, ShardNo, UnixMs, UserId};

/// How long the outcomes of a campaign are kept after it closed. `None` keeps them for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Of all outcomes.
    pub outcomes: Option<Duration>,
    /// Of rejections, if that is shorter.
    pub rejections: Option<Duration>,
}

/// Which outcomes of a campaign the retention deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    Rejections,
    All,
}

impl Deletion {
    /// The name in the ledger.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Rejections => "REJECTIONS",
            Self::All => "ALL",
        }
    }

    /// What may have been deleted before, apart from nothing.
    pub(super) const fn earlier(self) -> &'static str {
        match self {
            Self::Rejections => "NONE",
            Self::All => "REJECTIONS",
        }
    }

    /// Whether this outcome is deleted.
    #[must_use]
    pub const fn includes(self, outcome: Outcome) -> bool {
        matches!((self, outcome), (Self::All, _) | (Self::Rejections, Outcome::Rejected(_)))
    }
}

/// One outcome of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOutcome {
    pub request_id: RequestId,
    pub user_id: UserId,
    pub outcome: Outcome,
    /// The shard that the policy picked.
    pub picked_shard: ShardNo,
    pub generation: GenerationNo,
    pub arm: Arm,
    pub partition: PartitionNo,
    pub offset: Offset,
    pub arrived_at_ms: UnixMs,
    pub settled_at_ms: UnixMs,
}

/// Where the list continues: after the last user's rejections up to a request, and grants up to a number.
pub(super) struct Cursor {
    pub(super) user: i64,
    pub(super) rejections_after: [u8; 16],
    pub(super) grants_after: u32,
}

impl Cursor {
    /// Rejections come before the grants of the same user.
    pub(super) fn after(last: Option<&ListedOutcome>) -> Self {
        let Some(last) = last else { return Self { user: 0, rejections_after: [0; 16], grants_after: 0 } };
        let user = last.user_id.as_i64();
        match last.outcome {
            Outcome::Rejected(_) => Self { user, rejections_after: *last.request_id.as_bytes(), grants_after: 0 },
            Outcome::Issued { grant_no, .. } => Self { user, rejections_after: [u8::MAX; 16], grants_after: grant_no },
        }
    }
}
