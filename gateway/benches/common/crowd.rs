//! The users of a load, and the coupons that they request.

use std::io::Write;
use std::ops::Range;

use super::backlog::COUPON;

pub(crate) struct Crowd {
    users: Range<u64>,
    coupons: Range<u64>,
    asked: u64,
}

impl Crowd {
    /// Users and coupons take turns.
    pub(crate) fn new(users: Range<u64>, coupons: Range<u64>) -> Self {
        Self { users, coupons, asked: 0 }
    }

    /// Each request is from another user, for the coupon of [`Server::open_campaign`](super::Server::open_campaign).
    pub(crate) fn strangers() -> Self {
        Self::new(1..u64::MAX, COUPON..COUPON + 1)
    }

    /// Strangers that no earlier benchmark had: counters on a server may remember those.
    pub(crate) fn newcomers() -> Self {
        let first = u64::from(rand::random::<u32>()) << 30;
        Self::new(first + 1..u64::MAX, COUPON..COUPON + 1)
    }

    /// Writes the next body, with the fields of the write-up's load script. Returns the user.
    pub(crate) fn write_next(&mut self, body: &mut Vec<u8>) -> u64 {
        let in_turn = |range: &Range<u64>| range.start + self.asked % (range.end - range.start);
        let (user, coupon) = (in_turn(&self.users), in_turn(&self.coupons));
        self.asked += 1;
        write!(
            body,
            "{{\"userId\":{user},\"couponId\":{coupon},\"policyId\":21,\"typeSnapshot\":\"FIXED\",\
             \"discountRateSnapshot\":10.0,\"discountAmountSnapshot\":1000,\"minimumOrderAmountSnapshot\":5000,\
             \"usagePeriodSnapshot\":30,\"expiredAt\":\"2025-12-31T23:59:59\"}}"
        )
        .expect("memory takes it");
        user
    }
}
