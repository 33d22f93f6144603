//! A Parquet column in the layout of the engine's type.
//!
//! Comes in: an array as the Parquet reader makes it. Goes out: the same values under the schema's type: timestamps of
//! any unit in microseconds UTC, structs by field name, lists and maps with the engine's inner names. Fails: a type that
//! means something else, which is never converted.

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, PrimitiveArray, StructArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::datatypes::{
    ArrowTimestampType, DataType, FieldRef, Fields, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType,
};
use std::sync::Arc;

/// `array` as `wanted`, or why it cannot be.
pub(super) fn conform(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, String> {
    let found = array.data_type();
    if found == wanted {
        return Ok(array.clone());
    }
    match (found, wanted) {
        (DataType::Timestamp(unit, _), DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            let micros = match unit {
                TimeUnit::Millisecond => in_micros::<TimestampMillisecondType>(array, |value| value.checked_mul(1000))?,
                TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().clone(),
                TimeUnit::Nanosecond => {
                    in_micros::<TimestampNanosecondType>(array, |value| Some(value.div_euclid(1000)))?
                }
                TimeUnit::Second => return Err(differs(found, wanted)),
            };
            Ok(Arc::new(micros.with_timezone_opt(zone.clone())))
        }
        (DataType::List(_), DataType::List(element)) => {
            let list = array.as_list::<i32>();
            let values = conform(list.values(), element.data_type())?;
            ListArray::try_new(element.clone(), list.offsets().clone(), values, list.nulls().cloned())
                .map(|list| Arc::new(list) as ArrayRef)
                .map_err(|cause| cause.to_string())
        }
        (DataType::Map(..), DataType::Map(entries, ordered)) => {
            let map = array.as_map();
            let DataType::Struct(fields) = entries.data_type() else { return Err(differs(found, wanted)) };
            // Key and value go by position: writers disagree about their names.
            let columns = fields
                .iter()
                .zip(map.entries().columns())
                .map(|(field, column)| conform(column, field.data_type()))
                .collect::<Result<Vec<_>, _>>()?;
            StructArray::try_new(fields.clone(), columns, map.entries().nulls().cloned())
                .and_then(|pairs| {
                    MapArray::try_new(entries.clone(), map.offsets().clone(), pairs, map.nulls().cloned(), *ordered)
                })
                .map(|map| Arc::new(map) as ArrayRef)
                .map_err(|cause| cause.to_string())
        }
        (DataType::Struct(_), DataType::Struct(fields)) => structs(array.as_struct(), fields),
        _ => Err(differs(found, wanted)),
    }
}

fn structs(array: &StructArray, fields: &Fields) -> Result<ArrayRef, String> {
    let column = |field: &FieldRef| match array.column_by_name(field.name()) {
        Some(column) => {
            conform(column, field.data_type()).map_err(|reason| format!("field '{}': {reason}", field.name()))
        }
        None => Ok(new_null_array(field.data_type(), array.len())),
    };
    let columns = fields.iter().map(column).collect::<Result<Vec<_>, _>>()?;
    StructArray::try_new_with_length(fields.clone(), columns, array.nulls().cloned(), array.len())
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(|cause| cause.to_string())
}

fn in_micros<T: ArrowTimestampType>(
    array: &ArrayRef,
    convert: impl Fn(i64) -> Option<i64>,
) -> Result<TimestampMicrosecondArray, String> {
    let array: &PrimitiveArray<T> = array.as_primitive();
    let too_far = || "it holds an instant outside the range of microseconds".to_string();
    array.try_unary::<_, TimestampMicrosecondType, String>(|value| convert(value).ok_or_else(too_far))
}

fn differs(found: &DataType, wanted: &DataType) -> String {
    format!("the file has {found}, the schema {wanted}")
}
