//! Ledger groups, and how the partitions of the log are divided among them.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::id::mix64;
use super::{CouponId, PartitionNo, ShardNo};

/// A ledger group: 0, 1, 2, … It has a database and partitions of its own. A coupon belongs to one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct GroupNo(pub u32);

impl GroupNo {
    /// The only one by default. Its database also holds what belongs to no coupon, such as the pipeline.
    pub const FIRST: Self = Self(0);

    /// The group of a new coupon for which no group was named, by rendezvous hashing: with one group more, most coupons
    /// still have the same one.
    #[must_use]
    pub fn of(coupon: CouponId, groups: u32) -> Self {
        let weight = |group: &u32| mix64(coupon.get() ^ mix64(u64::from(*group)));
        Self((0..groups).max_by_key(weight).unwrap_or(0))
    }

    /// The name of a task that runs once for each group.
    #[must_use]
    pub fn task(self, name: &'static str) -> Cow<'static, str> {
        if self == Self::FIRST { name.into() } else { format!("{name} of group {self}").into() }
    }

    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for GroupNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which partitions belong to which group: of `n` each, group `g` has those from `g * n` on. So the partitions of a
/// group keep their numbers when others are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupLayout {
    groups: u32,
    partitions_each: u32,
}

impl GroupLayout {
    /// Both at least 1.
    #[must_use]
    pub const fn new(groups: u32, partitions_each: u32) -> Self {
        Self { groups, partitions_each }
    }

    #[must_use]
    pub const fn number_of_groups(self) -> u32 {
        self.groups
    }

    #[must_use]
    pub const fn partitions_each(self) -> u32 {
        self.partitions_each
    }

    pub fn groups(self) -> impl Iterator<Item = GroupNo> {
        (0..self.groups).map(GroupNo)
    }

    /// The group of a partition. `None` if the log has no such partition.
    #[must_use]
    pub fn group_of(self, partition: PartitionNo) -> Option<GroupNo> {
        let group = GroupNo(partition.0 / self.partitions_each);
        (group.0 < self.groups).then_some(group)
    }

    /// The partitions of a group, in order.
    pub fn partitions_of(self, group: GroupNo) -> impl Iterator<Item = PartitionNo> + Clone {
        let first = group.0 * self.partitions_each;
        (first..first + self.partitions_each).map(PartitionNo)
    }

    /// The partition of a shard's requests.
    #[must_use]
    pub fn partition(self, group: GroupNo, coupon: CouponId, shard: ShardNo) -> PartitionNo {
        let within = PartitionNo::of(coupon, shard, self.partitions_each);
        PartitionNo(group.0 * self.partitions_each + within.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coupon(number: u64) -> CouponId {
        number.try_into().expect("in range")
    }

    #[test]
    fn the_group_of_a_coupon_is_stable_across_releases() {
        let groups: Vec<u32> = (101..=110).map(|number| GroupNo::of(coupon(number), 3).0).collect();
        assert_eq!(groups, [2, 1, 1, 0, 0, 1, 2, 0, 2, 0]);
        assert!((1..1_000).all(|number| GroupNo::of(coupon(number), 1) == GroupNo::FIRST));
    }

    #[test]
    fn a_group_that_is_added_takes_its_share_and_no_other_coupon_moves() {
        let numbers = 1..=10_000;
        let before = numbers.clone().map(|number| GroupNo::of(coupon(number), 3));
        let after = numbers.map(|number| GroupNo::of(coupon(number), 4));
        let moved: Vec<_> = before.zip(after).filter(|(before, after)| before != after).collect();
        assert!((2_300..2_700).contains(&moved.len()), "{}", moved.len());
        assert!(moved.iter().all(|(_, after)| *after == GroupNo(3)));
    }

    #[test]
    fn the_partitions_of_a_group_are_its_own_and_those_of_the_first_group_are_as_without_groups() {
        let layout = GroupLayout::new(3, 12);
        for shard in (0..24).map(ShardNo) {
            assert_eq!(layout.partition(GroupNo::FIRST, coupon(104), shard), PartitionNo::of(coupon(104), shard, 12));
            for group in layout.groups() {
                let partition = layout.partition(group, coupon(104), shard);
                assert_eq!(layout.group_of(partition), Some(group));
                assert!(layout.partitions_of(group).any(|own| own == partition));
            }
        }
        assert_eq!(layout.group_of(PartitionNo(36)), None);
    }
}
