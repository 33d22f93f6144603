//! Hash tables from a row's key to its group.
//!
//! Comes in: keys of one or more 64-bit words. Goes out: the key's group, numbered as the keys appear. Nothing fails. Hashes
//! are seeded at random, so no choice of keys makes the tables slow; groups do not depend on them.

use std::hash::{BuildHasher, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::EMPTY;

/// Slots of the smallest table.
const LEAST_SLOTS: usize = 1 << 10;

/// Groups by keys of one word: open addressing, a key beside its group, so that a look-up is one cache line.
#[derive(Debug, Default)]
pub(super) struct WordTable {
    hasher: DefaultHashBuilder,
    /// A power of two of slots, at most half of them occupied.
    slots: Vec<Slot>,
    groups: usize,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    key: u64,
    /// [`EMPTY`] in a free slot.
    group: u32,
}

const FREE: Slot = Slot { key: 0, group: EMPTY };

impl WordTable {
    /// Forgets all keys and makes room for about as many groups as there were before.
    pub fn reset(&mut self) {
        let slots = (4 * self.groups).next_power_of_two().max(LEAST_SLOTS);
        if slots == self.slots.len() {
            self.slots.fill(FREE);
        } else {
            self.slots = vec![FREE; slots];
        }
        self.groups = 0;
    }

    /// The group of `key`, and whether it is new.
    #[inline]
    pub fn find_or_insert(&mut self, key: u64) -> (u32, bool) {
        let mask = self.slots.len() - 1;
        let mut index = self.hasher.hash_one(key) as usize & mask;
        loop {
            let slot = self.slots[index];
            if slot.group == EMPTY {
                return (self.insert(index, key), true);
            }
            if slot.key == key {
                return (slot.group, false);
            }
            index = (index + 1) & mask;
        }
    }

    fn insert(&mut self, index: usize, key: u64) -> u32 {
        let group = self.groups as u32;
        self.slots[index] = Slot { key, group };
        self.groups += 1;
        if 2 * self.groups > self.slots.len() {
            self.grow();
        }
        group
    }

    #[cold]
    fn grow(&mut self) {
        let mask = 4 * self.slots.len() - 1;
        let old = std::mem::replace(&mut self.slots, vec![FREE; mask + 1]);
        for slot in old.into_iter().filter(|slot| slot.group != EMPTY) {
            let mut index = self.hasher.hash_one(slot.key) as usize & mask;
            while self.slots[index].group != EMPTY {
                index = (index + 1) & mask;
            }
            self.slots[index] = slot;
        }
    }
}

/// Groups by keys of several words.
#[derive(Debug, Default)]
pub(super) struct WideTable {
    hasher: DefaultHashBuilder,
    table: HashTable<u32>,
    /// The words of each group's key.
    keys: Vec<u64>,
}

impl WideTable {
    /// Forgets all keys.
    pub fn reset(&mut self) {
        self.table.clear();
        self.keys.clear();
    }

    /// The group of `key`, and whether it is new. All keys have the same number of words.
    #[inline]
    pub fn find_or_insert(&mut self, key: &[u64]) -> (u32, bool) {
        let (hasher, keys, width) = (&self.hasher, &mut self.keys, key.len());
        let stored =
            |keys: &[u64], group: u32| group as usize * width..(group as usize * width + width).min(keys.len());
        let hash = hash(hasher, key);
        if let Some(&group) = self.table.find(hash, |&group| keys[stored(keys, group)].iter().eq(key)) {
            return (group, false);
        }
        let group = self.table.len() as u32;
        keys.extend_from_slice(key);
        self.table.insert_unique(hash, group, |&group| self::hash(hasher, &keys[stored(keys, group)]));
        (group, true)
    }
}

#[inline]
fn hash(hasher: &DefaultHashBuilder, key: &[u64]) -> u64 {
    let mut hasher = hasher.build_hasher();
    key.iter().for_each(|&word| hasher.write_u64(word));
    hasher.finish()
}
