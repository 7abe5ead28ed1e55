//! A campaign: one coupon, its stock in shards, and the rules by which an operator changes it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::{CouponId, GroupNo, PolicyId, ShardNo, UnixMs};

/// What an operator asks for when creating a campaign. A coupon has at most one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCampaign {
    pub coupon_id: CouponId,
    pub policy_id: PolicyId,
    pub total: u64,
    pub shards: u32,
    pub per_user_limit: u32,
    /// Open from the start when absent.
    pub opens_at_ms: Option<UnixMs>,
    /// Never closes by itself when absent.
    pub closes_at_ms: Option<UnixMs>,
}

impl NewCampaign {
    /// When one shard is empty, settlement locks all of them: with more shards it would hold the locks too long.
    pub const SHARDS_MAX: u32 = 256;
    /// The sum of all outcomes must fit a signed 64-bit column.
    pub const TOTAL_MAX: u64 = 1_000_000_000_000;

    #[must_use]
    pub fn initial_stock(&self) -> Vec<ShardStock> {
        spread(self.total, self.shards)
    }
}

/// A campaign as the ledger stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Campaign {
    pub coupon_id: CouponId,
    pub policy_id: PolicyId,
    /// The ledger group that holds it.
    pub group: GroupNo,
    /// Top-ups included.
    pub total: u64,
    pub per_user_limit: u32,
    pub state: CampaignState,
    /// Open from the start when absent.
    pub opens_at_ms: Option<UnixMs>,
    /// Never closes by itself when absent.
    pub closes_at_ms: Option<UnixMs>,
    /// Ordered by number, never empty.
    pub shards: Vec<ShardStock>,
}

/// The stock of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardStock {
    pub shard_no: ShardNo,
    pub remaining: u64,
}

/// The state that an operator set. Requests that were accepted before a change are settled in every state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CampaignState {
    /// Accepts requests between its opening and closing time.
    Open,
    /// Accepts no request until it is resumed.
    Paused,
    /// Accepts no request; it cannot be reopened.
    Closed,
}

impl CampaignState {
    pub const ALL: [Self; 3] = [Self::Open, Self::Paused, Self::Closed];

    /// The name used by clients and in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Paused => "PAUSED",
            Self::Closed => "CLOSED",
        }
    }
}

/// Whether a campaign accepts requests at a given time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    Open,
    /// Opens at this time.
    NotOpen(UnixMs),
    Paused,
    /// By an operator, or because its closing time has passed.
    Closed,
}

/// Why a campaign does not allow a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeError {
    Closed(CouponId),
    /// The new total would exceed [`NewCampaign::TOTAL_MAX`].
    TotalTooLarge,
}

impl Campaign {
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

    /// When the campaign stopped accepting requests, if an operator closed it; `now` if that was just now.
    #[must_use]
    pub fn closed_at(&self, now: UnixMs) -> Option<UnixMs> {
        let closed_at = self.closes_at_ms.map_or(now, |closes_at| closes_at.min(now));
        (self.state == CampaignState::Closed).then_some(closed_at)
    }

    /// The stock of all shards.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.shards.iter().map(|shard| shard.remaining).sum()
    }

    /// Whether creating `new` again would change nothing. After a top-up or a reshard it would not.
    #[must_use]
    pub fn has_terms_of(&self, new: &NewCampaign) -> bool {
        self.policy_id == new.policy_id
            && self.total == new.total
            && self.per_user_limit == new.per_user_limit
            && self.shards.len() == new.shards as usize
            && self.opens_at_ms == new.opens_at_ms
            && self.closes_at_ms == new.closes_at_ms
    }

    /// Applies a change, or leaves the campaign as it is.
    ///
    /// # Errors
    /// [`ChangeError`] when the campaign is closed (closing it again succeeds) or the total too large.
    pub fn apply(&mut self, change: CampaignChange) -> Result<(), ChangeError> {
        if self.state == CampaignState::Closed && change != CampaignChange::Close {
            return Err(ChangeError::Closed(self.coupon_id));
        }
        match change {
            CampaignChange::Pause => self.state = CampaignState::Paused,
            CampaignChange::Resume => self.state = CampaignState::Open,
            CampaignChange::Close => self.state = CampaignState::Closed,
            CampaignChange::TopUp(amount) => self.top_up(amount)?,
            CampaignChange::Reshard(shards) => self.shards = spread(self.remaining(), shards),
        }
        Ok(())
    }

    fn top_up(&mut self, amount: u64) -> Result<(), ChangeError> {
        let total = self.total.saturating_add(amount);
        if total > NewCampaign::TOTAL_MAX {
            return Err(ChangeError::TotalTooLarge);
        }
        self.total = total;
        let shards = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        for (shard, more) in self.shards.iter_mut().zip(spread(amount, shards)) {
            shard.remaining += more.remaining;
        }
        Ok(())
    }
}

