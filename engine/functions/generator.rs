//! Generators: functions that make several rows of one.
//!
//! Comes in: a call. Goes out: for each row a list of structs, a struct for each row that it makes; the plan's Generate unnests them.
//! Fails: arguments of the wrong type.

use super::builtin::{ANY, Builtin, Call, Typed, conform, list_of, typed};
use crate::error::{Error, Result};
use crate::plan::coerce::common_type;
use crate::plan::spark_function::{window_array, window_fields};
use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, ListArray, StringArray, StructArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, Fields};
use std::sync::Arc;

pub(super) static FUNCTIONS: &[Builtin] = &[
    typed("explode", (1, 1), |a| rows(a, false), |c| explode(c, false)),
    typed("posexplode", (1, 1), |a| rows(a, true), |c| explode(c, true)),
    typed(
        "inline",
        (1, 1),
        |a| match a.element(0)? {
            DataType::Struct(_) => Typed::new(a.types, a.of(0).clone()),
            _ => Err(a.mismatch(0, "an ARRAY of STRUCTs")),
        },
        |c| c.expanded(0),
    ),
    typed("stack", (2, ANY), stack_types, stack),
    typed(
        "json_tuple",
        (2, ANY),
        |a| {
            let fields: Vec<Field> =
                (0..a.types.len() - 1).map(|i| Field::new(format!("c{i}"), DataType::Utf8, true)).collect();
            let arguments = vec![DataType::Utf8; a.types.len()];
            Ok(Typed { arguments, returns: list_of(DataType::Struct(Fields::from(fields))) })
        },
        json_tuple,
    ),
];

/// `window(time, duration, slide, start)` where windows overlap; it goes by the name of `window` and is made by the plan, so that it is
/// not among the functions that have names.
pub(crate) static SLIDING_WINDOWS: Builtin = typed(
    "window",
    (4, 4),
    |a| {
        let fields = Fields::from(vec![Field::new("window", DataType::Struct(window_fields()), true)]);
        Typed::new(a.types, list_of(DataType::Struct(fields)))
    },
    sliding_windows,
);

fn rows(a: &super::builtin::Arguments, position: bool) -> Result<Typed> {
    let mut fields = Vec::new();
    if position {
        fields.push(Field::new("pos", DataType::Int32, true));
    }
    match a.of(0) {
        DataType::Map(..) => {
            let (key, value) = a.entry(0)?;
            fields.extend([Field::new("key", key, true), Field::new("value", value, true)]);
        }
        DataType::List(_) => fields.push(Field::new("col", a.element(0)?, true)),
        _ => return Err(a.mismatch(0, "an ARRAY or a MAP")),
    }
    Typed::new(a.types, list_of(DataType::Struct(Fields::from(fields))))
}

fn parts(returns: &DataType) -> Result<(Arc<Field>, Fields)> {
    match returns {
        DataType::List(field) => match field.data_type() {
            DataType::Struct(fields) => Ok((field.clone(), fields.clone())),
            _ => Err(Error::internal("a generator without structs")),
        },
        _ => Err(Error::internal("a generator that gives no list")),
    }
}

fn explode(call: &Call, position: bool) -> Result<ArrayRef> {
    let (field, fields) = parts(call.returns)?;
    let array = call.expanded(0)?;
    let (offsets, nulls, values) = match array.data_type() {
        DataType::Map(..) => {
            let map = array.as_map();
            (map.offsets().clone(), map.nulls().cloned(), vec![map.keys().clone(), map.values().clone()])
        }
        _ => {
            let list = array.as_list::<i32>();
            (list.offsets().clone(), list.nulls().cloned(), vec![list.values().clone()])
        }
    };
    let length = values.first().map_or(0, |values| values.len());
    let mut columns = Vec::new();
    if position {
        let mut positions = vec![0i32; length];
        for ends in offsets.windows(2) {
            for (index, place) in positions.iter_mut().take(ends[1] as usize).skip(ends[0] as usize).enumerate() {
                *place = index as i32;
            }
        }
        columns.push(Arc::new(Int32Array::from(positions)) as ArrayRef);
    }
    columns.extend(values);
    let columns =
        columns.into_iter().zip(&fields).map(|(c, f)| conform(c, f.data_type())).collect::<Result<Vec<_>>>()?;
    let structs = StructArray::try_new(fields, columns, None)?;
    Ok(Arc::new(ListArray::try_new(field, offsets, Arc::new(structs), nulls)?))
}

