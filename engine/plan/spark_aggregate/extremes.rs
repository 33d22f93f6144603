//! Accumulators that keep one row's value: the least, the greatest, the first, the last.
//!
//! Comes in: columns of any type that can be ordered. Goes out: a value of the same type. Doubles are ordered as Spark orders them:
//! -0.0 is 0.0, and NaN is greater than every number. Fails: types that have no order.

use super::super::spark_function::normalize;
use super::sums::column;
use crate::error::Error;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::Accumulator;

/// Whether values of the type can be compared.
pub fn orderable(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map(_, _) | DataType::Union(_, _) => false,
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            orderable(element.data_type())
        }
        DataType::Struct(fields) => fields.iter().all(|f| orderable(f.data_type())),
        other => RowConverter::supports_fields(&[SortField::new(other.clone())]),
    }
}

/// Values of one type as bytes that compare as Spark compares the values.
#[derive(Debug)]
pub struct Ordering {
    data_type: DataType,
    converter: RowConverter,
}

impl Ordering {
    pub fn new(data_type: DataType) -> Result<Self> {
        let converter = RowConverter::new(vec![SortField::new(data_type.clone())])?;
        Ok(Self { data_type, converter })
    }

    /// The bytes of every row.
    pub fn rows(&self, array: &ArrayRef) -> Result<Rows> {
        let array = normalize(array);
        // A dictionary's values, or what another reader of the state made of the type.
        let array =
            if array.data_type() == &self.data_type { array } else { arrow::compute::cast(&array, &self.data_type)? };
        Ok(self.converter.convert_columns(&[array])?)
    }

    /// The values that stand behind bytes of [`Ordering::rows`].
    pub fn values<'a>(&self, rows: impl IntoIterator<Item = &'a [u8]>) -> Result<ArrayRef> {
        let parser = self.converter.parser();
        let mut columns = self.converter.convert_rows(rows.into_iter().map(|bytes| parser.parse(bytes)))?;
        columns.pop().ok_or_else(|| Error::internal("rows without a column").into())
    }

    fn value(&self, bytes: Option<&[u8]>) -> Result<ScalarValue> {
        match bytes {
            Some(bytes) => ScalarValue::try_from_array(&self.values([bytes])?, 0),
            None => ScalarValue::try_from(&self.data_type),
        }
    }
}

/// Rows of the array that are not NULL.
pub fn present(array: &ArrayRef) -> impl Iterator<Item = usize> + use<> {
    let rows = if array.data_type() == &DataType::Null { 0 } else { array.len() };
    let nulls = array.logical_nulls();
    (0..rows).filter(move |row| nulls.as_ref().is_none_or(|n| n.is_valid(*row)))
}

/// Least or greatest value.
#[derive(Debug)]
pub struct Extreme {
    greatest: bool,
    ordering: Ordering,
    best: Option<Box<[u8]>>,
}

impl Extreme {
    pub fn new(greatest: bool, data_type: DataType) -> Result<Self> {
        Ok(Self { greatest, ordering: Ordering::new(data_type)?, best: None })
    }
}

impl Accumulator for Extreme {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = column(values, 0, |c| Some(c.clone()))?;
        let rows = self.ordering.rows(&values)?;
        let candidates = present(&values).map(|row| rows.row(row));
        let best = if self.greatest { candidates.max() } else { candidates.min() };
        if let Some(best) = best
            && self.best.as_deref().is_none_or(|old| if self.greatest { best.data() > old } else { best.data() < old })
        {
            self.best = Some(best.data().into());
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.ordering.value(self.best.as_deref())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.best.as_ref().map_or(0, |b| b.len())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}

/// The value of the row with the least or greatest ordering; of several, the last one in the order of the input, as in Spark.
#[derive(Debug)]
pub struct By {
    greatest: bool,
    ordering: Ordering,
    best: Option<Box<[u8]>>,
    value: ScalarValue,
}

impl By {
    pub fn new(greatest: bool, value: DataType, ordering: DataType) -> Result<Self> {
        let value = ScalarValue::try_from(&value)?;
        Ok(Self { greatest, ordering: Ordering::new(ordering)?, best: None, value })
    }
}

impl Accumulator for By {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (values, by) = (column(values, 0, |c| Some(c.clone()))?, column(values, 1, |c| Some(c.clone()))?);
        let rows = self.ordering.rows(&by)?;
        let mut found: Option<usize> = None;
        for row in present(&by) {
            let own = rows.row(row);
            let better = match (found, &self.best) {
                (Some(best), _) if self.greatest => own >= rows.row(best),
                (Some(best), _) => own <= rows.row(best),
                (None, Some(best)) if self.greatest => own.data() >= best.as_ref(),
                (None, Some(best)) => own.data() <= best.as_ref(),
                (None, None) => true,
            };
            if better {
                found = Some(row);
            }
        }
        if let Some(row) = found {
            self.best = Some(rows.row(row).data().into());
            self.value = ScalarValue::try_from_array(&values, row)?;
            self.value.compact();
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.value.size() + self.best.as_ref().map_or(0, |b| b.len())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), self.ordering.value(self.best.as_deref())?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}

/// The first or the last value in the order of the input.
#[derive(Debug)]
pub struct First {
    last: bool,
    ignore_nulls: bool,
    value: ScalarValue,
    seen: bool,
}

impl First {
    pub fn new(last: bool, ignore_nulls: bool, data_type: DataType) -> Result<Self> {
        Ok(Self { last, ignore_nulls, value: ScalarValue::try_from(&data_type)?, seen: false })
    }

    fn take(&mut self, values: &ArrayRef, mut rows: impl DoubleEndedIterator<Item = usize>) -> Result<()> {
        if self.seen && !self.last {
            return Ok(());
        }
        if let Some(row) = if self.last { rows.next_back() } else { rows.next() } {
            self.value = ScalarValue::try_from_array(values, row)?;
            self.value.compact();
            self.seen = true;
        }
        Ok(())
    }
}

impl Accumulator for First {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = column(values, 0, |c| Some(c.clone()))?;
        match self.ignore_nulls {
            true => {
                let rows: Vec<usize> = present(&values).collect();
                self.take(&values, rows.into_iter())
            }
            false => self.take(&values, 0..values.len()),
        }
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.value.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), ScalarValue::Boolean(Some(self.seen))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let values = column(states, 0, |c| Some(c.clone()))?;
        let seen = column(states, 1, |c| c.as_boolean_opt().cloned())?;
        let rows: Vec<usize> = (0..values.len()).filter(|row| seen.is_valid(*row) && seen.value(*row)).collect();
        self.take(&values, rows.into_iter())
    }
}
