//! The accumulator columns of a keyed state: mergeable partial aggregates, never results.
//!
//! Comes in: a chunk's partials. Goes out: the same columns as Arrow arrays (for state files) and results (for emission). Merging
//! is commutative and exact, so any split of the input, on any device, gives the same bits. Fails: sums outside
//! `bigint` (ANSI), and state columns that do not decode.

use super::host::HostColumn;
use crate::error::{Error, ErrorCode, Result};
use crate::operator::partial::PartialColumn;
use crate::plan::aggregate::Call;
use crate::plan::spark_aggregate::as_bigint;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, FixedSizeBinaryArray, FixedSizeBinaryBuilder, Float64Array,
    Int64Array, ListBuilder, StringArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int64Type, UInt64Type};
use rustc_hash::FxHashSet;
use std::sync::Arc;
use tidemill_kernels::{ExactSum, from_order_key, hll};

/// One aggregate call's state, one entry a group.
#[derive(Debug)]
pub enum Accumulator {
    /// Row counts.
    Count(Vec<u64>),
    /// Exact sums of doubles with their numbers of values.
    SumF64 { sums: Vec<ExactSum>, counts: Vec<u64> },
    /// Exact sums of integers with their numbers of values.
    SumI64 { sums: Vec<i128>, counts: Vec<u64> },
    /// Order keys of extreme values.
    Key { greatest: bool, values: Vec<Option<i64>> },
    /// Extreme texts.
    Text { greatest: bool, values: Vec<Option<Box<str>>> },
    /// HLL registers, `1 << precision` bytes a group.
    Hll { precision: u8, registers: Vec<u8> },
    /// Distinct values, as encoded rows.
    Distinct(Vec<FxHashSet<Box<[u8]>>>),
    /// State of a call without a kernel.
    Host(HostColumn),
}

impl Accumulator {
    /// An empty column for a call.
    pub fn new(call: &Call) -> Self {
        match call {
            Call::Count | Call::ScaledCount { .. } => Accumulator::Count(vec![]),
            Call::SumInteger { .. } => Accumulator::SumI64 { sums: vec![], counts: vec![] },
            Call::SumDouble | Call::MeanDouble => Accumulator::SumF64 { sums: vec![], counts: vec![] },
            Call::Extreme { greatest, data_type: DataType::Utf8 } => {
                Accumulator::Text { greatest: *greatest, values: vec![] }
            }
            Call::Extreme { greatest, .. } => Accumulator::Key { greatest: *greatest, values: vec![] },
            Call::ApproxDistinct { precision } => Accumulator::Hll { precision: *precision, registers: vec![] },
            Call::Distinct => Accumulator::Distinct(vec![]),
            Call::Host(call) => Accumulator::Host(HostColumn::new(call.clone())),
        }
    }

    /// Adds a group without values.
    pub fn push(&mut self) {
        match self {
            Accumulator::Count(counts) => counts.push(0),
            Accumulator::SumF64 { sums, counts } => {
                sums.push(ExactSum::default());
                counts.push(0);
            }
            Accumulator::SumI64 { sums, counts } => {
                sums.push(0);
                counts.push(0);
            }
            Accumulator::Key { values, .. } => values.push(None),
            Accumulator::Text { values, .. } => values.push(None),
            Accumulator::Hll { precision, registers } => registers.resize(registers.len() + (1 << *precision), 0),
            Accumulator::Distinct(sets) => sets.push(FxHashSet::default()),
            Accumulator::Host(column) => column.push(),
        }
    }

