//! A sharded hash table of counters in bounded memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A keyed hash of the counter's identity: 64 uniform bits.
pub(super) type Key = u64;

/// Far more shards than threads, so that two threads rarely lock the same one.
const SHARDS: usize = 64;

/// Three quarters of a hash table with 16,384 slots, which grows at seven eighths: the difference is for the tombstones
/// that removals leave. A shard has two such generations, so a table holds up to 1,572,864 requests, in about 90 MB when
/// every request is from a different user.
const GENERATION_WEIGHT_MAX: usize = 12_288;

pub(super) trait Counter: Default {
    /// Its memory, counted in requests; at least 1.
    fn weight(&self) -> usize {
        1
    }

    /// Whether it equals a new counter, so that it can be removed.
    fn is_idle(&self) -> bool {
        false
    }
}

pub(super) struct Table<C> {
    shards: [Mutex<Shard<C>>; SHARDS],
}

impl<C: Counter> Default for Table<C> {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl<C: Counter> Table<C> {
    /// Changes a counter, which is created if it does not exist.
    pub(super) fn update<R>(&self, key: Key, change: impl FnOnce(&mut C) -> R) -> R {
        self.shard(key).update(key, change)
    }

    /// Like [`update`](Table::update), but ignores a counter that does not exist and removes one that becomes idle.
    pub(super) fn reduce(&self, key: Key, change: impl FnOnce(&mut C)) {
        self.shard(key).reduce(key, change);
    }

    /// Reads a counter if it exists. That is no use of it: it does not keep the counter from being evicted.
    pub(super) fn read<R>(&self, key: Key, read: impl FnOnce(&C) -> R) -> Option<R> {
        self.shard(key).get(key).map(read)
    }

    /// Ignores poisoning: a panic during a change leaves at most one counter slightly wrong.
    fn shard(&self, key: Key) -> MutexGuard<'_, Shard<C>> {
        // The middle bits: within a shard, the hash map uses the low bits for the slot and the high bits as its tag.
        let index = ((key >> 32) % SHARDS as u64) as usize;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Evicts in two generations. A counter that is used moves to the young one; when that is full it becomes the old one,
/// and the old one is dropped. So the least recently used counters go first, among them expired windows and full buckets.
/// A counter in constant use, such as the gateway's own, is never evicted.
struct Shard<C> {
    young: Generation<C>,
    young_weight: usize,
    old: Generation<C>,
}

type Generation<C> = HashMap<Key, C, BuildHasherDefault<AlreadyUniform>>;

/// A [`Key`] is a hash already.
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
            self.rotate();
        }
        answer
    }

    fn get(&self, key: Key) -> Option<&C> {
        self.young.get(&key).or_else(|| self.old.get(&key))
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

    /// Swaps and clears, so that the new young generation reuses the memory of the dropped one.
    fn rotate(&mut self) {
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
    fn a_shard_holds_at_most_two_generations_and_never_reallocates_beyond_them() {
        let mut shard = Shard::default();
        for key in 0..10 * GENERATION_WEIGHT_MAX as u64 {
            shard.update(key, Tally::add_one);
            assert!(counters(&shard) <= 2 * GENERATION_WEIGHT_MAX);
        }
        let seven_eighths = 16_384 / 8 * 7;
        assert_eq!((shard.young.capacity(), shard.old.capacity()), (seven_eighths, seven_eighths));
    }

    #[test]
    fn a_heavy_counter_uses_the_space_of_many() {
        let mut shard = Shard::default();
        for _ in 0..GENERATION_WEIGHT_MAX {
            shard.update(1, Tally::add_one);
        }
        assert_eq!(shard.young.len(), 0, "the generation was full");
        assert_eq!(shard.update(1, Tally::add_one), GENERATION_WEIGHT_MAX + 1, "a counter in use is kept");
    }

    #[test]
    fn a_counter_in_use_is_never_evicted() {
        let mut shard = Shard::default();
        for key in 1..10 * GENERATION_WEIGHT_MAX as u64 {
            shard.update(key, Tally::add_one);
            if key % 1_000 == 0 {
                assert_eq!(shard.update(0, Tally::add_one) as u64, key / 1_000);
            }
        }
    }

    #[test]
    fn an_idle_counter_is_removed_at_once_from_either_generation() {
        let mut shard = Shard::default();
        shard.update(1, Tally::add_one);
        shard.rotate();
        shard.update(2, Tally::add_one);
        for key in [1, 2] {
            shard.reduce(key, |tally| tally.0 -= 1);
        }
        assert_eq!((counters(&shard), shard.young_weight), (0, 0));
    }
}
