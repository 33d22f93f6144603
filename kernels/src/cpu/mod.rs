//! The native back end: a twin for every shader.
//!
//! Comes in: a [`Program`], a [`Batch`], and a [`Scratch`] that batch after batch uses again. Goes out: [`Groups`], bit for
//! bit what any other device gives. Fails with [`KernelError`]: on a program or batch that contradicts itself
//! ([`Program::validate`], [`Program::check`]), and where a batch's registers would take too much memory.
//!
//! Rows go through in blocks that stay in the first-level caches:
//! 1. `filter`: predicates to truth values to a selection vector of rows;
//! 2. `pane`: times to the ordinals of their panes;
//! 3. `keys`: panes and keys to groups;
//! 4. `count`, `exact_sum`, `minmax`, `hll`, `distinct`: one tight loop an aggregate over rows and groups.

mod column;
mod count;
mod distinct;
mod exact_sum;
mod filter;
mod hll;
mod keys;
mod minmax;
mod pane;
mod table;

use crate::error::KernelError;
use crate::program::{Aggregate, Batch, Function, Groups, Partial, Predicate, Program, Watched};
use column::{AllValid, Integers, Validity, codes, column, doubles, integers};
use count::{Counted, Counts};
use distinct::Distinct;
use exact_sum::{SumsF64, SumsI64};
use filter::{Evaluator, retain_valid, select, select_pairs};
use hll::Registers;
use keys::{Grouping, KeyScratch};
use minmax::Extremes;
use pane::Panes;

/// Rows of a block: a few columns and vectors of that length fit the first-level cache.
const BLOCK: usize = 2048;
/// No group, no ordinal: there are fewer than 2^31 rows.
const EMPTY: u32 = u32::MAX;

/// Memory that one batch after the other uses. It belongs to no program.
#[derive(Debug, Default)]
pub struct Scratch {
    evaluator: Evaluator,
    rows: Vec<u32>,
    ordinals: Vec<u32>,
    groups: Vec<u32>,
    passing_rows: Vec<u32>,
    passing_groups: Vec<u32>,
    keys: KeyScratch,
    /// Groups of the batch before: the next one is likely to have as many.
    group_count: usize,
}

/// The partial aggregates of one batch.
pub fn aggregate(program: &Program, batch: &Batch) -> Result<Groups, KernelError> {
    aggregate_with(program, batch, &mut Scratch::default())
}