    /// Merges group `from` of a chunk's partials into group `into`.
    pub fn merge(&mut self, into: usize, partial: &PartialColumn, from: usize) -> Result<()> {
        match (self, partial) {
            (Accumulator::Count(counts), PartialColumn::Count(more)) => counts[into] += more[from],
            (Accumulator::SumF64 { sums, counts }, PartialColumn::SumF64 { sums: more, counts: n }) => {
                sums[into].merge(&more[from]);
                counts[into] += n[from];
            }
            (Accumulator::SumI64 { sums, counts }, PartialColumn::SumI64 { sums: more, counts: n }) => {
                sums[into] = sums[into].checked_add(more[from]).ok_or_else(overflow)?;
                counts[into] += n[from];
            }
            (Accumulator::Key { greatest, values }, PartialColumn::Key(more)) => {
                values[into] = extreme(*greatest, values[into].take(), more[from]);
            }
            (Accumulator::Text { greatest, values }, PartialColumn::Text(more)) => {
                values[into] = extreme(*greatest, values[into].take(), more[from].clone());
            }
            (Accumulator::Hll { precision, registers }, PartialColumn::Hll { registers: more, .. }) => {
                let size = 1usize << *precision;
                let own = &mut registers[into * size..][..size];
                for (register, rank) in own.iter_mut().zip(&more[from * size..][..size]) {
                    *register = (*register).max(*rank);
                }
            }
            (Accumulator::Distinct(sets), PartialColumn::Distinct(more)) => {
                sets[into].extend(more[from].iter().cloned());
            }
            (Accumulator::Host(column), PartialColumn::Host(states)) => column.merge(into, states, from)?,
            (own, other) => return Err(Error::internal(format!("cannot merge {other:?} into {own:?}"))),
        }
        Ok(())
    }

    /// Ends a batch for the groups that it touched.
    pub fn settle(&mut self, groups: &[u32]) -> Result<()> {
        match self {
            Accumulator::Host(column) => column.settle(groups),
            _ => Ok(()),
        }
    }

    /// The call's results for `groups`.
    ///
    /// # Errors
    /// [`ErrorCode::ArithmeticOverflow`] for a sum of integers outside `bigint`.
    pub fn results(&self, call: &Call, groups: &[u32]) -> Result<ArrayRef> {
        if let Accumulator::Host(column) = self {
            return column.results(groups);
        }
        let groups = groups.iter().map(|g| *g as usize);
        let array: ArrayRef = match (self, call) {
            (Accumulator::Count(counts), Call::ScaledCount { factor, nullable }) => {
                let scaled = groups.map(|g| match counts[g] {
                    0 if *nullable => Ok(None),
                    n => i64::try_from(i128::from(n) * i128::from(*factor)).map(Some).map_err(|_| overflow()),
                });
                Arc::new(scaled.collect::<Result<Int64Array>>()?)
            }
            (Accumulator::Count(counts), _) => Arc::new(groups.map(|g| Some(counts[g] as i64)).collect::<Int64Array>()),
            (Accumulator::SumF64 { sums, counts }, Call::MeanDouble) => {
                Arc::new(groups.map(|g| sums[g].mean(counts[g])).collect::<Float64Array>())
            }
            (Accumulator::SumF64 { sums, counts }, _) => {
                Arc::new(groups.map(|g| (counts[g] > 0).then(|| sums[g].value())).collect::<Float64Array>())
            }
            (Accumulator::SumI64 { sums, counts }, Call::SumInteger { overflow }) => {
                let sums = groups.map(|g| match counts[g] {
                    0 => Ok(None),
                    _ => Ok(as_bigint(sums[g], *overflow)?),
                });
                Arc::new(sums.collect::<Result<Int64Array>>()?)
            }
            (Accumulator::Key { values, .. }, Call::Extreme { data_type, .. }) => {
                extreme_array(groups.map(|g| values[g]), data_type)?
            }
            (Accumulator::Text { values, .. }, _) => {
                Arc::new(groups.map(|g| values[g].as_deref()).collect::<StringArray>())
            }
            (Accumulator::Hll { precision, registers }, _) => {
                let size = 1usize << precision;
                let estimate = |g: usize| Some(hll::estimate(&registers[g * size..][..size], *precision));
                Arc::new(groups.map(estimate).collect::<Int64Array>())
            }
            (Accumulator::Distinct(sets), _) => {
                Arc::new(groups.map(|g| Some(sets[g].len() as i64)).collect::<Int64Array>())
            }
            (own, call) => return Err(Error::internal(format!("{call:?} does not finish {own:?}"))),
        };
        Ok(array)
    }

