//! Counts of rows and of values.
//!
//! Comes in: selected rows with their groups. Goes out: one count a group. Nothing fails.

use super::column::{AllValid, Codes, Truths, Validity};
use super::filter::is_true;
use crate::program::{Bits, Column};

/// Which rows of a column have a value.
#[derive(Clone, Copy)]
pub(super) enum Counted<'a> {
    Every,
    Bits(Bits<'a>),
    Codes(Codes<'a>),
    Truths(Truths<'a>),
}

impl<'a> From<Option<Bits<'a>>> for Counted<'a> {
    fn from(valid: Option<Bits<'a>>) -> Self {
        valid.map_or(Self::Every, Self::Bits)
    }
}

impl<'a> From<Column<'a>> for Counted<'a> {
    fn from(column: Column<'a>) -> Self {
        match column {
            Column::I64 { valid, .. } | Column::F64 { valid, .. } => valid.into(),
            Column::Code { codes, cardinality } => Self::Codes(Codes { codes, cardinality }),
            Column::Truth(values) => Self::Truths(Truths(values)),
        }
    }
}

/// Counts of one aggregate.
pub(super) struct Counts<'a> {
    counted: Counted<'a>,
    /// `None` where every row of a group counts: the group's own number of rows is the answer.
    own: Option<Vec<u64>>,
}

impl<'a> Counts<'a> {
    /// Counts the rows that `counted` lets pass, of all rows of a group or only of those that pass a filter, for about
    /// `hint` groups.
    pub fn new(counted: Counted<'a>, filtered: bool, hint: usize) -> Self {
        let same = matches!(counted, Counted::Every) && !filtered;
        Self { counted, own: (!same).then(|| Vec::with_capacity(hint)) }
    }

    pub fn update(&mut self, rows: &[u32], groups: &[u32], group_count: usize) {
        let Some(counts) = &mut self.own else {
            return;
        };
        counts.resize(group_count, 0);
        match self.counted {
            Counted::Every => count(rows, groups, AllValid, counts),
            Counted::Bits(valid) => count(rows, groups, valid, counts),
            Counted::Codes(valid) => count(rows, groups, valid, counts),
            Counted::Truths(valid) => count(rows, groups, valid, counts),
        }
    }

    /// Counts the rows for which a predicate is TRUE, without a selection of them.
    pub fn update_where(&mut self, truths: &[u8], start: usize, rows: &[u32], groups: &[u32], group_count: usize) {
        if let Some(counts) = &mut self.own {
            counts.resize(group_count, 0);
            let counts = counts.as_mut_slice();
            for (&row, &group) in rows.iter().zip(groups) {
                counts[group as usize] += is_true(truths, start, row);
            }
        }
    }

    pub fn finish(self, rows: &[u64]) -> Vec<u64> {
        match self.own {
            Some(mut counts) => {
                counts.resize(rows.len(), 0);
                counts
            }
            None => rows.to_vec(),
        }
    }
}

/// Adds one for each row that has a value.
pub(super) fn count(rows: &[u32], groups: &[u32], valid: impl Validity, counts: &mut [u64]) {
    for (&row, &group) in rows.iter().zip(groups) {
        counts[group as usize] += u64::from(valid.is_valid(row));
    }
}