/// The partial aggregates of one batch, in the memory of the batches before.
pub fn aggregate_with(program: &Program, batch: &Batch, scratch: &mut Scratch) -> Result<Groups, KernelError> {
    program.validate()?;
    program.check(batch)?;
    let hint = scratch.group_count.min(batch.rows);
    let mut panes = program.pane.map(|pane| Panes::new(pane, batch)).transpose()?;
    let mut grouping = Grouping::new(batch, &program.keys, panes.is_some(), hint, &mut scratch.keys)?;
    let watched = program.max_of.map(|id| integers(batch, id)).transpose()?;
    let mut states =
        program.aggregates.iter().map(|one| State::new(one, batch, hint)).collect::<Result<Vec<_>, _>>()?;
    let phases = phases(&program.aggregates);
    let mut group_rows: Vec<u64> = Vec::with_capacity(hint);
    let mut rows_passed = 0;
    let (mut max, mut seen) = (None, Watched::default());

    for start in (0..batch.rows).step_by(BLOCK) {
        let range = start..(start + BLOCK).min(batch.rows);
        let rows = &mut scratch.rows;
        match &program.filter {
            None => {
                rows.clear();
                rows.extend(range.start as u32..range.end as u32);
            }
            Some(filter) => {
                let truths = scratch.evaluator.evaluate(filter, batch, range.clone())?;
                select(&truths, start, rows);
                scratch.evaluator.recycle(truths);
            }
        }
        rows_passed += rows.len() as u64;
        if let Some(watched) = watched {
            max = max.max(watch(watched, rows, &mut seen));
        }
        scratch.ordinals.clear();
        let mut pane_count = 0;
        if let Some(panes) = &mut panes {
            if let Some(valid) = panes.times.valid {
                retain_valid(rows, valid);
            }
            panes.assign(rows, &mut scratch.ordinals);
            pane_count = panes.starts.len();
        }
        let (rows, groups) = (scratch.rows.as_slice(), &mut scratch.groups);
        grouping.assign(rows, &scratch.ordinals, pane_count, &mut scratch.keys, groups);
        group_rows.resize(grouping.len(), 0);
        if let [only] = group_rows.as_mut_slice() {
            *only += rows.len() as u64;
        } else {
            count::count(rows, groups, AllValid, &mut group_rows);
        }

        for phase in &phases {
            let Some(filter) = phase.filter else {
                for &index in &phase.aggregates {
                    states[index].update(rows, groups, grouping.len())?;
                }
                continue;
            };
            let truths = scratch.evaluator.evaluate(filter, batch, range.clone())?;
            if phase.selects {
                let passing = (&mut scratch.passing_rows, &mut scratch.passing_groups);
                select_pairs(&truths, start, (rows, groups), passing);
            }
            for &index in &phase.aggregates {
                match &mut states[index] {
                    State::Count(counts) if !phase.selects => {
                        counts.update_where(&truths, start, rows, groups, grouping.len());
                    }
                    state => state.update(&scratch.passing_rows, &scratch.passing_groups, grouping.len())?,
                }
            }
            scratch.evaluator.recycle(truths);
        }
    }

    scratch.group_count = grouping.len();
    let aggregates = states.into_iter().map(|state| state.finish(&group_rows)).collect::<Result<_, _>>()?;
    let pane_start = panes.map_or_else(Vec::new, |panes| {
        grouping.panes.iter().filter_map(|&ordinal| panes.starts.get(ordinal as usize).copied()).collect()
    });
    Ok(Groups {
        first_row: grouping.first_rows,
        pane_start,
        rows: group_rows,
        aggregates,
        rows_passed,
        max,
        watched: seen,
    })
}

/// Aggregates that have the same filter, so that it is evaluated once.
struct Phase<'a> {
    filter: Option<&'a Predicate>,
    aggregates: Vec<usize>,
    /// Whether the passing rows are wanted, not only their number.
    selects: bool,
}

fn phases(aggregates: &[Aggregate]) -> Vec<Phase<'_>> {
    let mut phases: Vec<Phase> = Vec::new();
    for (index, aggregate) in aggregates.iter().enumerate() {
        let filter = aggregate.filter.as_ref();
        let phase = match phases.iter().position(|phase| phase.filter == filter) {
            Some(position) => &mut phases[position],
            None => phases.push_mut(Phase { filter, aggregates: Vec::new(), selects: false }),
        };
        phase.aggregates.push(index);
        phase.selects |= filter.is_some() && aggregate.function != Function::CountRows;
    }
    phases
}

