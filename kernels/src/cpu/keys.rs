//! Rows to groups.
//!
//! Comes in: selected rows, the ordinals of their panes, the key columns. Goes out: the group of each row, groups being
//! numbered in the order of their first row. Fails only on a batch whose key columns are missing or of the wrong type.
//!
//! Two tiers. Dense: where all keys are codes and panes times dictionaries are few, the combination is an index into an
//! array of groups. Hash: otherwise the combination is packed into 64-bit words (nearly always one) and looked up. Panes
//! appear as the batch goes on, so that a batch may start dense and go on hashed.

use super::EMPTY;
use super::column::{Codes, Integers, Validity, column, wrong_type};
use super::table::{WideTable, WordTable};
use crate::error::KernelError;
use crate::program::{Batch, Column, ColumnId};

/// Slots of the dense tier that are always worth it.
const FEW_SLOTS: usize = 1 << 12;
/// Slots of the dense tier that are too many for any batch.
const MANY_SLOTS: usize = 1 << 22;

/// Memory that one batch after the other uses.
#[derive(Debug, Default)]
pub(super) struct KeyScratch {
    slots: Vec<u32>,
    words: Vec<u64>,
    dense: Vec<u32>,
    narrow: WordTable,
    wide: WideTable,
}

/// The groups of one batch.
pub(super) struct Grouping<'a> {
    keys: Vec<Key<'a>>,
    tier: Tier,
    layout: Layout,
    /// The first row of each group.
    pub first_rows: Vec<u32>,
    /// The ordinal of each group's pane, 0 without panes.
    pub panes: Vec<u32>,
}

