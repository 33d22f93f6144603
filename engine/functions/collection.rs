//! Functions of arrays, maps and structs.
//!
//! Comes in: calls with nested columns. Goes out: elements, arrays and maps. Elements are equal as Spark compares them: -0.0 is 0.0,
//! NaN is NaN, and in sets NULL is NULL. Fails: indices outside of an array (ANSI), NULL and doubled map keys.

mod arrays;
mod maps;
mod sequence;

use super::builtin::{ANY, Arguments, Builtin, Call, Typed, conform, converts, list_of, total, typed};
use super::cast::sql_name;
use crate::error::{Error, ErrorCode, Result};
use crate::plan::coerce::common_type;
use crate::plan::spark_function::deep_normalize;
use arrays::{
    add, contains, extreme, filtered, flatten, insert, join, overlap, remove, repeat, sets, slice, sorted, zip,
};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, ListArray, StringArray, UInt32Array, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{concat as concat_arrays, take};
use arrow::datatypes::{DataType, Field, Fields, IntervalUnit};
use arrow::row::{RowConverter, Rows, SortField};
pub(crate) use maps::map_of_entries;
use maps::{map, map_concat, map_from_arrays, map_from_entries, map_part, map_types, str_to_map};
use sequence::{sequence, sequence_types};
use std::ops::Range;
use std::sync::Arc;

