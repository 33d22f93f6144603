//! Calls without a kernel: rows are grouped on the host, and each group goes through an accumulator of its own.
//!
//! Comes in: a chunk's columns and what the kernel groups by. Goes out: the groups in the order of their first rows, which is the kernel's
//! order too, and each call's state, one row a group. Fails: arguments (ANSI), and what the function itself refuses.

use super::{Evaluated, PartialColumn, compile, evaluate};
use crate::error::{Error, Result};
use crate::operator::aggregate::windows_over;
use crate::operator::clock::BatchClock;
use crate::plan::aggregate::{HostCall, HostPartial, WindowKey};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array, new_empty_array};
use arrow::compute::{cast, take, take_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::physical_expr::PhysicalExpr;
use rustc_hash::FxHashMap;
use std::sync::Arc;
use tidemill_kernels::Pane;

/// A call of one branch, compiled.
pub struct HostExec {
    call: Arc<HostCall>,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
}

/// The groups of a chunk.
#[derive(Debug, Default)]
pub struct Grouping {
    /// First row of each group.
    pub first_row: Vec<u32>,
    /// Start of each group's pane or window; empty without one.
    pub pane_start: Vec<i64>,
    /// Rows of each group.
    pub counts: Vec<u64>,
    /// Grouped rows, each as often as it is in a window, and their groups.
    members: Vec<(u32, u32)>,
}

impl Grouping {
    /// Groups `rows` rows by the pane of their time, or by every window of `expand`, and by `keys`. A row without a time has no pane.
    pub fn new(
        rows: usize,
        pane: Option<(Pane, &Int64Array)>,
        expand: Option<&WindowKey>,
        keys: &[&Evaluated],
    ) -> Result<Self> {
        let mut starts: Vec<i64> = Vec::new();
        let mut members: Vec<(u32, u32)> = Vec::with_capacity(rows);
        match pane {
            None => members.extend((0..rows as u32).map(|row| (row, 0))),
            Some((pane, times)) => {
                let mut known: FxHashMap<i64, u32> = FxHashMap::default();
                let mut assign = |row: usize, start: i64| {
                    let group = *known.entry(start).or_insert_with(|| {
                        starts.push(start);
                        starts.len() as u32 - 1
                    });
                    members.push((row as u32, group));
                };
                for row in (0..rows).filter(|row| times.is_valid(*row)) {
                    let time = times.value(row);
                    match expand {
                        Some(window) => windows_over(window, time).for_each(|start| assign(row, start)),
                        None => {
                            let distance = (i128::from(time) - i128::from(pane.origin)).rem_euclid(pane.width.into());
                            assign(row, i64::try_from(i128::from(time) - distance).unwrap_or(i64::MIN));
                        }
                    }
                }
            }
        }
        // What a row's group is of, before the keys.
        let panes: Vec<u32> = match pane {
            Some(_) => members.iter().map(|(_, group)| *group).collect(),
            None => vec![],
        };
        for key in keys {
            let mut known: FxHashMap<(u32, Option<i64>), u32> = FxHashMap::default();
            for (row, group) in &mut members {
                let next = known.len() as u32;
                *group = *known.entry((*group, value(key, *row as usize)?)).or_insert(next);
            }
        }
        let mut grouping = Self::default();
        for (index, (row, group)) in members.iter().enumerate() {
            if *group as usize == grouping.first_row.len() {
                grouping.first_row.push(*row);
                grouping.counts.push(0);
                grouping.pane_start.extend(panes.get(index).and_then(|pane| starts.get(*pane as usize)));
            }
            if let Some(count) = grouping.counts.get_mut(*group as usize) {
                *count += 1;
            }
        }
        grouping.members = members;
        Ok(grouping)
    }
}

/// A key's value, equal where the keys are.
fn value(key: &Evaluated, row: usize) -> Result<Option<i64>> {
    match key {
        Evaluated::Integers(integers) => Ok(integers.is_valid(row).then(|| integers.value(row))),
        Evaluated::Codes(codes) => Ok(codes.codes.get(row).map(|code| i64::from(*code))),
        _ => Err(Error::internal("a key that is neither codes nor integers")),
    }
}

impl HostExec {
    /// Compiles a call over a branch's columns.
    pub fn new(plan: &HostPartial, schema: &SchemaRef, clock: &BatchClock) -> Result<Self> {
        let arguments = plan.arguments.iter().map(|e| compile(e, schema, clock)).collect::<Result<_>>()?;
        let filter = plan.filter.as_ref().map(|e| compile(e, schema, clock)).transpose()?;
        Ok(Self { call: plan.call.clone(), arguments, filter })
    }

    /// The call's state for every group.
    pub fn run(&self, batch: &RecordBatch, grouping: &Grouping) -> Result<PartialColumn> {
        let truth = self.filter.as_ref().map(|filter| evaluate(filter, batch)).transpose()?;
        let truth = match &truth {
            None => None,
            Some(truth) => Some(truth.as_boolean_opt().ok_or_else(|| Error::internal("a filter that is not boolean"))?),
        };
        let passes = |row: u32| truth.is_none_or(|t| t.is_valid(row as usize) && t.value(row as usize));
        // Rows by group, in their order within each.
        let groups = grouping.first_row.len();
        let mut ends = vec![0usize; groups];
        let kept: Vec<(u32, u32)> = grouping.members.iter().copied().filter(|(row, _)| passes(*row)).collect();
        kept.iter().for_each(|(_, group)| ends[*group as usize] += 1);
        let mut begin = 0;
        for end in &mut ends {
            (begin, *end) = (begin + *end, begin);
        }
        let mut sorted = vec![0u32; kept.len()];
        for (row, group) in kept {
            let place = &mut ends[group as usize];
            sorted[*place] = row;
            *place += 1;
        }
        let sorted = UInt32Array::from(sorted);
        // An argument that may fail is looked at only where a row counts.
        let arguments: Vec<ArrayRef> = match sorted.len() == batch.num_rows() && truth.is_none() {
            true => {
                let arrays = self.arguments.iter().map(|e| Ok(take(&evaluate(e, batch)?, &sorted, None)?));
                arrays.collect::<Result<_>>()?
            }
            false => {
                let counted = take_record_batch(batch, &sorted)?;
                self.arguments.iter().map(|e| evaluate(e, &counted)).collect::<Result<_>>()?
            }
        };
        let mut states: Vec<Vec<ScalarValue>> = vec![Vec::with_capacity(groups); self.call.state().len()];
        let mut begin = 0;
        for end in ends {
            let mut accumulator = self.call.accumulator()?;
            if end > begin {
                let own: Vec<ArrayRef> = arguments.iter().map(|a| a.slice(begin, end - begin)).collect();
                accumulator.update_batch(&own)?;
            }
            begin = end;
            states.iter_mut().zip(accumulator.state()?).for_each(|(column, value)| column.push(value));
        }
        let columns = states.into_iter().zip(self.call.state()).map(|(values, data_type)| column(values, data_type));
        Ok(PartialColumn::Host(columns.collect::<Result<_>>()?))
    }
}

/// Values of one type as an array.
pub fn column(values: Vec<ScalarValue>, data_type: &arrow::datatypes::DataType) -> Result<ArrayRef> {
    if values.is_empty() {
        return Ok(new_empty_array(data_type));
    }
    let array = ScalarValue::iter_to_array(values)?;
    Ok(if array.data_type() == data_type { array } else { cast(&array, data_type)? })
}
