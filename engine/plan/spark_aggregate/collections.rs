//! Accumulators that keep every value: lists, sets, joined texts, and what is found by counting values: modes and percentiles.
//!
//! Comes in: columns of any type; those that are counted can be ordered. Goes out: arrays, texts, single values. State: the values, with
//! their counts. Fails: negative frequencies of `percentile`. `percentile_approx` counts exactly, which meets every accuracy.

use super::extremes::{Ordering, present};
use super::list_of;
use super::sums::column;
use crate::error::{Error, ErrorCode};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, UInt32Array, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::Accumulator;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// One array value.
pub fn list_scalar(values: ArrayRef, element: DataType) -> ScalarValue {
    let offsets = OffsetBuffer::from_lengths([values.len()]);
    ScalarValue::List(Arc::new(ListArray::new(super::element_field(element), offsets, values, None)))
}

/// Values in the order of the input, without NULLs.
#[derive(Debug)]
pub struct List {
    element: DataType,
    parts: Vec<ArrayRef>,
}

impl List {
    pub fn new(element: DataType) -> Self {
        Self { element, parts: vec![] }
    }
}

impl Accumulator for List {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = column(values, 0, |c| Some(c.clone()))?;
        let rows: UInt32Array = present(&values).map(|row| row as u32).collect();
        if !rows.is_empty() {
            self.parts.push(take(&values, &rows, None)?);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let parts: Vec<&dyn Array> = self.parts.iter().map(AsRef::as_ref).collect();
        let values = if parts.is_empty() { new_empty_array(&self.element) } else { concat(&parts)? };
        Ok(list_scalar(values, self.element.clone()))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.parts.iter().map(|p| p.get_array_memory_size()).sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = column(states, 0, |c| c.as_list_opt::<i32>().cloned())?;
        self.parts.extend(lists.iter().flatten().filter(|values| !values.is_empty()));
        Ok(())
    }
}

/// Texts in the order of the input, joined.
#[derive(Debug)]
pub struct Joined {
    delimiter: String,
    parts: Vec<String>,
}

impl Joined {
    pub fn new(delimiter: String) -> Self {
        Self { delimiter, parts: vec![] }
    }

    fn add(&mut self, texts: &ArrayRef) -> Result<()> {
        let texts = column(std::slice::from_ref(texts), 0, |c| c.as_string_opt::<i32>().cloned())?;
        self.parts.extend(texts.iter().flatten().map(String::from));
        Ok(())
    }
}

impl Accumulator for Joined {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let texts = column(values, 0, |c| Some(c.clone()))?;
        self.add(&texts)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Utf8((!self.parts.is_empty()).then(|| self.parts.join(&self.delimiter))))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.parts.iter().map(|p| p.len() + size_of::<String>()).sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let texts: arrow::array::StringArray = self.parts.iter().map(Some).collect();
        Ok(vec![list_scalar(Arc::new(texts), DataType::Utf8)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = column(states, 0, |c| c.as_list_opt::<i32>().cloned())?;
        lists.iter().flatten().try_for_each(|texts| self.add(&texts))
    }
}

/// What is made of counted values.
#[derive(Debug)]
enum Wanted {
    Set,
    Mode,
    /// Interpolated between the neighbours of each rank.
    Percentile {
        ranks: Vec<f64>,
        several: bool,
    },
    /// The value at each rank; those within the relative error of an end are that end.
    Approximate {
        ranks: Vec<f64>,
        several: bool,
        error: f64,
    },
}

/// Each distinct value with its number of occurrences.
#[derive(Debug)]
pub struct Counted {
    data_type: DataType,
    ordering: Ordering,
    counts: FxHashMap<Box<[u8]>, i64>,
    wanted: Wanted,
}

/// `collect_set`.
pub fn set(data_type: DataType) -> Result<Box<dyn Accumulator>> {
    Counted::boxed(data_type, Wanted::Set)
}

