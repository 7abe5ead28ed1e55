//! A campaign: a coupon, its stock in shards, and when it may be had.

use serde::{Deserialize, Serialize};

use super::{CouponId, PolicyId, ShardNo, UnixMs};

/// What a campaign is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCampaign {
    /// Its coupon; one campaign a coupon.
    pub coupon_id: CouponId,
    /// The terms it was made from.
    pub policy_id: PolicyId,
    /// How many there are.
    pub total: u64,
    /// Into how many shards the stock is spread.
    pub shards: u32,
    /// How many of them one user may hold.
    pub per_user_limit: u32,
    /// Open from the start when absent.
    pub opens_at_ms: Option<UnixMs>,
    /// Open for ever when absent.
    pub closes_at_ms: Option<UnixMs>,
}

impl NewCampaign {
    /// More shards would make the lock of all of them, taken when one runs out, too long.
    pub const SHARDS_MAX: u32 = 256;
    /// The sum of all outcomes must stay countable in any column.
    pub const TOTAL_MAX: u64 = 1_000_000_000_000;
}

/// A campaign as the ledger holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Campaign {
    /// Its coupon.
    pub coupon_id: CouponId,
    /// The terms it was made from.
    pub policy_id: PolicyId,
    /// How many there are, top-ups included.
    pub total: u64,
    /// How many of them one user may hold.
    pub per_user_limit: u32,
    /// What the operator last said.
    pub state: CampaignState,
    /// Open from the start when absent.
    pub opens_at_ms: Option<UnixMs>,
    /// Open for ever when absent.
    pub closes_at_ms: Option<UnixMs>,
    /// Ordered by number, never empty.
    pub shards: Vec<ShardStock>,
}

/// What is left in one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardStock {
    /// Which one.
    pub shard_no: ShardNo,
    /// How many coupons are left in it.
    pub remaining: u64,
}

/// What the operator last said of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CampaignState {
    /// People may ask, within the opening times.
    Open,
    /// Nobody may ask until it is resumed. What was accepted is settled.
    Paused,
    /// Nobody may ask again. What was accepted is settled.
    Closed,
}

impl CampaignState {
    /// The word that clients and the ledger use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Paused => "PAUSED",
            Self::Closed => "CLOSED",
        }
    }
}

/// Whether people may ask at a given moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// They may.
    Open,
    /// Not before this time.
    NotOpen(UnixMs),
    /// Not until it is resumed.
    Paused,
    /// Not again.
    Closed,
}

impl Campaign {
    /// Whether people may ask at `now`.
    #[must_use]
    pub fn entry_at(&self, now: UnixMs) -> Entry {
        match self.state {
            CampaignState::Closed => Entry::Closed,
            _ if self.closes_at_ms.is_some_and(|closes_at| now >= closes_at) => Entry::Closed,
            CampaignState::Paused => Entry::Paused,
            CampaignState::Open => match self.opens_at_ms {
                Some(opens_at) if now < opens_at => Entry::NotOpen(opens_at),
                _ => Entry::Open,
            },
        }
    }

    /// What is left in all shards.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.shards.iter().map(|shard| shard.remaining).sum()
    }
}

/// A change that an operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CampaignChange {
    /// Nobody may ask until it is resumed.
    Pause,
    /// People may ask again.
    Resume,
    /// Nobody may ask again; it cannot be undone.
    Close,
    /// More coupons, spread over the shards.
    TopUp(u64),
    /// What is left is spread over so many shards.
    Reshard(u32),
}

/// What the ledger says of a campaign in one consistent read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// Which campaign.
    pub coupon_id: CouponId,
    /// How many there are.
    pub total: u64,
    /// Outcomes that are ISSUED.
    pub granted: u64,
    /// What is left in all shards.
    pub remaining: u64,
    /// granted + remaining = total.
    pub balanced: bool,
    /// Outcomes that are SOLD_OUT.
    pub sold_out: u64,
    /// Outcomes that are USER_LIMIT.
    pub user_limit: u64,
    /// Outcomes that are INVALID.
    pub invalid: u64,
    /// How many of them one user may hold.
    pub per_user_limit: u32,
    /// Users who hold more than that: none, ever.
    pub users_over_limit: u64,
    /// Users who hold at least one.
    pub users: u64,
    /// Shard by shard.
    pub shards: Vec<ShardAudit>,
}

/// One shard of an audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardAudit {
    /// Which one.
    pub shard_no: ShardNo,
    /// How many coupons are left in it.
    pub remaining: u64,
    /// How many were taken from it; a shard that a reshard removed still has its line.
    pub granted: u64,
    /// How many requests were sent to it, however they ended.
    pub picked: u64,
}

/// Spreads `stock` over `shards` as evenly as it goes, the first ones taking the rest.
#[must_use]
pub fn spread(stock: u64, shards: u32) -> Vec<ShardStock> {
    let (each, rest) = (stock / u64::from(shards), stock % u64::from(shards));
    (0..shards)
        .map(|shard| ShardStock { shard_no: ShardNo(shard), remaining: each + u64::from(u64::from(shard) < rest) })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn spreading_neither_makes_nor_loses_a_coupon(stock in 0..1_000_000_u64, shards in 1..257_u32) {
            let spread = spread(stock, shards);
            prop_assert_eq!(spread.iter().map(|shard| shard.remaining).sum::<u64>(), stock);
            let (least, most) = spread.iter().fold((u64::MAX, 0), |(least, most), shard| {
                (least.min(shard.remaining), most.max(shard.remaining))
            });
            prop_assert!(most - least <= 1);
        }
    }
}
