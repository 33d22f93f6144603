//! Growing columns: where decoders put the values of a row, and take them back when the row turns out to be bad.
//!
//! Comes in: values of one type, row by row. Goes out: Arrow arrays. NULLs are kept as a list of rows, so that columns
//! without any pay nothing. Fails: text past the 2 GiB of one Arrow array.

use super::interner::Dictionary;
use crate::error::{Error, ErrorCode, Result};
use crate::types::{DataType, UTC};
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, ListArray, MapArray, PrimitiveArray, StringArray, StructArray, new_empty_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType as ArrowType, Date32Type, TimestampMicrosecondType, UInt32Type};
use arrow::util::bit_util;
use std::sync::Arc;

/// A value of a type without a fast column: the general way.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    Boolean(bool),
    /// Every integer type, dates (days) and timestamps (microseconds).
    Integer(i64),
    Float(f32),
    Double(f64),
    Decimal(i128),
    String(String),
    Binary(Vec<u8>),
    /// The elements of an array, or the fields of a struct.
    List(Vec<Cell>),
    /// The entries of a map.
    Map(Vec<(Cell, Cell)>),
}

/// The values of a column, NULL or not.
#[derive(Debug)]
pub(super) enum Data {
    Boolean(Vec<bool>),
    Byte(Vec<i8>),
    Short(Vec<i16>),
    Integer(Vec<i32>),
    Long(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Date(Vec<i32>),
    Timestamp(Vec<i64>),
    String { ends: Vec<i32>, bytes: Vec<u8> },
    Dictionary(Dictionary),
    General(Vec<Cell>),
}

/// A column of a batch in the making.
#[derive(Debug)]
pub(super) struct Column {
    data_type: DataType,
    pub(super) data: Data,
    nulls: Vec<u32>,
}

macro_rules! each_vector {
    ($data:expr, $values:ident => $plain:expr, $ends:ident => $text:expr) => {
        match $data {
            Data::Boolean($values) => $plain,
            Data::Byte($values) => $plain,
            Data::Short($values) => $plain,
            Data::Integer($values) | Data::Date($values) => $plain,
            Data::Long($values) | Data::Timestamp($values) => $plain,
            Data::Float($values) => $plain,
            Data::Double($values) => $plain,
            Data::Dictionary($values) => $plain,
            Data::General($values) => $plain,
            Data::String { ends: $ends, .. } => $text,
        }
    };
}

impl Column {
    pub(super) fn new(data_type: &DataType, dictionary: bool) -> Self {
        let data = match data_type {
            DataType::Boolean => Data::Boolean(Vec::new()),
            DataType::Byte => Data::Byte(Vec::new()),
            DataType::Short => Data::Short(Vec::new()),
            DataType::Integer => Data::Integer(Vec::new()),
            DataType::Long => Data::Long(Vec::new()),
            DataType::Float => Data::Float(Vec::new()),
            DataType::Double => Data::Double(Vec::new()),
            DataType::Date => Data::Date(Vec::new()),
            DataType::Timestamp => Data::Timestamp(Vec::new()),
            DataType::String if dictionary => Data::Dictionary(Dictionary::new()),
            DataType::String => Data::String { ends: vec![0], bytes: Vec::new() },
            _ => Data::General(Vec::new()),
        };
        Self { data_type: data_type.clone(), data, nulls: Vec::new() }
    }

    pub(super) fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// The type of the array that `finish` gives.
    pub(super) fn arrow_type(&self) -> ArrowType {
        match &self.data {
            Data::Dictionary(_) => ArrowType::Dictionary(Box::new(ArrowType::UInt32), Box::new(ArrowType::Utf8)),
            _ => self.data_type.to_arrow(),
        }
    }

    /// Call before a batch whose strings have at most `bytes` bytes in all.
    pub(super) fn begin(&mut self, bytes: usize) -> Result<()> {
        // A batch that failed has left its rows behind.
        self.truncate(0);
        match &mut self.data {
            Data::Dictionary(dictionary) => dictionary.begin(bytes),
            _ => Ok(()),
        }
    }

    pub(super) fn rows(&self) -> usize {
        each_vector!(&self.data, values => values.len(), ends => ends.len() - 1)
    }

    /// Takes back the rows from `rows` on.
    pub(super) fn truncate(&mut self, rows: usize) {
        each_vector!(&mut self.data, values => values.truncate(rows), ends => ends.truncate(rows + 1));
        if let Data::String { ends, bytes } = &mut self.data {
            bytes.truncate(ends.last().map_or(0, |end| *end as usize));
        }
        while self.nulls.last().is_some_and(|row| *row as usize >= rows) {
            self.nulls.pop();
        }
    }

