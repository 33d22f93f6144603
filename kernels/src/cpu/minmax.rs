//! Least and greatest values by order key.
//!
//! Comes in: selected rows with their groups. Goes out: one key a group, or None without a value. Fails only on a batch
//! whose column has no order.

use super::column::{AllValid, Validity, column, wrong_type};
use crate::error::KernelError;
use crate::order_key::order_key;
use crate::program::{Batch, Bits, Column, ColumnId};

/// Extremes of one aggregate.
pub(super) struct Extremes<'a> {
    values: Values<'a>,
    valid: Option<Bits<'a>>,
    /// All ones for the least value: complemented keys are in reverse order, so that both are a maximum.
    flip: i64,
    best: Vec<i64>,
    seen: Vec<bool>,
}

#[derive(Clone, Copy)]
enum Values<'a> {
    Integers(&'a [i64]),
    Doubles(&'a [f64]),
}

impl<'a> Extremes<'a> {
    pub fn new(batch: &Batch<'a>, id: ColumnId, greatest: bool) -> Result<Self, KernelError> {
        let (values, valid) = match column(batch, id)? {
            Column::I64 { values, valid } => (Values::Integers(values), valid),
            Column::F64 { values, valid } => (Values::Doubles(values), valid),
            _ => return Err(wrong_type(id, "integers or doubles")),
        };
        Ok(Self { values, valid, flip: if greatest { 0 } else { -1 }, best: Vec::new(), seen: Vec::new() })
    }

    pub fn update(&mut self, rows: &[u32], groups: &[u32], group_count: usize) {
        self.best.resize(group_count, i64::MIN);
        self.seen.resize(group_count, false);
        match (self.values, self.valid) {
            (Values::Integers(values), None) => self.improve(rows, groups, AllValid, |row| values[row]),
            (Values::Integers(values), Some(valid)) => self.improve(rows, groups, valid, |row| values[row]),
            (Values::Doubles(values), None) => self.improve(rows, groups, AllValid, |row| order_key(values[row])),
            (Values::Doubles(values), Some(valid)) => self.improve(rows, groups, valid, |row| order_key(values[row])),
        }
    }

    #[inline(always)]
    fn improve(&mut self, rows: &[u32], groups: &[u32], valid: impl Validity, key: impl Fn(usize) -> i64) {
        let (best, seen, flip) = (self.best.as_mut_slice(), self.seen.as_mut_slice(), self.flip);
        for (&row, &group) in rows.iter().zip(groups) {
            if valid.is_valid(row) {
                let best = &mut best[group as usize];
                *best = (*best).max(key(row as usize) ^ flip);
                seen[group as usize] = true;
            }
        }
    }

    pub fn finish(mut self, group_count: usize) -> Vec<Option<i64>> {
        self.best.resize(group_count, i64::MIN);
        self.seen.resize(group_count, false);
        self.best.iter().zip(&self.seen).map(|(&best, &seen)| seen.then_some(best ^ self.flip)).collect()
    }
}