pub(super) static FUNCTIONS: &[Builtin] = &[
    typed(
        "array",
        (0, ANY),
        |a| {
            let element = common_type(a.types).ok_or_else(|| a.mismatch(1, "of a type like the first"))?;
            Ok(Typed { arguments: vec![element.clone(); a.types.len()], returns: list_of(element) })
        },
        array,
    ),
    typed(
        "size",
        (1, 1),
        |a| match a.of(0) {
            DataType::List(_) | DataType::Map(..) | DataType::Null => Typed::new(a.types, DataType::Int32),
            _ => Err(a.mismatch(0, "an ARRAY or a MAP")),
        },
        size,
    ),
    typed("array_size", (1, 1), |a| a.element(0).and_then(|e| as_lists(a, e, DataType::Int32)), size),
    typed("element_at", (2, 2), element_types, |c| element_at(c, true)),
    typed("try_element_at", (2, 2), element_types, |c| element_at(c, false)),
    typed(
        "get",
        (2, 2),
        |a| {
            let element = a.element(0)?;
            Ok(Typed { arguments: vec![list_of(element.clone()), DataType::Int32], returns: element })
        },
        |c| element(c, |length, index| Ok(usize::try_from(index).ok().filter(|i| *i < length))),
    ),
    typed("get_item", (2, 2), element_types, get_item),
    typed("array_contains", (2, 2), |a| with_value(a, DataType::Boolean), contains),
    typed(
        "array_position",
        (2, 2),
        |a| with_value(a, DataType::Int64),
        |c| {
            let found = positions(c)?;
            Ok(Arc::new(Int64Array::from_iter(
                found.into_iter().map(|row| row.map(|(at, _)| at.map_or(0, |at| at as i64 + 1))),
            )))
        },
    ),
    typed("array_remove", (2, 2), |a| with_value(a, DataType::Null), remove),
    typed("array_append", (2, 2), |a| with_value(a, DataType::Null), |c| add(c, false)),
    typed("array_prepend", (2, 2), |a| with_value(a, DataType::Null), |c| add(c, true)),
    typed(
        "array_insert",
        (3, 3),
        |a| {
            let element =
                common_type(&[a.element(0)?, a.of(2).clone()]).ok_or_else(|| a.mismatch(2, "of the array's type"))?;
            let list = list_of(element.clone());
            Ok(Typed { arguments: vec![list.clone(), DataType::Int32, element], returns: list })
        },
        insert,
    ),
    typed("array_compact", (1, 1), one_list, |c| filtered(c, |_, _, null| !null)),
    typed("array_distinct", (1, 1), one_list, |c| sets(c, |_, _| true)),
    typed("array_union", (2, 2), two_lists, |c| sets(c, |_, _| true)),
    typed("array_intersect", (2, 2), two_lists, |c| sets(c, |right, row| right.contains(row))),
    typed("array_except", (2, 2), two_lists, |c| sets(c, |right, row| !right.contains(row))),
    typed("arrays_overlap", (2, 2), |a| two_lists(a).map(|t| Typed { returns: DataType::Boolean, ..t }), overlap),
    total("array_join", "Ss|s", 's', join),
    typed(
        "array_repeat",
        (2, 2),
        |a| {
            let arguments = vec![a.of(0).clone(), DataType::Int32];
            Ok(Typed { arguments, returns: list_of(a.of(0).clone()) })
        },
        repeat,
    ),
    typed("array_sort", (1, 1), one_list, |c| sorted(c, false)),
    typed(
        "sort_array",
        (1, 2),
        |a| {
            let list = list_of(a.element(0)?);
            let ascending = (a.types.len() == 2).then_some(DataType::Boolean);
            Ok(Typed { arguments: [list.clone()].into_iter().chain(ascending).collect(), returns: list })
        },
        |c| sorted(c, true),
    ),
    typed("array_max", (1, 1), one_element, |c| extreme(c, true)),
    typed("array_min", (1, 1), one_element, |c| extreme(c, false)),
    typed(
        "arrays_zip",
        (1, ANY),
        |a| {
            let mut fields = Vec::new();
            for index in 0..a.types.len() {
                fields.push(Field::new(index.to_string(), a.element(index)?, true));
            }
            Typed::new(a.types, list_of(DataType::Struct(Fields::from(fields))))
        },
        zip,
    ),
    typed(
        "flatten",
        (1, 1),
        |a| match a.element(0)? {
            DataType::List(inner) => {
                let inner = list_of(inner.data_type().clone());
                Ok(Typed { arguments: vec![list_of(inner.clone())], returns: inner })
            }
            _ => Err(a.mismatch(0, "an ARRAY of ARRAYs")),
        },
        flatten,
    ),
    typed(
        "slice",
        (3, 3),
        |a| {
            let list = list_of(a.element(0)?);
            Ok(Typed { arguments: vec![list.clone(), DataType::Int32, DataType::Int32], returns: list })
        },
        slice,
    ),
    typed("sequence", (2, 3), sequence_types, sequence),
    typed(
        "reverse",
        (1, 1),
        |a| match a.of(0) {
            DataType::List(_) => one_list(a),
            t if converts(t, &DataType::Utf8) => Ok(Typed { arguments: vec![DataType::Utf8], returns: DataType::Utf8 }),
            _ => Err(a.mismatch(0, "a STRING or an ARRAY")),
        },
        reverse,
    ),
    typed("map", (0, ANY), map_types, map),
    typed(
        "map_from_arrays",
        (2, 2),
        |a| {
            let (key, value) = (a.element(0)?, a.element(1)?);
            Ok(Typed { arguments: vec![list_of(key.clone()), list_of(value.clone())], returns: map_of(key, value) })
        },
        map_from_arrays,
    ),
    typed(
        "map_from_entries",
        (1, 1),
        |a| match a.element(0)? {
            DataType::Struct(fields) if fields.len() == 2 => {
                Typed::new(a.types, map_of(fields[0].data_type().clone(), fields[1].data_type().clone()))
            }
            _ => Err(a.mismatch(0, "an ARRAY of STRUCTs of two fields")),
        },
        map_from_entries,
    ),
    typed("map_keys", (1, 1), |a| Typed::new(a.types, list_of(a.entry(0)?.0)), |c| map_part(c, 0)),
    typed("map_values", (1, 1), |a| Typed::new(a.types, list_of(a.entry(0)?.1)), |c| map_part(c, 1)),
    typed(
        "map_entries",
        (1, 1),
        |a| {
            let (key, value) = a.entry(0)?;
            let fields = vec![Field::new("key", key, false), Field::new("value", value, true)];
            Typed::new(a.types, list_of(DataType::Struct(Fields::from(fields))))
        },
        |c| map_part(c, 2),
    ),
    typed(
        "map_contains_key",
        (2, 2),
        |a| {
            let (key, value) = a.entry(0)?;
            let key = common_type(&[key, a.of(1).clone()]).ok_or_else(|| a.mismatch(1, "of the key's type"))?;
            Ok(Typed { arguments: vec![map_of(key.clone(), value), key], returns: DataType::Boolean })
        },
        |c| {
            let found = look_up(c)?;
            let maps = c.map(0)?;
            Ok(Arc::new(BooleanArray::from_iter((0..c.rows).map(|row| {
                let known = maps.is_valid(c.at(0, row)) && c.array(1).is_ok_and(|keys| keys.is_valid(c.at(1, row)));
                known.then(|| found.get(row).is_some_and(Option::is_some))
            }))))
        },
    ),
    typed(
        "map_concat",
        (1, ANY),
        |a| {
            let mut entries = (0..a.types.len()).map(|i| a.entry(i)).collect::<Result<Vec<_>>>()?.into_iter();
            let first = entries.next().unwrap_or((DataType::Utf8, DataType::Utf8));
            let (key, value) = entries.try_fold(first, |(key, value), (k, v)| {
                match (common_type(&[key, k]), common_type(&[value, v])) {
                    (Some(key), Some(value)) => Ok((key, value)),
                    _ => Err(a.mismatch(1, "a MAP of the first one's types")),
                }
            })?;
            let to = map_of(key, value);
            Ok(Typed { arguments: vec![to.clone(); a.types.len()], returns: to })
        },
        map_concat,
    ),
    typed(
        "str_to_map",
        (1, 3),
        |a| {
            Ok(Typed {
                arguments: vec![DataType::Utf8; a.types.len()],
                returns: map_of(DataType::Utf8, DataType::Utf8),
            })
        },
        str_to_map,
    ),
    typed(
        "typeof",
        (1, 1),
        |a| Typed::new(a.types, DataType::Utf8),
        |c| {
            let name = type_name(c.array(0)?.data_type());
            Ok(Arc::new(StringArray::from(vec![name; c.rows])))
        },
    ),
];