    pub(super) fn push_null(&mut self) {
        self.nulls.push(self.rows() as u32);
        match &mut self.data {
            Data::General(cells) => cells.push(Cell::Null),
            Data::String { ends, bytes } => ends.push(bytes.len() as i32),
            Data::Boolean(values) => values.push(false),
            Data::Byte(values) => values.push(0),
            Data::Short(values) => values.push(0),
            Data::Integer(values) | Data::Date(values) => values.push(0),
            Data::Long(values) | Data::Timestamp(values) => values.push(0),
            Data::Float(values) => values.push(0.0),
            Data::Double(values) => values.push(0.0),
            Data::Dictionary(dictionary) => dictionary.push_null(),
        }
    }

    /// Appends a string to a string column, and says whether the column is one.
    #[inline]
    pub(super) fn push_text(&mut self, text: &[u8]) -> bool {
        match &mut self.data {
            Data::String { ends, bytes } => {
                bytes.extend_from_slice(text);
                ends.push(bytes.len() as i32);
            }
            Data::Dictionary(dictionary) => dictionary.push(text),
            _ => return false,
        }
        true
    }

    /// The array of all rows; the column is empty afterwards.
    pub(super) fn finish(&mut self) -> Result<ArrayRef> {
        let rows = self.rows();
        let nulls = null_buffer(&std::mem::take(&mut self.nulls), rows);
        Ok(match &mut self.data {
            Data::Boolean(values) => {
                let array = BooleanArray::new(BooleanBuffer::from(values.as_slice()), nulls);
                values.clear();
                Arc::new(array)
            }
            Data::Byte(values) => Arc::new(Int8Array::new(taken(values), nulls)),
            Data::Short(values) => Arc::new(Int16Array::new(taken(values), nulls)),
            Data::Integer(values) => Arc::new(Int32Array::new(taken(values), nulls)),
            Data::Long(values) => Arc::new(Int64Array::new(taken(values), nulls)),
            Data::Float(values) => Arc::new(Float32Array::new(taken(values), nulls)),
            Data::Double(values) => Arc::new(Float64Array::new(taken(values), nulls)),
            Data::Date(values) => Arc::new(PrimitiveArray::<Date32Type>::new(taken(values), nulls)),
            Data::Timestamp(values) => {
                Arc::new(PrimitiveArray::<TimestampMicrosecondType>::new(taken(values), nulls).with_timezone(UTC))
            }
            Data::String { ends, bytes } => {
                let mut next = Vec::with_capacity(ends.len());
                next.push(0);
                let ends = std::mem::replace(ends, next);
                let capacity = bytes.len();
                let bytes = Buffer::from_vec(std::mem::replace(bytes, Vec::with_capacity(capacity)));
                Arc::new(StringArray::try_new(OffsetBuffer::new(ScalarBuffer::from(ends)), bytes, nulls)?)
            }
            Data::Dictionary(dictionary) => {
                let (codes, values) = dictionary.finish()?;
                let keys = PrimitiveArray::<UInt32Type>::new(ScalarBuffer::from(codes), nulls);
                // A column of NULLs only has no value for its keys to name, which Arrow allows.
                Arc::new(DictionaryArray::try_new(keys, values)?)
            }
            Data::General(cells) => build(std::mem::take(cells), &self.data_type)?,
        })
    }
}

/// The values as an Arrow buffer; the vector starts again with the same capacity.
fn taken<T: arrow::datatypes::ArrowNativeType>(values: &mut Vec<T>) -> ScalarBuffer<T> {
    let capacity = values.len();
    ScalarBuffer::from(std::mem::replace(values, Vec::with_capacity(capacity)))
}

fn null_buffer(nulls: &[u32], rows: usize) -> Option<NullBuffer> {
    if nulls.is_empty() {
        return None;
    }
    let mut bits = MutableBuffer::from_len_zeroed(rows.div_ceil(8));
    bits.as_slice_mut().fill(0xff);
    for row in nulls {
        bit_util::unset_bit(bits.as_slice_mut(), *row as usize);
    }
    Some(NullBuffer::new(BooleanBuffer::new(bits.into(), 0, rows)))
}

/// The array of general cells.
pub(super) fn build(cells: Vec<Cell>, data_type: &DataType) -> Result<ArrayRef> {
    if cells.is_empty() {
        return Ok(new_empty_array(&data_type.to_arrow()));
    }
    let present: Vec<bool> = cells.iter().map(|cell| *cell != Cell::Null).collect();
    let nulls = NullBuffer::from(present);
    macro_rules! primitive {
        ($array:ty, $cell:ident, $as:ty) => {
            Arc::new(<$array>::from_iter(cells.iter().map(|cell| match cell {
                Cell::$cell(value) => Some(*value as $as),
                _ => None,
            })))
        };
    }
    Ok(match data_type {
        DataType::Boolean => Arc::new(BooleanArray::from_iter(cells.iter().map(|cell| match cell {
            Cell::Boolean(value) => Some(*value),
            _ => None,
        }))),
        DataType::Byte => primitive!(Int8Array, Integer, i8),
        DataType::Short => primitive!(Int16Array, Integer, i16),
        DataType::Integer => primitive!(Int32Array, Integer, i32),
        DataType::Date => primitive!(PrimitiveArray::<Date32Type>, Integer, i32),
        DataType::Long => primitive!(Int64Array, Integer, i64),
        DataType::Timestamp => {
            let array = PrimitiveArray::<TimestampMicrosecondType>::from_iter(cells.iter().map(|cell| match cell {
                Cell::Integer(value) => Some(*value),
                _ => None,
            }));
            Arc::new(array.with_timezone(UTC))
        }
        DataType::TimestampNtz => {
            return Err(Error::new(
                ErrorCode::DatatypeMismatch,
                "TIMESTAMP_NTZ is not decoded; declare the column TIMESTAMP and cast it to timestamp_ntz",
            ));
        }
        DataType::DayTimeInterval | DataType::YearMonthInterval => {
            return Err(Error::new(
                ErrorCode::DatatypeMismatch,
                "intervals are not decoded; declare the column STRING and cast it to the interval",
            ));
        }
        DataType::Float => primitive!(Float32Array, Float, f32),
        DataType::Double => primitive!(Float64Array, Double, f64),
        DataType::Decimal(precision, scale) => {
            let array = Decimal128Array::from_iter(cells.iter().map(|cell| match cell {
                Cell::Decimal(value) => Some(*value),
                _ => None,
            }));
            Arc::new(array.with_precision_and_scale(*precision, *scale)?)
        }
        DataType::String => Arc::new(StringArray::from_iter(cells.iter().map(|cell| match cell {
            Cell::String(text) => Some(text.as_str()),
            _ => None,
        }))),
        DataType::Binary => Arc::new(BinaryArray::from_iter(cells.iter().map(|cell| match cell {
            Cell::Binary(bytes) => Some(bytes.as_slice()),
            _ => None,
        }))),
        DataType::Array(element) => {
            let lists: Vec<Vec<Cell>> = cells.into_iter().map(elements).collect();
            let offsets = OffsetBuffer::from_lengths(lists.iter().map(Vec::len));
            let values = build(lists.into_iter().flatten().collect(), element)?;
            let ArrowType::List(field) = data_type.to_arrow() else { return Err(layout(data_type)) };
            Arc::new(ListArray::try_new(field, offsets, values, Some(nulls))?)
        }
        DataType::Map(key, value) => {
            let maps: Vec<Vec<(Cell, Cell)>> = cells
                .into_iter()
                .map(|cell| match cell {
                    Cell::Map(entries) => entries,
                    _ => Vec::new(),
                })
                .collect();
            let offsets = OffsetBuffer::from_lengths(maps.iter().map(Vec::len));
            let (keys, values): (Vec<Cell>, Vec<Cell>) = maps.into_iter().flatten().unzip();
            let entries = vec![build(keys, key)?, build(values, value)?];
            let ArrowType::Map(field, ordered) = data_type.to_arrow() else { return Err(layout(data_type)) };
            let ArrowType::Struct(fields) = field.data_type().clone() else { return Err(layout(data_type)) };
            let entries = StructArray::try_new(fields, entries, None)?;
            Arc::new(MapArray::try_new(field, offsets, entries, Some(nulls), ordered)?)
        }
        DataType::Struct(fields) => {
            let rows = cells.len();
            let mut columns: Vec<Vec<Cell>> = fields.fields.iter().map(|_| Vec::with_capacity(rows)).collect();
            for cell in cells {
                let mut values = elements(cell).into_iter();
                for column in &mut columns {
                    column.push(values.next().unwrap_or(Cell::Null));
                }
            }
            let arrays = columns
                .into_iter()
                .zip(&fields.fields)
                .map(|(column, field)| build(column, &field.data_type))
                .collect::<Result<Vec<_>>>()?;
            Arc::new(StructArray::try_new_with_length(fields.to_arrow(), arrays, Some(nulls), rows)?)
        }
    })
}

fn layout(data_type: &DataType) -> Error {
    Error::internal(format!("{data_type:?} has no nested Arrow layout"))
}

fn elements(cell: Cell) -> Vec<Cell> {
    match cell {
        Cell::List(cells) => cells,
        _ => Vec::new(),
    }
}