    /// Types of the columns that [`Accumulator::encode`] makes, named after the call's position.
    pub fn fields(&self, position: usize) -> Vec<Field> {
        let field = |name: &str, data_type| Field::new(format!("a{position}.{name}"), data_type, true);
        match self {
            Accumulator::Count(_) => vec![field("count", DataType::UInt64)],
            Accumulator::SumF64 { .. } => vec![field("sum", DataType::Binary), field("count", DataType::UInt64)],
            Accumulator::SumI64 { .. } => {
                vec![field("sum", DataType::FixedSizeBinary(16)), field("count", DataType::UInt64)]
            }
            Accumulator::Key { .. } => vec![field("key", DataType::Int64)],
            Accumulator::Text { .. } => vec![field("text", DataType::Utf8)],
            Accumulator::Hll { precision, .. } => vec![field("hll", DataType::FixedSizeBinary(1 << precision))],
            Accumulator::Distinct(_) => {
                let item = Arc::new(Field::new("item", DataType::Binary, true));
                vec![field("distinct", DataType::List(item))]
            }
            Accumulator::Host(column) => {
                let states = column.call().state().iter().enumerate();
                states.map(|(index, data_type)| field(&format!("state{index}"), data_type.clone())).collect()
            }
        }
    }

    /// The state of `groups` as arrays.
    pub fn encode(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        if let Accumulator::Host(column) = self {
            return column.encode(groups);
        }
        let groups = groups.iter().map(|g| *g as usize);
        let counts_of = |counts: &[u64], groups: &mut dyn Iterator<Item = usize>| -> ArrayRef {
            Arc::new(groups.map(|g| counts[g]).collect::<UInt64Array>())
        };
        Ok(match self {
            Accumulator::Count(counts) => vec![counts_of(counts, &mut groups.clone())],
            Accumulator::SumF64 { sums, counts } => {
                let bytes: BinaryArray = groups.clone().map(|g| Some(sums[g].to_bytes())).collect();
                vec![Arc::new(bytes), counts_of(counts, &mut groups.clone())]
            }
            Accumulator::SumI64 { sums, counts } => {
                let mut bytes = FixedSizeBinaryBuilder::new(16);
                for group in groups.clone() {
                    bytes.append_value(sums[group].to_le_bytes())?;
                }
                vec![Arc::new(bytes.finish()), counts_of(counts, &mut groups.clone())]
            }
            Accumulator::Key { values, .. } => vec![Arc::new(groups.map(|g| values[g]).collect::<Int64Array>())],
            Accumulator::Text { values, .. } => {
                vec![Arc::new(groups.map(|g| values[g].as_deref()).collect::<StringArray>())]
            }
            Accumulator::Hll { precision, registers } => {
                let size = 1usize << precision;
                let mut bytes = FixedSizeBinaryBuilder::new(size as i32);
                for group in groups {
                    bytes.append_value(&registers[group * size..][..size])?;
                }
                vec![Arc::new(bytes.finish())]
            }
            Accumulator::Distinct(sets) => {
                let mut lists = ListBuilder::new(BinaryBuilder::new());
                for group in groups {
                    let mut values: Vec<&Box<[u8]>> = sets[group].iter().collect();
                    values.sort();
                    values.iter().for_each(|v| lists.values().append_value(v));
                    lists.append(true);
                }
                vec![Arc::new(lists.finish())]
            }
            Accumulator::Host(_) => return Err(Error::internal("state of the host is encoded by the host")),
        })
    }