/// What an operator can do to a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CampaignChange {
    Pause,
    Resume,
    /// Final.
    Close,
    /// Adds coupons, spread over the shards.
    TopUp(u64),
    /// Spreads the remaining stock over this number of shards.
    Reshard(u32),
}

/// The SHA-256 of the Idempotency-Key of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeKey([u8; 32]);

impl ChangeKey {
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl CampaignChange {
    /// Whether the shards' rows must be written again.
    #[must_use]
    pub const fn moves_stock(self) -> bool {
        matches!(self, Self::TopUp(_) | Self::Reshard(_))
    }
}

/// A campaign's totals from one consistent read of the ledger's tallies, which every settlement updates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    pub coupon_id: CouponId,
    pub total: u64,
    /// Outcomes that are ISSUED.
    pub granted: u64,
    pub remaining: u64,
    /// Whether granted + remaining = total.
    pub balanced: bool,
    /// Outcomes that are SOLD_OUT.
    pub sold_out: u64,
    /// Outcomes that are USER_LIMIT.
    pub user_limit: u64,
    /// Outcomes that are INVALID.
    pub invalid: u64,
    pub per_user_limit: u32,
    /// Users with at least one grant.
    pub users: u64,
    pub shards: Vec<ShardAudit>,
    /// The same numbers, counted from the outcomes themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recount: Option<Recount>,
}

/// What the outcomes of a campaign add up to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recount {
    /// Whether the tallies say the same, shard by shard.
    pub agrees: bool,
    /// Whether outcomes were deleted, because the campaign closed long ago. Then there are fewer than the tallies say.
    pub outcomes_deleted: bool,
    pub granted: u64,
    pub sold_out: u64,
    pub user_limit: u64,
    pub invalid: u64,
    pub users: u64,
    /// Users with more grants than the limit. Always 0, or a promise is broken.
    pub users_over_limit: u64,
}

/// One shard of an audit. A shard that a reshard removed keeps its entry for the outcomes that name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardAudit {
    pub shard_no: ShardNo,
    pub remaining: u64,
    /// Grants that took their stock from this shard.
    pub granted: u64,
    /// Requests for which the policy picked this shard, whatever their outcome.
    pub picked: u64,
}