/// What has been aggregated of one aggregate.
enum State<'a> {
    Count(Counts<'a>),
    SumF64(SumsF64<'a>),
    SumI64(SumsI64<'a>),
    Extremes(Extremes<'a>),
    Hll { precision: u8, registers: Registers<'a> },
    Distinct(Distinct<'a>),
}

impl<'a> State<'a> {
    fn new(aggregate: &Aggregate, batch: &Batch<'a>, hint: usize) -> Result<Self, KernelError> {
        let filtered = aggregate.filter.is_some();
        Ok(match aggregate.function {
            Function::CountRows => Self::Count(Counts::new(Counted::Every, filtered, hint)),
            Function::Count(id) => Self::Count(Counts::new(column(batch, id)?.into(), filtered, hint)),
            Function::SumF64(id) => Self::SumF64(SumsF64::new(doubles(batch, id)?, batch.rows, filtered, hint)),
            Function::SumI64(id) => Self::SumI64(SumsI64::new(integers(batch, id)?, filtered, hint)),
            Function::Min(id) => Self::Extremes(Extremes::new(batch, id, false)?),
            Function::Max(id) => Self::Extremes(Extremes::new(batch, id, true)?),
            Function::Hll { column, table, precision } => {
                Self::Hll { precision, registers: Registers::new(batch, column, table, precision)? }
            }
            Function::Distinct(id) => Self::Distinct(Distinct::new(codes(batch, id)?)),
        })
    }

    fn update(&mut self, rows: &[u32], groups: &[u32], group_count: usize) -> Result<(), KernelError> {
        match self {
            Self::Count(counts) => counts.update(rows, groups, group_count),
            Self::SumF64(sums) => sums.update(rows, groups, group_count),
            Self::SumI64(sums) => sums.update(rows, groups, group_count),
            Self::Extremes(extremes) => extremes.update(rows, groups, group_count),
            Self::Hll { registers, .. } => return registers.update(rows, groups, group_count),
            Self::Distinct(distinct) => distinct.update(rows, groups, group_count),
        }
        Ok(())
    }

    fn finish(self, rows: &[u64]) -> Result<Partial, KernelError> {
        Ok(match self {
            Self::Count(counts) => Partial::Count(counts.finish(rows)),
            Self::SumF64(sums) => {
                let (sums, counts) = sums.finish(rows);
                Partial::SumF64 { sums, counts }
            }
            Self::SumI64(sums) => {
                let (sums, counts) = sums.finish(rows);
                Partial::SumI64 { sums, counts }
            }
            Self::Extremes(extremes) => Partial::MinMax(extremes.finish(rows.len())),
            Self::Hll { precision, registers } => Partial::Hll { precision, registers: registers.finish(rows.len())? },
            Self::Distinct(distinct) => Partial::Distinct(distinct.finish()),
        })
    }
}

/// [`Groups::watched`] of a batch that another device has aggregated.
pub fn watched(program: &Program, batch: &Batch) -> Result<Watched, KernelError> {
    let mut seen = Watched::default();
    let Some(column) = program.max_of.map(|id| integers(batch, id)).transpose()? else { return Ok(seen) };
    let mut evaluator = Evaluator::default();
    let mut rows = Vec::new();
    for start in (0..batch.rows).step_by(BLOCK) {
        let range = start..(start + BLOCK).min(batch.rows);
        match &program.filter {
            None => {
                rows.clear();
                rows.extend(range.start as u32..range.end as u32);
            }
            Some(filter) => {
                let truths = evaluator.evaluate(filter, batch, range)?;
                select(&truths, start, &mut rows);
                evaluator.recycle(truths);
            }
        }
        watch(column, &rows, &mut seen);
    }
    Ok(seen)
}

/// The greatest value of some rows; the rest of what a report wants goes to `seen`.
fn watch(column: Integers, rows: &[u32], seen: &mut Watched) -> Option<i64> {
    let Some(valid) = column.valid else { return watch_all(column.values, rows, seen) };
    let valid = rows.iter().filter(|&&row| valid.is_valid(row)).map(|&row| column.values[row as usize]);
    valid.inspect(|value| seen.add(*value)).max()
}

/// [`watch`] without an option or a wide sum in the loop: sums of halves cannot overflow within a block.
fn watch_all(values: &[i64], rows: &[u32], seen: &mut Watched) -> Option<i64> {
    let (mut high, mut low, mut least, mut most) = (0_i64, 0_u64, i64::MAX, i64::MIN);
    for &row in rows {
        let value = values[row as usize];
        high += value >> 32;
        low += value as u64 & u64::from(u32::MAX);
        least = least.min(value);
        most = most.max(value);
    }
    seen.count += rows.len() as u64;
    seen.sum += (i128::from(high) << 32) + i128::from(low);
    seen.min = seen.min.min(least);
    (!rows.is_empty()).then_some(most)
}

#[cfg(test)]
mod tests;
