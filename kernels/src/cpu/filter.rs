//! Predicates over a block of rows, and the selection vectors they make.
//!
//! Comes in: a predicate, the batch and a range of rows. Goes out: one truth value a row, then the rows for which it is
//! TRUE. Fails with [`KernelError::InvalidBatch`] where a column or table is missing or of the wrong type.
//!
//! Inside, a truth value is two bits: 1 says TRUE, 2 says FALSE, neither says NULL. So AND, OR and NOT are a few bitwise
//! operations on bytes, which compilers turn into vector instructions.

use std::ops::Range;

use super::column::{Validity, codes, column, doubles, wrong_type};
use crate::error::KernelError;
use crate::order_key::order_key;
use crate::program::{Batch, Bits, Column, ColumnId, Compare, FALSE, NULL, Predicate, TRUE};
use crate::validate::invalid_batch;

/// The bit of rows for which a predicate is TRUE.
const IS_TRUE: u8 = 1;
/// The bit of rows for which a predicate is FALSE.
const IS_FALSE: u8 = 2;

/// Truth values of a block's rows, one byte each.
pub(super) type TruthValues = Vec<u8>;

/// Evaluates predicates, with buffers that are used again.
#[derive(Debug, Default)]
pub(super) struct Evaluator {
    spare: Vec<TruthValues>,
}

impl Evaluator {
    /// The truth values of the rows in `range`. Give them back with [`recycle`](Self::recycle).
    pub fn evaluate(
        &mut self,
        predicate: &Predicate,
        batch: &Batch,
        range: Range<usize>,
    ) -> Result<TruthValues, KernelError> {
        let mut out = self.spare.pop().unwrap_or_default();
        out.clear();
        match predicate {
            Predicate::Column(id) => match column(batch, *id)? {
                Column::Truth(values) => out.extend(values[range].iter().map(|&value| from_sql(value))),
                _ => return Err(wrong_type(*id, "truth values")),
            },
            Predicate::Table { column, table } => {
                let truths = batch
                    .tables
                    .get(*table)
                    .ok_or_else(|| invalid_batch(&format!("tables[{table}]"), "missing".to_owned()))?;
                let codes = codes(batch, *column)?.codes;
                out.extend(codes[range].iter().map(|&code| truths.get(code as usize).copied().unwrap_or(NULL)));
                out.iter_mut().for_each(|value| *value = from_sql(*value));
            }
            Predicate::Compare { column, op, key } => compare(batch, *column, *op, *key, range, &mut out)?,
            Predicate::IsNull(id) => match column(batch, *id)? {
                Column::I64 { valid, .. } | Column::F64 { valid, .. } => {
                    out.resize(range.len(), IS_FALSE);
                    if let Some(valid) = valid {
                        set_where_null(&mut out, valid, range.start, IS_TRUE);
                    }
                }
                Column::Code { codes, cardinality } => {
                    out.extend(codes[range].iter().map(|&code| from_bool(code == cardinality)));
                }
                Column::Truth(values) => out.extend(values[range].iter().map(|&value| from_bool(value >= NULL))),
            },
            Predicate::And(left, right) => {
                self.combine(left, right, batch, range, &mut out, |a, b| (a & b & IS_TRUE) | ((a | b) & IS_FALSE))?;
            }
            Predicate::Or(left, right) => {
                self.combine(left, right, batch, range, &mut out, |a, b| ((a | b) & IS_TRUE) | (a & b & IS_FALSE))?;
            }
            Predicate::Not(inner) => {
                let values = self.evaluate(inner, batch, range)?;
                out.extend(values.iter().map(|&value| value >> 1 | (value & IS_TRUE) << 1));
                self.recycle(values);
            }
        }
        Ok(out)
    }

    /// Takes back a buffer.
    pub fn recycle(&mut self, buffer: TruthValues) {
        self.spare.push(buffer);
    }

