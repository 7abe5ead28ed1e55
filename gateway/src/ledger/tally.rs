//! What a batch adds to the tallies, from which an audit is read.

use std::collections::BTreeMap;

use crate::coupon::{CouponId, Outcome, PartitionNo, Reason, Settled, ShardNo};

/// A row of `outcome_tally`, in the order of its columns: coupon, partition, shard, granted, users, picked, sold out,
/// user limit, invalid.
pub(super) type TallyRow = (CouponId, PartitionNo, ShardNo, u64, u64, u64, u64, u64, u64);

#[derive(Default)]
struct Tally {
    granted: u64,
    users: u64,
    picked: u64,
    sold_out: u64,
    user_limit: u64,
    invalid: u64,
}

/// In the order of the table's key. An outcome without a coupon belongs to no audit.
pub(super) fn tally_rows(settled: &[Settled]) -> Vec<TallyRow> {
    let mut tallies: BTreeMap<(CouponId, PartitionNo, ShardNo), Tally> = BTreeMap::new();
    for Settled { subject, outcome, partition, .. } in settled {
        let Some(subject) = subject else { continue };
        let tally = tallies.entry((subject.coupon_id, *partition, subject.picked_shard)).or_default();
        tally.picked += 1;
        match *outcome {
            Outcome::Rejected(Reason::SoldOut) => tally.sold_out += 1,
            Outcome::Rejected(Reason::UserLimit) => tally.user_limit += 1,
            Outcome::Rejected(Reason::Invalid) => tally.invalid += 1,
            Outcome::Issued { shard, grant_no } => {
                let tally = tallies.entry((subject.coupon_id, *partition, shard)).or_default();
                tally.granted += 1;
                tally.users += u64::from(grant_no == 1);
            }
        }
    }
    let row = |((coupon, partition, shard), tally): (_, Tally)| {
        let Tally { granted, users, picked, sold_out, user_limit, invalid } = tally;
        (coupon, partition, shard, granted, users, picked, sold_out, user_limit, invalid)
    };
    tallies.into_iter().map(row).collect()
}