/// A type's name as `typeof` and DDL write it.
pub fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "void".into(),
        DataType::Struct(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|f| format!("{}:{}", f.name(), type_name(f.data_type()))).collect();
            format!("struct<{}>", fields.join(","))
        }
        DataType::List(field) => format!("array<{}>", type_name(field.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => {
                let parts: Vec<String> = fields.iter().map(|f| type_name(f.data_type())).collect();
                format!("map<{}>", parts.join(","))
            }
            _ => "map".into(),
        },
        DataType::Timestamp(_, None) => "timestamp_ntz".into(),
        DataType::Duration(_) => "interval day to second".into(),
        DataType::Interval(IntervalUnit::YearMonth) => "interval year to month".into(),
        DataType::Interval(_) => "interval".into(),
        other => sql_name(other).to_lowercase(),
    }
}

/// Spark's map of a key and a value type.
pub fn map_of(key: DataType, value: DataType) -> DataType {
    let fields = Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(fields), false)), false)
}

fn as_lists(a: &Arguments, element: DataType, returns: DataType) -> Result<Typed> {
    Ok(Typed { arguments: vec![list_of(element); a.types.len()], returns })
}

fn one_list(a: &Arguments) -> Result<Typed> {
    let element = a.element(0)?;
    as_lists(a, element.clone(), list_of(element))
}

fn one_element(a: &Arguments) -> Result<Typed> {
    let element = a.element(0)?;
    as_lists(a, element.clone(), element)
}

fn two_lists(a: &Arguments) -> Result<Typed> {
    let element = common_type(&[a.element(0)?, a.element(1)?])
        .ok_or_else(|| a.mismatch(1, "an ARRAY of the first one's type"))?;
    as_lists(a, element.clone(), list_of(element))
}

/// An array and a value of its type; NULL as result type stands for the array's.
fn with_value(a: &Arguments, returns: DataType) -> Result<Typed> {
    let element =
        common_type(&[a.element(0)?, a.of(1).clone()]).ok_or_else(|| a.mismatch(1, "of the array's element type"))?;
    let list = list_of(element.clone());
    let returns = if returns == DataType::Null { list.clone() } else { returns };
    Ok(Typed { arguments: vec![list, element], returns })
}

fn element_types(a: &Arguments) -> Result<Typed> {
    match a.of(0) {
        DataType::List(field) => {
            let element = field.data_type().clone();
            Ok(Typed { arguments: vec![list_of(element.clone()), DataType::Int32], returns: element })
        }
        DataType::Map(..) => {
            let (key, value) = a.entry(0)?;
            if !converts(a.of(1), &key) {
                return Err(a.mismatch(1, &sql_name(&key)));
            }
            Ok(Typed { arguments: vec![map_of(key.clone(), value.clone()), key], returns: value })
        }
        _ => Err(a.mismatch(0, "an ARRAY or a MAP")),
    }
}

/// Values that compare by their bytes, NULL among them; all of one type.
fn comparable(arrays: &[&ArrayRef]) -> Result<Vec<Rows>> {
    let data_type = arrays.first().map(|a| a.data_type().clone()).unwrap_or(DataType::Null);
    let converter = RowConverter::new(vec![SortField::new(data_type)])?;
    arrays.iter().map(|array| Ok(converter.convert_columns(&[deep_normalize(array)?])?)).collect()
}

fn range(list: &ListArray, row: usize) -> Option<Range<usize>> {
    let offsets = list.value_offsets();
    (list.is_valid(row)).then(|| offsets[row] as usize..offsets[row + 1] as usize)
}

