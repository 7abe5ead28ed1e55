//! Which group a database is, and to which groups coupons are assigned.

use super::{campaign, coupon};
use crate::coupon::GroupNo;
use crate::ledger::{Ledger, Place};

const SECOND: GroupNo = GroupNo(1);

pub(crate) async fn a_coupon_is_assigned_to_one_group_for_ever(ledger: &dyn Ledger) {
    let new = 300_u64.try_into().expect("in range");
    assert_eq!(ledger.group_of(new).await.expect("reads"), None);
    let (one, other) = tokio::join!(ledger.assign_group(new, GroupNo::FIRST), ledger.assign_group(new, GroupNo::FIRST));
    assert_eq!((one.expect("assigns"), other.expect("assigns")), (GroupNo::FIRST, GroupNo::FIRST));
    assert_eq!(ledger.assign_group(new, SECOND).await.expect("reads"), GroupNo::FIRST);
    assert_eq!(ledger.group_of(new).await.expect("reads"), Some(GroupNo::FIRST));
}

pub(crate) async fn a_campaign_that_was_never_assigned_is_in_the_first_group(ledger: &dyn Ledger) {
    ledger.create_campaign(&campaign(1, 1)).await.expect("creates");
    assert_eq!(ledger.group_of(coupon()).await.expect("reads"), Some(GroupNo::FIRST));
    assert_eq!(ledger.assign_group(coupon(), SECOND).await.expect("reads"), GroupNo::FIRST);
}

pub(crate) async fn the_place_of_a_database_stays_and_the_groups_that_it_saw_only_rise(ledger: &dyn Ledger) {
    assert_eq!(ledger.place().await.expect("reads"), None);
    let place = Place { group: SECOND, partitions_each: 12, groups_seen: 2 };
    ledger.store_place(place).await.expect("stores");
    for (group, groups_seen, expected) in [(SECOND, 3, 3), (GroupNo(5), 1, 3)] {
        ledger.store_place(Place { group, partitions_each: 7, groups_seen }).await.expect("stores");
        assert_eq!(ledger.place().await.expect("reads"), Some(Place { groups_seen: expected, ..place }));
    }
}