/// `collect_union` of arrays of this type.
pub fn union(arrays: DataType) -> Result<Box<dyn Accumulator>> {
    match arrays {
        DataType::List(element) => Ok(Box::new(Union { values: set(element.data_type().clone())? })),
        other => Err(Error::internal(format!("a union of {other}")).into()),
    }
}

/// The values of arrays, as a set of them.
#[derive(Debug)]
struct Union {
    values: Box<dyn Accumulator>,
}

impl Accumulator for Union {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let lists = column(values, 0, |c| c.as_list_opt::<i32>().cloned())?;
        lists.iter().flatten().try_for_each(|values| self.values.update_batch(&[values]))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.values.evaluate()
    }

    fn size(&self) -> usize {
        self.values.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.values.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.values.merge_batch(states)
    }
}

/// `mode`.
pub fn mode(data_type: DataType) -> Result<Box<dyn Accumulator>> {
    Counted::boxed(data_type, Wanted::Mode)
}

/// `percentile` and `median`.
pub fn percentile(ranks: Vec<f64>, several: bool) -> Result<Box<dyn Accumulator>> {
    Counted::boxed(DataType::Float64, Wanted::Percentile { ranks, several })
}

/// `percentile_approx`.
pub fn percentile_approx(
    data_type: DataType,
    ranks: Vec<f64>,
    several: bool,
    accuracy: i64,
) -> Result<Box<dyn Accumulator>> {
    Counted::boxed(data_type, Wanted::Approximate { ranks, several, error: 1.0 / accuracy as f64 })
}

impl Counted {
    fn boxed(data_type: DataType, wanted: Wanted) -> Result<Box<dyn Accumulator>> {
        let ordering = Ordering::new(data_type.clone())?;
        Ok(Box::new(Self { data_type, ordering, counts: FxHashMap::default(), wanted }))
    }

