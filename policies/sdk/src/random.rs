//! Randomness without a source of its own: all of it comes from a request's `entropy`.

/// The fraction of the golden ratio: an increment that visits all 64-bit numbers, evenly.
const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

/// As many random numbers as a decision needs, the same for the same `entropy` (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// Begins at the `entropy` of a request.
    #[must_use]
    pub fn new(entropy: u64) -> Self {
        Self { state: entropy }
    }

    /// 64 uniform bits.
    pub fn bits(&mut self) -> u64 {
        let state = self.state;
        self.state = state.wrapping_add(INCREMENT);
        mix(state)
    }

    /// A number from 0 up to and without `end`, or 0 when `end` is 0.
    ///
    /// Scales 64 bits down by a multiplication, which favours no number by more than `end` / 2⁶⁴.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }
}

/// Spreads a number over all 64 bits, one to one: what is near becomes far (SplitMix64's finalizer).
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
    fn the_sequence_is_the_published_one() {
        let mut random = Random::new(1_234_567);
        assert_eq!(
            [random.bits(), random.bits(), random.bits()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn a_number_below_an_end_is_below_it_and_every_one_comes_equally_often() {
        let mut random = Random::new(7);
        let mut seen = [0_u32; 10];
        for _ in 0..100_000 {
            seen[random.below(10) as usize] += 1;
        }
        for count in seen {
            assert!((9_500..10_500).contains(&count), "{seen:?}");
        }
    }

    #[test]
    fn the_ends_of_the_range_hold() {
        let mut random = Random::new(0);
        for _ in 0..1_000 {
            assert_eq!(random.below(0), 0);
            assert_eq!(random.below(1), 0);
            assert!(random.below(u64::MAX) < u64::MAX);
        }
    }
}
