//! The device's result as groups.
//!
//! Comes in: records of groups and pairs as `shaders/compact.wgsl` writes them, in any order. Goes out: [`Groups`] ordered
//! by first row, with values read from the batch at the rows that the kernel found. Fails with
//! [`KernelError::DeviceLost`] when the records contradict the batch: device memory is not trusted.

use rustc_hash::FxHashMap;

use super::lost;
use super::worker::Answer;
use crate::compose::{Kernel, Place};
use crate::error::KernelError;
use crate::exact_sum::ExactSum;
use crate::order_key::order_key;
use crate::program::{Batch, Column, Function, Groups, Partial, Program};

/// Decodes an answer without overflow.
pub(super) fn groups(
    program: &Program,
    batch: &Batch<'_>,
    kernel: &Kernel,
    answer: &Answer,
    exponents: &dyn Fn(usize) -> u32,
) -> Result<Groups, KernelError> {
    let width = kernel.width as usize;
    let size = 1 + width + kernel.registers as usize / 4;
    // (first row, record)
    let mut records: Vec<(u32, &[u32])> =
        answer.groups.chunks_exact(size).map(|record| (!record[1], &record[1..])).collect();
    records.sort_unstable_by_key(|(first, _)| *first);
    if records.last().is_some_and(|(first, _)| *first as usize >= batch.rows) {
        return Err(contradiction("a group's first row"));
    }
    let first_row: Vec<u32> = records.iter().map(|(first, _)| *first).collect();
    let slots: FxHashMap<u32, u32> = match kernel.sets {
        0 => FxHashMap::default(),
        _ => answer
            .groups
            .chunks_exact(size)
            .filter_map(|record| Some((record[0], first_row.binary_search(&!record[1]).ok()? as u32)))
            .collect(),
    };
    let word = |word: u32| records.iter().map(move |(_, record)| record[word as usize]);
    let count = |at: u32| word(at).map(u64::from).collect::<Vec<u64>>();
    let mut aggregates = Vec::with_capacity(program.aggregates.len());
    for (aggregate, place) in program.aggregates.iter().zip(&kernel.places) {
        aggregates.push(match (*place, &aggregate.function) {
            (Place::Rows, _) => Partial::Count(count(1)),
            (Place::Count { word }, _) => Partial::Count(count(word)),
            (Place::SumF64 { word, limbs }, Function::SumF64(column)) => {
                let exponent = exponents(*column) as i32;
                let at = word as usize + 1;
                let sum = |(_, record): &(u32, &[u32])| {
                    ExactSum::from_limbs(exponent, &record[at + 1..at + 1 + limbs as usize], record[at] as u8)
                };
                Partial::SumF64 { sums: records.iter().map(sum).collect(), counts: count(word) }
            }
            (Place::SumI64 { word }, _) => {
                let at = word as usize + 1;
                let sum = |(_, record): &(u32, &[u32])| {
                    let low = u128::from(record[at]) | u128::from(record[at + 1]) << 32;
                    (low | u128::from(record[at + 2]) << 64) as i128
                };
                // Three limbs, sign-extended.
                let sums = records.iter().map(|record| sum(record) << 32 >> 32).collect();
                Partial::SumI64 { sums, counts: count(word) }
            }
            (Place::MinMax { word: at }, Function::Min(column) | Function::Max(column)) => {
                let key = |row: u32| match row {
                    0 => Ok(None),
                    row => value(batch, *column, row - 1).map(Some),
                };
                Partial::MinMax(word(at).map(key).collect::<Result<_, _>>()?)
            }
            (Place::Hll { first, precision }, _) => {
                let mut registers = Vec::with_capacity(records.len() << precision);
                for (_, record) in &records {
                    let bytes: &[u8] = bytemuck::cast_slice(&record[width..]);
                    registers.extend_from_slice(&bytes[first as usize..][..1 << precision]);
                }
                Partial::Hll { precision, registers }
            }
            (Place::Distinct { set }, Function::Distinct(column)) => {
                let Some(Column::Code { codes, .. }) = batch.columns.get(*column) else {
                    return Err(contradiction("a set's column"));
                };
                let mut pairs = Vec::new();
                for pair in answer.pairs.chunks_exact(3).filter(|pair| pair[0] == set) {
                    match (slots.get(&pair[1]), codes.get(pair[2] as usize)) {
                        (Some(&group), Some(&code)) => pairs.push((group, code)),
                        _ => return Err(contradiction("a distinct value")),
                    }
                }
                pairs.sort_unstable();
                Partial::Distinct(pairs)
            }
            _ => return Err(contradiction("an aggregate's place")),
        });
    }
    let max = match (program.max_of, answer.header.max_row) {
        (Some(column), row @ 1..) => Some(value(batch, column, row - 1)?),
        _ => None,
    };
    Ok(Groups {
        pane_start: pane_starts(program, batch, &first_row)?,
        rows: count(1),
        first_row,
        aggregates,
        rows_passed: u64::from(answer.header.passed),
        max,
        watched: crate::cpu::watched(program, batch)?,
    })
}

/// The order key of a value.
fn value(batch: &Batch<'_>, column: usize, row: u32) -> Result<i64, KernelError> {
    let row = row as usize;
    match batch.columns.get(column) {
        Some(Column::I64 { values, .. }) => values.get(row).copied(),
        Some(Column::F64 { values, .. }) => values.get(row).copied().map(order_key),
        _ => None,
    }
    .ok_or_else(|| contradiction("a row"))
}

/// Start of each group's pane.
fn pane_starts(program: &Program, batch: &Batch<'_>, first_row: &[u32]) -> Result<Vec<i64>, KernelError> {
    let Some(pane) = program.pane else { return Ok(Vec::new()) };
    let start = |&row: &u32| {
        let time = i128::from(value(batch, pane.time, row)?);
        let (width, origin) = (i128::from(pane.width), i128::from(pane.origin));
        let start = (time - origin).div_euclid(width) * width + origin;
        // As the twin has it: a pane that begins before all of time begins with it.
        Ok(i64::try_from(start).unwrap_or(i64::MIN))
    };
    first_row.iter().map(start).collect()
}

fn contradiction(what: &str) -> KernelError {
    lost(format!("its result contradicts the batch: {what}"))
}