/// Arrays built of elements of one source column.
struct Picks {
    source: ArrayRef,
    indices: Vec<Option<u32>>,
    offsets: Vec<i32>,
    valid: Vec<bool>,
}

impl Picks {
    fn new(source: ArrayRef) -> Self {
        Self { source, indices: vec![], offsets: vec![0], valid: vec![] }
    }

    fn push(&mut self, index: Option<usize>) {
        self.indices.push(index.map(|index| index as u32));
    }

    fn end(&mut self, valid: bool) {
        self.offsets.push(self.indices.len() as i32);
        self.valid.push(valid);
    }

    fn values(&self) -> Result<ArrayRef> {
        Ok(take(&self.source, &UInt32Array::from(self.indices.clone()), None)?)
    }

    fn finish(self, returns: &DataType) -> Result<ArrayRef> {
        let DataType::List(field) = returns else { return Err(Error::internal(format!("an array as {returns}"))) };
        let values = conform(self.values()?, field.data_type())?;
        let offsets = OffsetBuffer::new(self.offsets.into());
        Ok(Arc::new(ListArray::try_new(field.clone(), offsets, values, Some(NullBuffer::from(self.valid)))?))
    }
}

fn array(call: &Call) -> Result<ArrayRef> {
    let columns = (0..call.arguments.len()).map(|i| call.expanded(i)).collect::<Result<Vec<_>>>()?;
    let DataType::List(field) = call.returns else { return Err(Error::internal("array() of another type")) };
    let source = match columns.is_empty() {
        true => new_null_array(field.data_type(), 0),
        false => concat_arrays(&columns.iter().map(|c| c.as_ref()).collect::<Vec<_>>())?,
    };
    let mut picks = Picks::new(source);
    for row in 0..call.rows {
        (0..columns.len()).for_each(|column| picks.push(Some(column * call.rows + row)));
        picks.end(true);
    }
    picks.finish(call.returns)
}

pub(super) fn concat(call: &Call) -> Result<ArrayRef> {
    match call.returns {
        DataType::List(_) => {
            let lists = (0..call.arguments.len()).map(|i| call.list(i)).collect::<Result<Vec<_>>>()?;
            let starts = starts(&lists.iter().map(|l| l.values().len()).collect::<Vec<_>>());
            let values: Vec<&dyn Array> = lists.iter().map(|l| l.values().as_ref()).collect();
            let mut picks = Picks::new(concat_arrays(&values)?);
            for row in 0..call.rows {
                let ranges: Option<Vec<Range<usize>>> =
                    lists.iter().enumerate().map(|(i, list)| range(list, call.at(i, row))).collect();
                for (range, start) in ranges.iter().flatten().zip(&starts) {
                    range.clone().for_each(|index| picks.push(Some(start + index)));
                }
                picks.end(ranges.is_some());
            }
            picks.finish(call.returns)
        }
        DataType::Binary => {
            let parts = (0..call.arguments.len()).map(|i| call.binary(i)).collect::<Result<Vec<_>>>()?;
            let rows = (0..call.rows)
                .map(|row| parts.iter().map(|p| p.get(row)).collect::<Option<Vec<_>>>().map(|p| p.concat()));
            Ok(Arc::new(arrow::array::BinaryArray::from_iter(rows)))
        }
        _ => {
            let parts = (0..call.arguments.len()).map(|i| call.text(i)).collect::<Result<Vec<_>>>()?;
            let rows = (0..call.rows).map(|row| parts.iter().map(|p| p.get(row)).collect::<Option<String>>());
            Ok(Arc::new(StringArray::from_iter(rows)))
        }
    }
}

fn starts(lengths: &[usize]) -> Vec<usize> {
    lengths.iter().scan(0, |sum, length| Some(std::mem::replace(sum, *sum + length))).collect()
}

fn size(call: &Call) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let length = |row: usize| -> Option<i32> {
        let at = call.at(0, row);
        match array.data_type() {
            DataType::List(_) => range(array.as_list::<i32>(), at).map(|r| r.len() as i32),
            DataType::Map(..) => array.is_valid(at).then(|| array.as_map().value_length(at)),
            _ => None,
        }
    };
    // The old mode has -1 for NULL.
    let null = if call.ansi() || call.name != "size" { None } else { Some(-1) };
    Ok(Arc::new(Int32Array::from_iter((0..call.rows).map(|row| length(row).or(null)))))
}