    /// Sets group `group` from row `row` of encoded columns.
    pub fn decode(&mut self, group: usize, columns: &[ArrayRef], row: usize) -> Result<()> {
        let column = |index: usize| columns.get(index).ok_or_else(|| Error::internal("a state column is missing"));
        let count = |index: usize| Ok::<u64, Error>(typed(column(index)?.as_primitive_opt::<UInt64Type>())?.value(row));
        match self {
            Accumulator::Count(counts) => counts[group] = count(0)?,
            Accumulator::SumF64 { sums, counts } => {
                let bytes = typed(column(0)?.as_binary_opt::<i32>())?.value(row);
                sums[group] = ExactSum::from_bytes(bytes).map_err(|e| damaged(e.to_string()))?;
                counts[group] = count(1)?;
            }
            Accumulator::SumI64 { sums, counts } => {
                let bytes = typed(column(0)?.as_any().downcast_ref::<FixedSizeBinaryArray>())?.value(row);
                sums[group] = i128::from_le_bytes(bytes.try_into().map_err(|_| damaged("a sum is not 16 bytes"))?);
                counts[group] = count(1)?;
            }
            Accumulator::Key { values, .. } => {
                let keys = typed(column(0)?.as_primitive_opt::<Int64Type>())?;
                values[group] = keys.is_valid(row).then(|| keys.value(row));
            }
            Accumulator::Text { values, .. } => {
                let texts = typed(column(0)?.as_string_opt::<i32>())?;
                values[group] = texts.is_valid(row).then(|| texts.value(row).into());
            }
            Accumulator::Hll { precision, registers } => {
                let size = 1usize << *precision;
                let bytes = typed(column(0)?.as_any().downcast_ref::<FixedSizeBinaryArray>())?.value(row);
                if bytes.len() != size {
                    return Err(damaged("HLL registers of another precision"));
                }
                registers[group * size..][..size].copy_from_slice(bytes);
            }
            Accumulator::Distinct(sets) => {
                let values = typed(column(0)?.as_list_opt::<i32>())?.value(row);
                let values = typed(values.as_binary_opt::<i32>())?;
                sets[group] = values.iter().flatten().map(Box::from).collect();
            }
            Accumulator::Host(own) => own.decode(group, columns, row)?,
        }
        Ok(())
    }

    /// Bytes held, roughly.
    pub fn memory(&self) -> usize {
        match self {
            Accumulator::Count(counts) => counts.len() * 8,
            Accumulator::SumF64 { sums, counts } => sums.len() * size_of::<ExactSum>() + counts.len() * 8,
            Accumulator::SumI64 { sums, counts } => sums.len() * 16 + counts.len() * 8,
            Accumulator::Key { values, .. } => values.len() * 16,
            Accumulator::Text { values, .. } => values.iter().map(|v| 16 + v.as_deref().map_or(0, str::len)).sum(),
            Accumulator::Hll { registers, .. } => registers.len(),
            Accumulator::Distinct(sets) => {
                sets.iter().map(|s| 32 + s.iter().map(|v| v.len() + 24).sum::<usize>()).sum()
            }
            Accumulator::Host(column) => column.memory(),
        }
    }
}

fn extreme<T: Ord>(greatest: bool, a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) if greatest => Some(a.max(b)),
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn extreme_array(keys: impl Iterator<Item = Option<i64>>, data_type: &DataType) -> Result<ArrayRef> {
    if data_type.is_floating() {
        let doubles: Float64Array = keys.map(|k| k.map(from_order_key)).collect();
        return Ok(arrow::compute::cast(&doubles, data_type)?);
    }
    let integers: Int64Array = keys.collect();
    match data_type {
        DataType::Date32 => {
            let days = arrow::compute::cast(&integers, &DataType::Int32)?;
            Ok(arrow::compute::cast(&days, data_type)?)
        }
        _ => Ok(arrow::compute::cast(&integers, data_type)?),
    }
}

fn typed<T>(array: Option<T>) -> Result<T> {
    array.ok_or_else(|| damaged("a state column has another type"))
}

fn damaged(what: impl Into<String>) -> Error {
    Error::new(ErrorCode::CheckpointCorrupt, format!("state does not decode: {}", what.into()))
}

fn overflow() -> Error {
    Error::new(ErrorCode::ArithmeticOverflow, "sum() is outside BIGINT; cast its argument to double")
}