    fn add(&mut self, values: &ArrayRef, counts: Option<&Int64Array>) -> Result<()> {
        let rows = self.ordering.rows(values)?;
        for row in present(values) {
            let count = match counts {
                Some(counts) if counts.is_null(row) => 0,
                Some(counts) => counts.value(row),
                None => 1,
            };
            if count < 0 {
                let text = format!("percentile(): the frequency {count} is negative; use positive ones");
                return Err(Error::new(ErrorCode::InvalidExpression, text).into());
            }
            let bytes = rows.row(row);
            match self.counts.get_mut(bytes.data()) {
                Some(known) => *known = known.saturating_add(count),
                None if count > 0 => {
                    self.counts.insert(bytes.data().into(), count);
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Values and counts, ascending.
    fn ascending(&self) -> Result<(ArrayRef, Vec<i64>)> {
        let mut entries: Vec<(&[u8], i64)> = self.counts.iter().map(|(v, n)| (v.as_ref(), *n)).collect();
        entries.sort_unstable();
        let values = match entries.is_empty() {
            true => new_empty_array(&self.data_type),
            false => self.ordering.values(entries.iter().map(|(bytes, _)| *bytes))?,
        };
        Ok((values, entries.into_iter().map(|(_, n)| n).collect()))
    }
}

/// Index of the value that holds the zero-based position.
fn at(counts: &[i64], position: i64) -> usize {
    let mut seen = 0i64;
    let found = counts.iter().position(|count| {
        seen = seen.saturating_add(*count);
        seen > position
    });
    found.unwrap_or(counts.len().saturating_sub(1))
}

/// Spark's interpolation: between the values at the positions around `(n - 1) * rank`.
fn interpolated(values: &dyn Array, counts: &[i64], rank: f64) -> Option<f64> {
    let values = values.as_primitive_opt::<Float64Type>()?;
    let total = counts.iter().fold(0i64, |sum, n| sum.saturating_add(*n));
    let position = (total - 1) as f64 * rank;
    let (lower, higher) = (position.floor(), position.ceil());
    let (low, high) = (values.value(at(counts, lower as i64)), values.value(at(counts, higher as i64)));
    Some(if lower == higher || low == high { low } else { (higher - position) * low + (position - lower) * high })
}

/// The value whose rank is `ceil(rank * n)`, and the ends where the accuracy does not tell it from them.
fn nearest(counts: &[i64], rank: f64, error: f64) -> usize {
    let total = counts.iter().fold(0i64, |sum, n| sum.saturating_add(*n));
    if rank <= error {
        return 0;
    }
    if rank >= 1.0 - error {
        return counts.len().saturating_sub(1);
    }
    at(counts, ((rank * total as f64).ceil() as i64 - 1).max(0))
}

impl Accumulator for Counted {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let frequencies = match (&self.wanted, values.get(2)) {
            (Wanted::Percentile { .. }, Some(_)) => {
                Some(column(values, 2, |c| c.as_primitive_opt::<Int64Type>().cloned())?)
            }
            _ => None,
        };
        let values = column(values, 0, |c| Some(c.clone()))?;
        self.add(&values, frequencies.as_ref())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let (values, counts) = self.ascending()?;
        let several_of = |picked: ArrayRef, several: bool, element: &DataType| match several {
            true => Ok(list_scalar(picked, element.clone())),
            false => ScalarValue::try_from_array(&picked, 0),
        };
        match &self.wanted {
            Wanted::Set => Ok(list_scalar(values, self.data_type.clone())),
            Wanted::Mode => {
                let most = counts.iter().max().and_then(|most| counts.iter().position(|n| n == most));
                match most {
                    Some(index) => ScalarValue::try_from_array(&values, index),
                    None => ScalarValue::try_from(&self.data_type),
                }
            }
            Wanted::Percentile { several, .. } if counts.is_empty() => match several {
                true => ScalarValue::try_from(&list_of(DataType::Float64)),
                false => Ok(ScalarValue::Float64(None)),
            },
            Wanted::Approximate { several, .. } if counts.is_empty() => match several {
                true => ScalarValue::try_from(&list_of(self.data_type.clone())),
                false => ScalarValue::try_from(&self.data_type),
            },
            Wanted::Percentile { ranks, several } => {
                let picked: arrow::array::Float64Array =
                    ranks.iter().map(|rank| interpolated(values.as_ref(), &counts, *rank)).collect();
                several_of(Arc::new(picked), *several, &DataType::Float64)
            }
            Wanted::Approximate { ranks, several, error } => {
                let rows: UInt32Array = ranks.iter().map(|rank| Some(nearest(&counts, *rank, *error) as u32)).collect();
                several_of(take(&values, &rows, None)?, *several, &self.data_type)
            }
        }
    }

    fn size(&self) -> usize {
        let entry = size_of::<Box<[u8]>>() + size_of::<i64>();
        size_of_val(self) + self.counts.keys().map(|k| k.len() + entry).sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let (values, counts) = self.ascending()?;
        let values = list_scalar(values, self.data_type.clone());
        Ok(match self.wanted {
            Wanted::Set => vec![values],
            _ => vec![values, list_scalar(Arc::new(Int64Array::from(counts)), DataType::Int64)],
        })
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let values = column(states, 0, |c| c.as_list_opt::<i32>().cloned())?;
        if matches!(self.wanted, Wanted::Set) {
            return values.iter().flatten().try_for_each(|values| self.add(&values, None));
        }
        let counts = column(states, 1, |c| c.as_list_opt::<i32>().cloned())?;
        for (values, counts) in values.iter().zip(counts.iter()) {
            if let (Some(values), Some(counts)) = (values, counts) {
                let counts = column(&[counts], 0, |c| c.as_primitive_opt::<Int64Type>().cloned())?;
                self.add(&values, Some(&counts))?;
            }
        }
        Ok(())
    }
}
