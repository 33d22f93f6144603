//! DISTINCT before any aggregate function.
//!
//! Comes in: the function's arguments. Goes out: what the function makes of each distinct row of arguments, in ascending order. State: the
//! list of those rows. Doubles are one value where Spark says so (-0.0 and 0.0, every NaN).

use super::collections::list_scalar;
use super::extremes::Ordering;
use super::list_of;
use super::sums::column;
use crate::error::Error;
use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::Accumulator;
use rustc_hash::FxHashSet;

/// Type of the state.
pub fn state<'a>(types: impl Iterator<Item = &'a DataType>) -> DataType {
    list_of(DataType::Struct(row_fields(types)))
}

fn row_fields<'a>(types: impl Iterator<Item = &'a DataType>) -> Fields {
    types.enumerate().map(|(i, t)| Field::new(format!("c{i}"), t.clone(), true)).collect()
}

/// Distinct rows of arguments, and the function that they are for.
#[derive(Debug)]
pub struct Distinct {
    fields: Fields,
    ordering: Ordering,
    rows: FxHashSet<Box<[u8]>>,
    inner: Box<dyn Accumulator>,
}

impl Distinct {
    pub fn new(types: Vec<DataType>, inner: Box<dyn Accumulator>) -> Result<Self> {
        let fields = row_fields(types.iter());
        let ordering = Ordering::new(DataType::Struct(fields.clone()))?;
        Ok(Self { fields, ordering, rows: FxHashSet::default(), inner })
    }

    fn add(&mut self, rows: &ArrayRef) -> Result<()> {
        let rows = self.ordering.rows(rows)?;
        for row in rows.iter().filter(|row| !self.rows.contains(row.data())).collect::<Vec<_>>() {
            self.rows.insert(row.data().into());
        }
        Ok(())
    }

    fn ascending(&self) -> Result<ArrayRef> {
        let mut rows: Vec<&[u8]> = self.rows.iter().map(AsRef::as_ref).collect();
        rows.sort_unstable();
        match rows.is_empty() {
            true => Ok(arrow::array::new_empty_array(&DataType::Struct(self.fields.clone()))),
            false => self.ordering.values(rows),
        }
    }
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let columns: Vec<ArrayRef> = values
            .iter()
            .zip(&self.fields)
            .map(|(array, field)| match array.data_type() == field.data_type() {
                true => Ok(array.clone()),
                false => arrow::compute::cast(array, field.data_type()),
            })
            .collect::<std::result::Result<_, _>>()?;
        let rows: ArrayRef = std::sync::Arc::new(StructArray::try_new(self.fields.clone(), columns, None)?);
        self.add(&rows)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let rows = self.ascending()?;
        let rows = rows.as_struct_opt().ok_or_else(|| Error::internal("distinct rows that are not structs"))?;
        if rows.len() > 0 {
            self.inner.update_batch(rows.columns())?;
        }
        self.inner.evaluate()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.rows.iter().map(|r| r.len() + size_of::<Box<[u8]>>()).sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![list_scalar(self.ascending()?, DataType::Struct(self.fields.clone()))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = column(states, 0, |c| c.as_list_opt::<i32>().cloned())?;
        lists.iter().flatten().try_for_each(|rows| self.add(&rows))
    }
}