/// The windows that a time is in, the latest first; none of NULL.
fn sliding_windows(call: &Call) -> Result<ArrayRef> {
    let (field, fields) = parts(call.returns)?;
    let times = call.instant(0)?;
    let parameter = |index: usize| {
        let value = call.long(index)?.get(0).filter(|value| index == 3 || *value > 0);
        value.ok_or_else(|| Error::internal("a window without a length"))
    };
    let (duration, slide, origin) = (parameter(1)?, parameter(2)?, parameter(3)?);
    let (mut starts, mut lengths) = (Vec::new(), Vec::with_capacity(call.rows));
    for row in 0..call.rows {
        let before = starts.len();
        if let Some(time) = times.get(row) {
            let mut start = time.checked_sub(time.wrapping_sub(origin).rem_euclid(slide));
            while let Some(from) = start.filter(|from| from.checked_add(duration).is_some_and(|end| time < end)) {
                starts.push(from);
                start = from.checked_sub(slide);
            }
        }
        lengths.push(starts.len() - before);
    }
    let starts = TimestampMicrosecondArray::from(starts);
    let ends = starts.unary(|start| start.wrapping_add(duration));
    let windows: ArrayRef = Arc::new(window_array(starts, ends)?);
    let structs = StructArray::try_new(fields, vec![windows], None)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(field, offsets, Arc::new(structs), None)?))
}

fn stack_types(a: &super::builtin::Arguments) -> Result<Typed> {
    let n = a.integer(0).filter(|n| *n > 0).ok_or_else(|| a.mismatch(0, "a constant INT greater than 0"))? as usize;
    let width = (a.types.len() - 1).div_ceil(n);
    let mut types = Vec::with_capacity(width);
    for column in 0..width {
        let of: Vec<DataType> = a.types.iter().skip(1 + column).step_by(width).cloned().collect();
        types.push(common_type(&of).ok_or_else(|| a.mismatch(1 + column + width, "of the column's type"))?);
    }
    let values = (0..a.types.len() - 1).map(|i| types[i % width].clone());
    let arguments = [DataType::Int32].into_iter().chain(values).collect();
    let fields: Vec<Field> =
        types.iter().enumerate().map(|(i, t)| Field::new(format!("col{i}"), t.clone(), true)).collect();
    Ok(Typed { arguments, returns: list_of(DataType::Struct(Fields::from(fields))) })
}

fn stack(call: &Call) -> Result<ArrayRef> {
    let (field, fields) = parts(call.returns)?;
    let width = fields.len();
    let n = (call.arguments.len() - 1).div_ceil(width.max(1));
    let values = (1..call.arguments.len()).map(|i| call.expanded(i)).collect::<Result<Vec<_>>>()?;
    let mut columns = Vec::with_capacity(width);
    for (column, of) in fields.iter().enumerate() {
        let null = new_null_array(of.data_type(), 1);
        let mut sources: Vec<&dyn Array> = values.iter().skip(column).step_by(width).map(|v| v.as_ref()).collect();
        let filled = sources.len();
        sources.push(null.as_ref());
        let place = |row: usize, line: usize| if line < filled { (line, row) } else { (filled, 0) };
        let indices: Vec<(usize, usize)> =
            (0..call.rows).flat_map(|row| (0..n).map(move |line| place(row, line))).collect();
        columns.push(interleave(&sources, &indices)?);
    }
    let structs = StructArray::try_new(fields, columns, None)?;
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(n, call.rows));
    Ok(Arc::new(ListArray::try_new(field, offsets, Arc::new(structs), None)?))
}

fn json_tuple(call: &Call) -> Result<ArrayRef> {
    let (field, fields) = parts(call.returns)?;
    let texts = call.text(0)?;
    let names = (1..call.arguments.len()).map(|i| call.text(i)).collect::<Result<Vec<_>>>()?;
    let mut columns: Vec<Vec<Option<String>>> = vec![Vec::with_capacity(call.rows); names.len()];
    for row in 0..call.rows {
        let value = texts.get(row).and_then(|json| serde_json::from_str::<serde_json::Value>(json).ok());
        for (column, name) in columns.iter_mut().zip(&names) {
            let found = value.as_ref().zip(name.get(row)).and_then(|(value, name)| value.get(name));
            column.push(match found {
                None | Some(serde_json::Value::Null) => None,
                Some(serde_json::Value::String(text)) => Some(text.clone()),
                Some(other) => Some(other.to_string()),
            });
        }
    }
    let columns = columns.into_iter().map(|column| Arc::new(StringArray::from(column)) as ArrayRef).collect();
    let structs = StructArray::try_new(fields, columns, None)?;
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(1, call.rows));
    Ok(Arc::new(ListArray::try_new(field, offsets, Arc::new(structs), None)?))
}