    fn combine(
        &mut self,
        left: &Predicate,
        right: &Predicate,
        batch: &Batch,
        range: Range<usize>,
        out: &mut TruthValues,
        kleene: impl Fn(u8, u8) -> u8,
    ) -> Result<(), KernelError> {
        let left = self.evaluate(left, batch, range.clone())?;
        let right = self.evaluate(right, batch, range)?;
        out.extend(left.iter().zip(&right).map(|(&a, &b)| kleene(a, b)));
        self.recycle(left);
        self.recycle(right);
        Ok(())
    }
}

/// The rows of the block starting at row `start` whose truth value is TRUE.
pub(super) fn select(truths: &[u8], start: usize, rows: &mut Vec<u32>) {
    rows.resize(truths.len(), 0);
    let mut selected = 0;
    for (row, truth) in (start as u32..).zip(truths) {
        // Always written, and kept by moving on: no branch to mispredict.
        rows[selected] = row;
        selected += usize::from(truth & IS_TRUE);
    }
    rows.truncate(selected);
}

/// The rows, and their groups, whose truth value is TRUE.
pub(super) fn select_pairs(
    truths: &[u8],
    start: usize,
    (rows, groups): (&[u32], &[u32]),
    (rows_out, groups_out): (&mut Vec<u32>, &mut Vec<u32>),
) {
    rows_out.resize(rows.len(), 0);
    groups_out.resize(rows.len(), 0);
    let mut selected = 0;
    for (&row, &group) in rows.iter().zip(groups) {
        rows_out[selected] = row;
        groups_out[selected] = group;
        selected += usize::from(truths[row as usize - start] & IS_TRUE);
    }
    rows_out.truncate(selected);
    groups_out.truncate(selected);
}

/// 1 if the predicate is TRUE for the row, 0 if not.
#[inline(always)]
pub(super) fn is_true(truths: &[u8], start: usize, row: u32) -> u64 {
    u64::from(truths[row as usize - start] & IS_TRUE)
}

/// Keeps the rows that have a value.
pub(super) fn retain_valid(rows: &mut Vec<u32>, valid: Bits) {
    let mut kept = 0;
    for index in 0..rows.len() {
        let row = rows[index];
        rows[kept] = row;
        kept += usize::from(valid.is_valid(row));
    }
    rows.truncate(kept);
}

#[inline(always)]
fn from_bool(value: bool) -> u8 {
    IS_FALSE - u8::from(value)
}

#[inline(always)]
fn from_sql(value: u8) -> u8 {
    u8::from(value == TRUE) | u8::from(value == FALSE) << 1
}

fn set_where_null(out: &mut [u8], valid: Bits, start: usize, value: u8) {
    for (row, out) in (start..).zip(out) {
        if !valid.get(row) {
            *out = value;
        }
    }
}

fn compare(
    batch: &Batch,
    id: ColumnId,
    op: Compare,
    key: i64,
    range: Range<usize>,
    out: &mut TruthValues,
) -> Result<(), KernelError> {
    let start = range.start;
    let valid = match column(batch, id)? {
        Column::I64 { values, valid } => {
            compare_keys(values[range].iter().copied(), op, key, out);
            valid
        }
        _ => {
            let doubles = doubles(batch, id)?;
            compare_keys(doubles.values[range].iter().map(|&value| order_key(value)), op, key, out);
            doubles.valid
        }
    };
    if let Some(valid) = valid {
        set_where_null(out, valid, start, 0);
    }
    Ok(())
}

fn compare_keys(keys: impl Iterator<Item = i64>, op: Compare, key: i64, out: &mut TruthValues) {
    match op {
        Compare::Eq => out.extend(keys.map(|value| from_bool(value == key))),
        Compare::NotEq => out.extend(keys.map(|value| from_bool(value != key))),
        Compare::Lt => out.extend(keys.map(|value| from_bool(value < key))),
        Compare::LtEq => out.extend(keys.map(|value| from_bool(value <= key))),
        Compare::Gt => out.extend(keys.map(|value| from_bool(value > key))),
        Compare::GtEq => out.extend(keys.map(|value| from_bool(value >= key))),
    }
}
