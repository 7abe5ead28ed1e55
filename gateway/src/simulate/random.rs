//! Repeatable random numbers.

use crate::coupon::{RequestId, mix64};

/// SplitMix64: fast, and the same seed gives the same numbers in every release.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

/// What the numbers are for. Each use has numbers of its own, so that one does not depend on another.
#[derive(Debug, Clone, Copy)]
pub(super) enum Use {
    Crowd,
    Flood,
    Gateways,
}

impl Random {
    pub(super) fn new(seed: u64, used_for: Use) -> Self {
        Self(mix64(seed ^ mix64(used_for as u64)))
    }

    pub(super) fn bits(&mut self) -> u64 {
        let bits = mix64(self.0);
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        bits
    }

    /// From 0 to below 1.
    pub(super) fn fraction(&mut self) -> f64 {
        // An `f64` holds 53 bits exactly. All 64 could round up to 1.
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From 0 to below `bound`, which is at least 1.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    pub(super) fn request_id(&mut self) -> RequestId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.bits().to_be_bytes());
        bytes[8..].copy_from_slice(&self.bits().to_be_bytes());
        bytes.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_are_the_same_in_every_release() {
        let mut random = Random(0);
        assert_eq!([random.bits(), random.bits()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn every_number_below_the_bound_is_drawn_equally_often() {
        let mut random = Random(1);
        let mut counts = [0_u32; 3];
        (0..30_000).for_each(|_| counts[random.below(3) as usize] += 1);
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 300), "{counts:?}");
        assert!((0..1_000).all(|_| (0.0..1.0).contains(&random.fraction())));
    }
}
