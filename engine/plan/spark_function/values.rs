//! The values that windows have, and those by which doubles are equal.
//!
//! Comes in: columns of times and of doubles. Goes out: columns of windows, and columns whose equal doubles have equal bits. Fails: columns that are
//! no times.

use crate::error::{Error, ErrorCode, Result};
use crate::types::timestamp;
use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray, TimestampMicrosecondArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields, Float32Type, Float64Type, TimestampMicrosecondType};
use std::sync::Arc;

/// `window` as a value: the one tumbling window of each time. Sliding windows make several rows of one: see
/// [`super::SparkFunction::window_generator`].
pub(super) fn window_struct(time: &ArrayRef, duration: i64, start: i64) -> Result<ArrayRef> {
    let time = time.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| {
        Error::new(ErrorCode::EventTimeNotTimestamp, format!("window() needs a timestamp, not {}", time.data_type()))
    })?;
    let starts: TimestampMicrosecondArray =
        time.unary(|t| t.wrapping_sub((t.wrapping_sub(start)).rem_euclid(duration)));
    let ends: TimestampMicrosecondArray = starts.unary(|t| t.wrapping_add(duration));
    Ok(Arc::new(window_array(starts, ends)?))
}

/// The `window` struct of starts and ends; NULL where the start is.
pub fn window_array(starts: TimestampMicrosecondArray, ends: TimestampMicrosecondArray) -> Result<StructArray> {
    let nulls: Option<NullBuffer> = starts.nulls().cloned();
    let columns: Vec<ArrayRef> =
        vec![Arc::new(starts.with_timezone(crate::types::UTC)), Arc::new(ends.with_timezone(crate::types::UTC))];
    Ok(StructArray::try_new(window_fields(), columns, nulls)?)
}

/// Fields of the `window` struct.
pub fn window_fields() -> Fields {
    Fields::from(vec![Field::new("start", timestamp(), true), Field::new("end", timestamp(), true)])
}

/// Doubles with -0.0 as 0.0 and one NaN, inside structs and arrays too; other arrays as they are.
pub fn normalize(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float64 => Arc::new(
            array
                .as_primitive::<Float64Type>()
                .unary::<_, Float64Type>(|v| if v.is_nan() { f64::NAN } else { v + 0.0 }),
        ),
        DataType::Float32 => Arc::new(
            array
                .as_primitive::<Float32Type>()
                .unary::<_, Float32Type>(|v| if v.is_nan() { f32::NAN } else { v + 0.0 }),
        ),
        DataType::Struct(fields) => {
            let structs = array.as_struct();
            let columns = structs.columns().iter().map(normalize).collect();
            // The same fields, lengths and NULLs as before.
            match StructArray::try_new(fields.clone(), columns, structs.nulls().cloned()) {
                Ok(structs) => Arc::new(structs),
                Err(_) => array.clone(),
            }
        }
        DataType::List(element) => {
            let lists = array.as_list::<i32>();
            let values = normalize(lists.values());
            match ListArray::try_new(element.clone(), lists.offsets().clone(), values, lists.nulls().cloned()) {
                Ok(lists) => Arc::new(lists),
                Err(_) => array.clone(),
            }
        }
        _ => array.clone(),
    }
}

/// [`normalize`] at every depth of structs and arrays.
pub fn deep_normalize(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Struct(fields) => {
            let structs = array.as_struct();
            let columns = structs.columns().iter().map(deep_normalize).collect::<Result<_>>()?;
            let nulls = structs.nulls().cloned();
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, structs.len())?)
        }
        DataType::List(field) => {
            let list = array.as_list::<i32>();
            let values = deep_normalize(list.values())?;
            let nulls = list.nulls().cloned();
            Arc::new(ListArray::try_new(field.clone(), list.offsets().clone(), values, nulls)?)
        }
        _ => normalize(array),
    })
}