/// The element that `place` chooses by the length of an array and an index.
fn element(call: &Call, place: impl Fn(usize, i32) -> Result<Option<usize>>) -> Result<ArrayRef> {
    let (list, indices) = (call.list(0)?, call.int(1)?);
    let mut picked: Vec<Option<u32>> = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        picked.push(match (range(list, call.at(0, row)), indices.get(row)) {
            (Some(range), Some(index)) => place(range.len(), index)?.map(|at| (range.start + at) as u32),
            _ => None,
        });
    }
    Ok(take(list.values(), &UInt32Array::from(picked), None)?)
}

fn outside(code: ErrorCode, index: i32, length: usize) -> Error {
    Error::new(
        code,
        format!(
            "the index {index} is out of bounds, the array has {length} elements; use try_element_at or get to get NULL"
        ),
    )
}

fn element_at(call: &Call, strict: bool) -> Result<ArrayRef> {
    if let DataType::Map(..) = call.array(0)?.data_type() {
        return map_value(call);
    }
    element(call, |length, index| {
        let at = match index {
            0 => {
                let text = "element_at: the index 0 is invalid; elements are counted from 1, or from -1 at the end";
                return Err(Error::new(ErrorCode::InvalidIndexOfZero, text));
            }
            1.. => Some(index as usize - 1),
            _ => length.checked_sub(index.unsigned_abs() as usize),
        };
        match at.filter(|at| *at < length) {
            None if strict && call.ansi() => Err(outside(ErrorCode::InvalidArrayIndexInElementAt, index, length)),
            at => Ok(at),
        }
    })
}

fn get_item(call: &Call) -> Result<ArrayRef> {
    if let DataType::Map(..) = call.array(0)?.data_type() {
        return map_value(call);
    }
    element(call, |length, index| match usize::try_from(index).ok().filter(|at| *at < length) {
        None if call.ansi() => Err(outside(ErrorCode::InvalidArrayIndex, index, length)),
        at => Ok(at),
    })
}

/// For every row, where the key (argument 1) stands among all keys of the maps (argument 0).
fn look_up(call: &Call) -> Result<Vec<Option<usize>>> {
    let maps = call.map(0)?;
    let wanted = call.array(1)?;
    let rows = comparable(&[maps.keys(), wanted])?;
    let [keys, wanted_rows] = rows.as_slice() else { return Err(Error::internal("two columns to compare")) };
    let offsets = maps.value_offsets();
    Ok((0..call.rows)
        .map(|row| {
            let (at, key) = (call.at(0, row), call.at(1, row));
            if maps.is_null(at) || wanted.is_null(key) {
                return None;
            }
            (offsets[at] as usize..offsets[at + 1] as usize).find(|entry| keys.row(*entry) == wanted_rows.row(key))
        })
        .collect())
}

fn map_value(call: &Call) -> Result<ArrayRef> {
    let found: Vec<Option<u32>> = look_up(call)?.into_iter().map(|at| at.map(|at| at as u32)).collect();
    Ok(take(call.map(0)?.values(), &UInt32Array::from(found), None)?)
}

/// Where a value first stands in an array, and whether the array has a NULL.
type Place = (Option<usize>, bool);

/// The place of the value in the array, for every row that has both.
fn positions(call: &Call) -> Result<Vec<Option<Place>>> {
    let (list, wanted) = (call.list(0)?, call.array(1)?);
    let rows = comparable(&[list.values(), wanted])?;
    let [elements, wanted_rows] = rows.as_slice() else { return Err(Error::internal("two columns to compare")) };
    Ok((0..call.rows)
        .map(|row| {
            let key = call.at(1, row);
            let range = range(list, call.at(0, row)).filter(|_| wanted.is_valid(key))?;
            let start = range.start;
            let found = range.clone().find(|index| elements.row(*index) == wanted_rows.row(key));
            Some((found.map(|index| index - start), range.clone().any(|index| list.values().is_null(index))))
        })
        .collect())
}

fn reverse(call: &Call) -> Result<ArrayRef> {
    if *call.returns == DataType::Utf8 {
        let texts = call.text(0)?;
        let rows = (0..call.rows).map(|row| texts.get(row).map(|text| text.chars().rev().collect::<String>()));
        return Ok(Arc::new(StringArray::from_iter(rows)));
    }
    let list = call.list(0)?;
    let mut picks = Picks::new(list.values().clone());
    for row in 0..call.rows {
        let range = range(list, call.at(0, row));
        range.clone().into_iter().flatten().rev().for_each(|index| picks.push(Some(index)));
        picks.end(range.is_some());
    }
    picks.finish(call.returns)
}