/// Spreads `stock` evenly; the first shards take the rest.
fn spread(stock: u64, shards: u32) -> Vec<ShardStock> {
    let (each, rest) = (stock / u64::from(shards), stock % u64::from(shards));
    (0..shards)
        .map(|shard| ShardStock { shard_no: ShardNo(shard), remaining: each + u64::from(u64::from(shard) < rest) })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn new_campaign(total: u64, shards: u32) -> NewCampaign {
        NewCampaign {
            coupon_id: 104_u64.try_into().expect("in range"),
            policy_id: 21_u64.try_into().expect("in range"),
            total,
            shards,
            per_user_limit: 1,
            opens_at_ms: Some(1_000),
            closes_at_ms: Some(2_000),
        }
    }

    fn campaign(total: u64, shards: u32) -> Campaign {
        let new = new_campaign(total, shards);
        Campaign {
            coupon_id: new.coupon_id,
            policy_id: new.policy_id,
            group: GroupNo::FIRST,
            total,
            per_user_limit: new.per_user_limit,
            state: CampaignState::Open,
            opens_at_ms: new.opens_at_ms,
            closes_at_ms: new.closes_at_ms,
            shards: new.initial_stock(),
        }
    }

    fn stock_of(campaign: &Campaign) -> Vec<u64> {
        campaign.shards.iter().map(|shard| shard.remaining).collect()
    }

    #[test]
    fn a_campaign_accepts_requests_between_opening_and_closing_time() {
        let campaign = campaign(10, 4);
        assert_eq!(campaign.entry_at(999), Entry::NotOpen(1_000));
        assert_eq!(campaign.entry_at(1_000), Entry::Open);
        assert_eq!(campaign.entry_at(1_999), Entry::Open);
        assert_eq!(campaign.entry_at(2_000), Entry::Closed);
    }

    #[test]
    fn a_paused_campaign_still_closes_at_its_closing_time() {
        let mut campaign = campaign(10, 4);
        campaign.apply(CampaignChange::Pause).expect("pauses");
        assert_eq!((campaign.entry_at(1_500), campaign.entry_at(2_000)), (Entry::Paused, Entry::Closed));
    }

    #[test]
    fn a_top_up_adds_to_each_shard_and_a_reshard_spreads_what_remains() {
        let mut campaign = campaign(10, 4);
        campaign.apply(CampaignChange::TopUp(5)).expect("tops up");
        assert_eq!((campaign.total, stock_of(&campaign)), (15, vec![5, 4, 3, 3]));
        campaign.apply(CampaignChange::Reshard(2)).expect("reshards");
        assert_eq!((campaign.total, stock_of(&campaign)), (15, vec![8, 7]));
    }

    #[test]
    fn a_top_up_past_the_bound_is_refused_and_changes_nothing() {
        let mut campaign = campaign(10, 4);
        for amount in [NewCampaign::TOTAL_MAX - 9, u64::MAX] {
            assert_eq!(campaign.apply(CampaignChange::TopUp(amount)), Err(ChangeError::TotalTooLarge));
        }
        assert_eq!(campaign.total, 10);
        campaign.apply(CampaignChange::TopUp(NewCampaign::TOTAL_MAX - 10)).expect("reaches the bound");
    }

    #[test]
    fn a_closed_campaign_allows_no_change_but_closing_again() {
        let mut campaign = campaign(10, 4);
        for _ in 0..2 {
            campaign.apply(CampaignChange::Close).expect("closes");
        }
        for change in
            [CampaignChange::Pause, CampaignChange::Resume, CampaignChange::TopUp(1), CampaignChange::Reshard(2)]
        {
            assert_eq!(campaign.apply(change), Err(ChangeError::Closed(campaign.coupon_id)));
        }
        assert_eq!((campaign.state, campaign.total), (CampaignState::Closed, 10));
    }

    #[test]
    fn a_campaign_has_the_terms_it_was_created_with_until_they_change() {
        let mut campaign = campaign(10, 4);
        campaign.apply(CampaignChange::Pause).expect("pauses");
        assert!(campaign.has_terms_of(&new_campaign(10, 4)));
        assert!(!campaign.has_terms_of(&new_campaign(10, 5)));
        campaign.apply(CampaignChange::TopUp(1)).expect("tops up");
        assert!(!campaign.has_terms_of(&new_campaign(10, 4)));
    }

    proptest! {
        #[test]
        fn spreading_neither_creates_nor_loses_a_coupon(stock in 0..1_000_000_u64, shards in 1..257_u32) {
            let spread = spread(stock, shards);
            prop_assert_eq!(spread.iter().map(|shard| shard.remaining).sum::<u64>(), stock);
            let (least, most) = spread.iter().fold((u64::MAX, 0), |(least, most), shard| {
                (least.min(shard.remaining), most.max(shard.remaining))
            });
            prop_assert!(most - least <= 1);
        }
    }
}