#[derive(Clone, Copy)]
enum Key<'a> {
    Code(Codes<'a>),
    Integer(Integers<'a>),
}

#[derive(Clone, Copy)]
enum Tier {
    /// `stride` slots a pane, at most `limit` slots in all.
    Dense { stride: usize, limit: usize },
    /// Packed keys of one word.
    Word,
    /// Packed keys of several words.
    Wide,
}

/// Where the parts of a key go in its words.
#[derive(Default)]
struct Layout {
    fields: Vec<Field>,
    words: usize,
    /// Bits that are taken in the word that bit fields go to.
    taken: u32,
    /// That word.
    open: usize,
}

struct Field {
    part: Part,
    word: usize,
    shift: u32,
}

#[derive(Clone, Copy)]
enum Part {
    Pane,
    Code(usize),
    Integer(usize),
    IsNull(usize),
}

impl<'a> Grouping<'a> {
    pub fn new(
        batch: &Batch<'a>,
        ids: &[ColumnId],
        has_panes: bool,
        hint: usize,
        scratch: &mut KeyScratch,
    ) -> Result<Self, KernelError> {
        let mut keys = Vec::with_capacity(ids.len());
        for &id in ids {
            keys.push(match column(batch, id)? {
                Column::Code { codes, cardinality } => Key::Code(Codes { codes, cardinality }),
                Column::I64 { values, valid } => Key::Integer(Integers { values, valid }),
                _ => return Err(wrong_type(id, "codes or integers")),
            });
        }
        let layout = Layout::new(&keys, has_panes);
        // An array that is much larger than the batch costs more to clear than hashing the batch's rows.
        let limit = (2 * batch.rows).clamp(FEW_SLOTS, MANY_SLOTS);
        let stride = keys.iter().try_fold(1usize, |stride, key| match key {
            Key::Code(codes) => stride.checked_mul(codes.cardinality as usize + 1).filter(|&stride| stride <= limit),
            Key::Integer(_) => None,
        });
        let mut grouping = Self {
            keys,
            tier: Tier::Wide,
            layout,
            first_rows: Vec::with_capacity(hint),
            panes: Vec::with_capacity(hint),
        };
        match stride {
            Some(stride) => {
                scratch.dense.clear();
                grouping.tier = Tier::Dense { stride, limit };
            }
            None => grouping.hash(scratch),
        }
        Ok(grouping)
    }

    /// Number of groups so far.
    pub fn len(&self) -> usize {
        self.first_rows.len()
    }

    /// Writes each row's group. `ordinals` are the rows' panes, of which there are `pane_count`; without panes both are
    /// empty.
    pub fn assign(
        &mut self,
        rows: &[u32],
        ordinals: &[u32],
        pane_count: usize,
        scratch: &mut KeyScratch,
        groups: &mut Vec<u32>,
    ) {
        groups.clear();
        if let Tier::Dense { stride, limit } = self.tier {
            let needed = stride.saturating_mul(pane_count.max(1));
            if needed <= limit {
                scratch.dense.resize(needed, EMPTY);
                return self.assign_dense(rows, ordinals, scratch, groups);
            }
            self.hash(scratch);
        }
        self.pack(rows, ordinals, &mut scratch.words);
        let width = self.layout.words;
        let ordinal = |index: usize| ordinals.get(index).copied().unwrap_or(0);
        match self.tier {
            Tier::Word => {
                for (index, (&row, &key)) in rows.iter().zip(&scratch.words).enumerate() {
                    let (group, new) = scratch.narrow.find_or_insert(key);
                    if new {
                        self.first_rows.push(row);
                        self.panes.push(ordinal(index));
                    }
                    groups.push(group);
                }
            }
            _ => {
                for (index, (&row, key)) in rows.iter().zip(scratch.words.chunks_exact(width)).enumerate() {
                    let (group, new) = scratch.wide.find_or_insert(key);
                    if new {
                        self.first_rows.push(row);
                        self.panes.push(ordinal(index));
                    }
                    groups.push(group);
                }
            }
        }
    }

    fn assign_dense(&mut self, rows: &[u32], ordinals: &[u32], scratch: &mut KeyScratch, groups: &mut Vec<u32>) {
        let slots = &mut scratch.slots;
        slots.clear();
        if ordinals.is_empty() {
            slots.resize(rows.len(), 0);
        } else {
            slots.extend_from_slice(ordinals);
        }
        for key in &self.keys {
            if let Key::Code(Codes { codes, cardinality }) = *key {
                for (slot, &row) in slots.iter_mut().zip(rows) {
                    *slot = *slot * (cardinality + 1) + codes[row as usize];
                }
            }
        }
        let dense = scratch.dense.as_mut_slice();
        groups.extend(slots.iter().zip(rows).enumerate().map(|(index, (&slot, &row))| {
            let group = &mut dense[slot as usize];
            if *group == EMPTY {
                *group = self.first_rows.len() as u32;
                self.first_rows.push(row);
                self.panes.push(ordinals.get(index).copied().unwrap_or(0));
            }
            *group
        }));
    }

    /// Goes on in the hash tier with the groups there are.
    fn hash(&mut self, scratch: &mut KeyScratch) {
        self.pack(&self.first_rows, &self.panes, &mut scratch.words);
        if self.layout.words == 1 {
            self.tier = Tier::Word;
            scratch.narrow.reset();
            for &key in &scratch.words {
                scratch.narrow.find_or_insert(key);
            }
        } else {
            self.tier = Tier::Wide;
            scratch.wide.reset();
            for key in scratch.words.chunks_exact(self.layout.words) {
                scratch.wide.find_or_insert(key);
            }
        }
    }

    /// Packs the keys of `rows`, row by row.
    fn pack(&self, rows: &[u32], ordinals: &[u32], words: &mut Vec<u64>) {
        let width = self.layout.words;
        words.clear();
        words.resize(rows.len() * width, 0);
        for field in &self.layout.fields {
            // One iterator for one word a key, which the compiler sees through, and one for several.
            if width == 1 {
                self.pack_field(field, rows, ordinals, words.iter_mut());
            } else {
                self.pack_field(field, rows, ordinals, words.iter_mut().skip(field.word).step_by(width));
            }
        }
    }

    fn pack_field<'w>(
        &self,
        field: &Field,
        rows: &[u32],
        ordinals: &[u32],
        targets: impl Iterator<Item = &'w mut u64>,
    ) {
        match field.part {
            Part::Pane => {
                targets.zip(ordinals).for_each(|(word, &ordinal)| *word |= u64::from(ordinal) << field.shift);
            }
            Part::Code(key) => {
                if let Key::Code(codes) = self.keys[key] {
                    targets.zip(rows).for_each(|(word, &row)| {
                        *word |= u64::from(codes.codes[row as usize]) << field.shift;
                    });
                }
            }
            Part::Integer(key) => {
                if let Key::Integer(integers) = self.keys[key] {
                    targets.zip(rows).for_each(|(word, &row)| {
                        // What lies under a NULL is not part of the key.
                        let valid = integers.valid.is_none_or(|valid| valid.is_valid(row));
                        *word = if valid { integers.values[row as usize] as u64 } else { 0 };
                    });
                }
            }
            Part::IsNull(key) => {
                if let Key::Integer(Integers { valid: Some(valid), .. }) = self.keys[key] {
                    targets.zip(rows).for_each(|(word, &row)| {
                        *word |= u64::from(!valid.is_valid(row)) << field.shift;
                    });
                }
            }
        }
    }
}

impl Layout {
    fn new(keys: &[Key], has_panes: bool) -> Self {
        let mut layout = Self { taken: u64::BITS, ..Self::default() };
        if has_panes {
            layout.add_bits(Part::Pane, u32::BITS);
        }
        for (index, key) in keys.iter().enumerate() {
            match key {
                Key::Code(codes) => layout.add_bits(Part::Code(index), u32::BITS - codes.cardinality.leading_zeros()),
                Key::Integer(integers) => {
                    layout.fields.push(Field { part: Part::Integer(index), word: layout.words, shift: 0 });
                    layout.words += 1;
                    if integers.valid.is_some() {
                        layout.add_bits(Part::IsNull(index), 1);
                    }
                }
            }
        }
        layout.words = layout.words.max(1);
        layout
    }

    fn add_bits(&mut self, part: Part, bits: u32) {
        // A dictionary without entries has one code, 0 for NULL, which needs no bits.
        if bits == 0 {
            return;
        }
        if self.taken + bits > u64::BITS {
            (self.open, self.taken) = (self.words, 0);
            self.words += 1;
        }
        self.fields.push(Field { part, word: self.open, shift: self.taken });
        self.taken += bits;
    }
}
