//! Random numbers from a request's `entropy`, because a policy has no other source.

/// 2⁶⁴ divided by the golden ratio. It is odd, so adding it repeatedly visits every 64-bit number once.
const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

/// A generator of random numbers (SplitMix64). The same `entropy` gives the same numbers.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// Starts from the `entropy` of a request.
    #[must_use]
    pub fn new(entropy: u64) -> Self {
        Self { state: entropy }
    }

    /// 64 uniformly distributed bits.
    pub fn bits(&mut self) -> u64 {
        let state = self.state;
        self.state = state.wrapping_add(INCREMENT);
        mix(state)
    }

    /// A number from 0 to `end` - 1, or 0 if `end` is 0.
    ///
    /// It multiplies and shifts, which is faster than a modulo. The probability of a number is off by at most
    /// 2⁻⁶⁴.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }
}

/// Hashes a number: close inputs give unrelated outputs, and different inputs different outputs (the
/// finalizer of SplitMix64).
#[must_use]
pub const fn mix(number: u64) -> u64 {
    let mut bits = number.wrapping_add(INCREMENT);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_published_algorithm() {
        let mut random = Random::new(1_234_567);
        assert_eq!(
            [random.bits(), random.bits(), random.bits()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn every_number_below_the_end_is_equally_frequent() {
        let mut random = Random::new(7);
        let mut frequencies = [0_u32; 10];
        for _ in 0..100_000 {
            frequencies[random.below(10) as usize] += 1;
        }
        for frequency in frequencies {
            assert!((9_500..10_500).contains(&frequency), "{frequencies:?}");
        }
    }

    #[test]
    fn a_number_stays_below_the_smallest_and_the_largest_end() {
        let mut random = Random::new(0);
        for _ in 0..1_000 {
            assert_eq!(random.below(0), 0);
            assert_eq!(random.below(1), 0);
            assert!(random.below(u64::MAX) < u64::MAX);
        }
    }

    #[test]
    fn the_largest_entropy_gives_numbers_like_any_other() {
        let mut random = Random::new(u64::MAX);
        let numbers: Vec<u64> = (0..100).map(|_| random.below(1_000)).collect();
        assert!(numbers.iter().any(|number| *number < 500) && numbers.iter().any(|number| *number >= 500));
    }
}
