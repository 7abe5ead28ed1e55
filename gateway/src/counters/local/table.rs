//! Counters by key, for many threads, in bounded memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A counter's fingerprint: 64 uniform bits.
pub(super) type Key = u64;

/// Far more than threads, so that two seldom want the same one.
const SHARDS: usize = 64;

/// Three quarters of a hash table with 16,384 slots, which grows at seven eighths: the room between
/// is for the marks that removing leaves. A shard has two such generations, so a table remembers up
/// to 1,572,864 requests, in some 90 MB when each is another user's.
const GENERATION_WEIGHT_MAX: usize = 12_288;

/// What a [`Table`] holds.
pub(super) trait Counter: Default {
    /// How many requests it has room for; at least 1.
    fn weight(&self) -> usize {
        1
    }

    /// Whether it says nothing that a new one would not say.
    fn is_idle(&self) -> bool {
        false
    }
}

/// Counters, each of which is changed by one thread at a time.
pub(super) struct Table<C> {
    shards: [Mutex<Shard<C>>; SHARDS],
}

impl<C: Counter> Default for Table<C> {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl<C: Counter> Table<C> {
    /// Changes a counter, a new one if need be.
    pub(super) fn update<R>(&self, key: Key, change: impl FnOnce(&mut C) -> R) -> R {
        self.shard(key).update(key, change)
    }

    /// Changes a counter to remember less. One that is not there is passed over.
    pub(super) fn reduce(&self, key: Key, change: impl FnOnce(&mut C)) {
        self.shard(key).reduce(key, change);
    }

    /// A panic in the middle of a change cannot leave a counter worse than a little wrong.
    fn shard(&self, key: Key) -> MutexGuard<'_, Shard<C>> {
        // The bits in the middle: the hash map finds its slot by the low ones and tells keys apart by the high ones.
        let index = ((key >> 32) % SHARDS as u64) as usize;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Two generations: what is used is young, and when the young are too many they become the old. So
/// what goes is what was not used for longest, among it every window that passed and every bucket
/// that filled up, and a counter in constant use, like the gateway's own, never goes.
struct Shard<C> {
    young: Generation<C>,
    young_weight: usize,
    old: Generation<C>,
}

type Generation<C> = HashMap<Key, C, BuildHasherDefault<AlreadyUniform>>;

/// A [`Key`] is a keyed hash, which need not be hashed again.
#[derive(Default)]
struct AlreadyUniform(u64);

impl Hasher for AlreadyUniform {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl<C> Default for Shard<C> {
    fn default() -> Self {
        Self { young: Generation::default(), young_weight: 0, old: Generation::default() }
    }
}

impl<C: Counter> Shard<C> {
    fn update<R>(&mut self, key: Key, change: impl FnOnce(&mut C) -> R) -> R {
        let (counter, weight_before) = match self.young.entry(key) {
            Entry::Occupied(entry) => {
                let counter = entry.into_mut();
                let weight = counter.weight();
                (counter, weight)
            }
            Entry::Vacant(entry) => (entry.insert(self.old.remove(&key).unwrap_or_default()), 0),
        };
        let answer = change(counter);
        self.young_weight = self.young_weight + counter.weight() - weight_before;
        if self.young_weight >= GENERATION_WEIGHT_MAX {
            self.grow_old();
        }
        answer
    }

    fn reduce(&mut self, key: Key, change: impl FnOnce(&mut C)) {
        if let Some(counter) = self.young.get_mut(&key) {
            self.young_weight -= counter.weight();
            change(counter);
            if counter.is_idle() {
                self.young.remove(&key);
            } else {
                self.young_weight += counter.weight();
            }
        } else if let Some(counter) = self.old.get_mut(&key) {
            change(counter);
            if counter.is_idle() {
                self.old.remove(&key);
            }
        }
    }

    /// The memory of those that go is used for those that come.
    fn grow_old(&mut self) {
        mem::swap(&mut self.young, &mut self.old);
        self.young.clear();
        self.young_weight = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Tally(usize);

    impl Tally {
        fn add_one(&mut self) -> usize {
            self.0 += 1;
            self.0
        }
    }

    impl Counter for Tally {
        fn weight(&self) -> usize {
            self.0.max(1)
        }

        fn is_idle(&self) -> bool {
            self.0 == 0
        }
    }

    fn counters(shard: &Shard<Tally>) -> usize {
        shard.young.len() + shard.old.len()
    }

    #[test]
    fn a_shard_never_holds_more_than_two_generations_and_never_grows_past_them() {
        let mut shard = Shard::default();
        for key in 0..10 * GENERATION_WEIGHT_MAX as u64 {
            shard.update(key, Tally::add_one);
            assert!(counters(&shard) <= 2 * GENERATION_WEIGHT_MAX);
        }
        let seven_eighths = 16_384 / 8 * 7;
        assert_eq!((shard.young.capacity(), shard.old.capacity()), (seven_eighths, seven_eighths));
    }

    #[test]
    fn a_heavy_counter_takes_the_room_of_many() {
        let mut shard = Shard::default();
        for _ in 0..GENERATION_WEIGHT_MAX {
            shard.update(1, Tally::add_one);
        }
        assert_eq!(shard.young.len(), 0, "the generation was full");
        assert_eq!(shard.update(1, Tally::add_one), GENERATION_WEIGHT_MAX + 1, "what is used goes on");
    }

    #[test]
    fn what_is_in_use_is_never_let_go() {
        let mut shard = Shard::default();
        for key in 1..10 * GENERATION_WEIGHT_MAX as u64 {
            shard.update(key, Tally::add_one);
            if key % 1_000 == 0 {
                assert_eq!(shard.update(0, Tally::add_one) as u64, key / 1_000);
            }
        }
    }

    #[test]
    fn what_is_idle_goes_at_once_young_or_old() {
        let mut shard = Shard::default();
        shard.update(1, Tally::add_one);
        shard.grow_old();
        shard.update(2, Tally::add_one);
        for key in [1, 2] {
            shard.reduce(key, |tally| tally.0 -= 1);
        }
        assert_eq!((counters(&shard), shard.young_weight), (0, 0));
    }
}
