//! Functions of arrays, maps and structs.
//!
//! Comes in: calls with nested columns. Goes out: elements, arrays and maps. Elements are equal as Spark compares them: -0.0 is 0.0,
//! NaN is NaN, and in sets NULL is NULL. Fails: indices outside of an array (ANSI), NULL and doubled map keys.

use super::builtin::{ANY, Arguments, Builtin, Call, Typed, conform, converts, list_of, total, typed};
use super::cast::sql_name;
use super::datetime::instant_plus;
use crate::decode::zone::{DAY, Zone};
use crate::error::{Error, ErrorCode, Result};
use crate::plan::coerce::common_type;
use crate::plan::spark_function::deep_normalize;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, ListArray, MapArray, StringArray, StructArray,
    UInt32Array, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{concat as concat_arrays, take};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, IntervalUnit, TimeUnit};
use arrow::row::{RowConverter, Rows, SortField};
use std::collections::HashSet;
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

fn contains(call: &Call) -> Result<ArrayRef> {
    let truth = positions(call)?.into_iter().map(|row| match row? {
        (Some(_), _) => Some(true),
        (None, true) => None,
        (None, false) => Some(false),
    });
    Ok(Arc::new(BooleanArray::from_iter(truth)))
}

/// The elements for which `keep` holds: its row, its index, and whether it is NULL.
fn filtered(call: &Call, keep: impl Fn(usize, usize, bool) -> bool) -> Result<ArrayRef> {
    let list = call.list(0)?;
    let mut picks = Picks::new(list.values().clone());
    for row in 0..call.rows {
        let range = range(list, call.at(0, row));
        for index in range.clone().into_iter().flatten() {
            if keep(row, index, list.values().is_null(index)) {
                picks.push(Some(index));
            }
        }
        picks.end(range.is_some());
    }
    picks.finish(call.returns)
}

fn remove(call: &Call) -> Result<ArrayRef> {
    let (list, wanted) = (call.list(0)?, call.array(1)?);
    let rows = comparable(&[list.values(), wanted])?;
    let [elements, wanted_rows] = rows.as_slice() else { return Err(Error::internal("two columns to compare")) };
    let mut picks = Picks::new(list.values().clone());
    for row in 0..call.rows {
        let key = call.at(1, row);
        let range = range(list, call.at(0, row)).filter(|_| wanted.is_valid(key));
        for index in range.clone().into_iter().flatten() {
            if elements.row(index) != wanted_rows.row(key) {
                picks.push(Some(index));
            }
        }
        picks.end(range.is_some());
    }
    picks.finish(call.returns)
}

fn add(call: &Call, front: bool) -> Result<ArrayRef> {
    let (list, value) = (call.list(0)?, call.array(1)?);
    let start = list.values().len();
    let mut picks = Picks::new(concat_arrays(&[list.values().as_ref(), value.as_ref()])?);
    for row in 0..call.rows {
        let range = range(list, call.at(0, row));
        if let Some(range) = range.clone() {
            let own = start + call.at(1, row);
            if front {
                picks.push(Some(own));
            }
            range.for_each(|index| picks.push(Some(index)));
            if !front {
                picks.push(Some(own));
            }
        }
        picks.end(range.is_some());
    }
    picks.finish(call.returns)
}

fn insert(call: &Call) -> Result<ArrayRef> {
    let (list, places, value) = (call.list(0)?, call.int(1)?, call.array(2)?);
    let start = list.values().len();
    let mut picks = Picks::new(concat_arrays(&[list.values().as_ref(), value.as_ref()])?);
    for row in 0..call.rows {
        let (Some(range), Some(place)) = (range(list, call.at(0, row)), places.get(row)) else {
            picks.end(false);
            continue;
        };
        let own = Some(start + call.at(2, row));
        let length = range.len() as i64;
        // A place past either end is reached over NULLs.
        let index = match i64::from(place) {
            0 => {
                let text = "array_insert: the index 0 is invalid; elements are counted from 1, or from -1 at the end";
                return Err(Error::new(ErrorCode::InvalidIndexOfZero, text));
            }
            place @ 1.. => place - 1,
            place => length + place + 1,
        };
        if index < 0 {
            picks.push(own);
            (0..-index).for_each(|_| picks.push(None));
            range.for_each(|index| picks.push(Some(index)));
        } else {
            let before = index.min(length) as usize;
            (0..before).for_each(|at| picks.push(Some(range.start + at)));
            (length..index).for_each(|_| picks.push(None));
            picks.push(own);
            (range.start + before..range.end).for_each(|index| picks.push(Some(index)));
        }
        picks.end(true);
    }
    picks.finish(call.returns)
}

/// Distinct elements of the first array, of the second too in a union, for which `keep` holds given the second's.
fn sets(call: &Call, keep: impl Fn(&HashSet<&[u8]>, &[u8]) -> bool) -> Result<ArrayRef> {
    let left = call.list(0)?;
    let right = if call.has(1) { call.list(1)? } else { left };
    let rows = comparable(&[left.values(), right.values()])?;
    let [lefts, rights] = rows.as_slice() else { return Err(Error::internal("two columns to compare")) };
    let start = left.values().len();
    let mut picks = Picks::new(concat_arrays(&[left.values().as_ref(), right.values().as_ref()])?);
    let union = call.name == "array_union";
    for row in 0..call.rows {
        let second = if call.has(1) { range(right, call.at(1, row)) } else { Some(0..0) };
        let (Some(first), Some(second)) = (range(left, call.at(0, row)), second) else {
            picks.end(false);
            continue;
        };
        let others: HashSet<&[u8]> = second.clone().map(|index| rights.row(index).data()).collect();
        let mut seen: HashSet<&[u8]> = HashSet::new();
        for index in first {
            let value = lefts.row(index).data();
            if (union || keep(&others, value)) && seen.insert(value) {
                picks.push(Some(index));
            }
        }
        for index in second.filter(|_| union) {
            if seen.insert(rights.row(index).data()) {
                picks.push(Some(start + index));
            }
        }
        picks.end(true);
    }
    picks.finish(call.returns)
}

fn overlap(call: &Call) -> Result<ArrayRef> {
    let (left, right) = (call.list(0)?, call.list(1)?);
    let rows = comparable(&[left.values(), right.values()])?;
    let [lefts, rights] = rows.as_slice() else { return Err(Error::internal("two columns to compare")) };
    let truth = (0..call.rows).map(|row| {
        let (first, second) = (range(left, call.at(0, row))?, range(right, call.at(1, row))?);
        let others: HashSet<&[u8]> =
            second.clone().filter(|i| right.values().is_valid(*i)).map(|index| rights.row(index).data()).collect();
        if first.clone().any(|i| left.values().is_valid(i) && others.contains(lefts.row(i).data())) {
            return Some(true);
        }
        let has_null =
            first.clone().any(|i| left.values().is_null(i)) || second.clone().any(|i| right.values().is_null(i));
        if has_null && !first.is_empty() && !second.is_empty() { None } else { Some(false) }
    });
    Ok(Arc::new(BooleanArray::from_iter(truth)))
}

fn join(call: &Call) -> Result<ArrayRef> {
    let (list, separators) = (call.list(0)?, call.text(1)?);
    let texts = list.values().as_string::<i32>();
    let replacements = if call.has(2) { Some(call.text(2)?) } else { None };
    let rows = (0..call.rows).map(|row| {
        let (range, separator) = (range(list, call.at(0, row))?, separators.get(row)?);
        let replacement = match &replacements {
            Some(replacements) => Some(replacements.get(row)?),
            None => None,
        };
        let parts = range.filter_map(|i| if texts.is_valid(i) { Some(texts.value(i)) } else { replacement });
        Some(parts.collect::<Vec<_>>().join(separator))
    });
    Ok(Arc::new(StringArray::from_iter(rows)))
}

fn repeat(call: &Call) -> Result<ArrayRef> {
    let counts = call.int(1)?;
    let mut picks = Picks::new(call.array(0)?.clone());
    for row in 0..call.rows {
        let count = counts.get(row);
        (0..count.unwrap_or(0)).for_each(|_| picks.push(Some(call.at(0, row))));
        picks.end(count.is_some());
    }
    picks.finish(call.returns)
}

/// `nulls_low` puts NULL below every value, as `sort_array` does; otherwise it comes last.
fn sorted(call: &Call, nulls_low: bool) -> Result<ArrayRef> {
    let list = call.list(0)?;
    let rows = comparable(&[list.values()])?;
    let [elements] = rows.as_slice() else { return Err(Error::internal("a column to compare")) };
    let orders = if call.has(1) { Some(call.boolean(1)?) } else { None };
    let mut picks = Picks::new(list.values().clone());
    for row in 0..call.rows {
        let ascending = orders.as_ref().map_or(Some(true), |orders| orders.get(row));
        let (Some(range), Some(ascending)) = (range(list, call.at(0, row)), ascending) else {
            picks.end(false);
            continue;
        };
        let mut order: Vec<usize> = range.collect();
        let null = |index: &usize| list.values().is_null(*index);
        order.sort_by(|a, b| {
            let by_null = null(b).cmp(&null(a));
            let nulls = if nulls_low { by_null } else { by_null.reverse() };
            nulls.then_with(|| elements.row(*a).cmp(&elements.row(*b)))
        });
        if !ascending {
            order.reverse();
        }
        order.into_iter().for_each(|index| picks.push(Some(index)));
        picks.end(true);
    }
    picks.finish(call.returns)
}

fn extreme(call: &Call, greatest: bool) -> Result<ArrayRef> {
    let list = call.list(0)?;
    let rows = comparable(&[list.values()])?;
    let [elements] = rows.as_slice() else { return Err(Error::internal("a column to compare")) };
    let mut picked: Vec<Option<u32>> = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let values = range(list, call.at(0, row)).into_iter().flatten().filter(|i| list.values().is_valid(*i));
        let by = |a: &usize, b: &usize| elements.row(*a).cmp(&elements.row(*b));
        let best = if greatest { values.max_by(by) } else { values.min_by(by) };
        picked.push(best.map(|index| index as u32));
    }
    Ok(take(list.values(), &UInt32Array::from(picked), None)?)
}

fn zip(call: &Call) -> Result<ArrayRef> {
    let DataType::List(field) = call.returns else { return Err(Error::internal("arrays_zip() of another type")) };
    let DataType::Struct(fields) = field.data_type() else {
        return Err(Error::internal("arrays_zip() without structs"));
    };
    let lists = (0..call.arguments.len()).map(|i| call.list(i)).collect::<Result<Vec<_>>>()?;
    let mut columns: Vec<Picks> = lists.iter().map(|list| Picks::new(list.values().clone())).collect();
    let mut offsets = vec![0i32];
    let mut valid = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let ranges: Option<Vec<Range<usize>>> =
            lists.iter().enumerate().map(|(i, list)| range(list, call.at(i, row))).collect();
        let length = ranges.iter().flatten().map(|range| range.len()).max().unwrap_or(0);
        for (column, range) in columns.iter_mut().zip(ranges.iter().flatten()) {
            (0..length).for_each(|at| column.push((at < range.len()).then_some(range.start + at)));
        }
        offsets.push(offsets.last().copied().unwrap_or(0) + length as i32);
        valid.push(ranges.is_some());
    }
    let length = offsets.last().copied().unwrap_or(0) as usize;
    let columns =
        columns.iter().zip(fields).map(|(c, f)| conform(c.values()?, f.data_type())).collect::<Result<_>>()?;
    let structs = StructArray::try_new_with_length(fields.clone(), columns, None, length)?;
    let offsets = OffsetBuffer::new(offsets.into());
    Ok(Arc::new(ListArray::try_new(field.clone(), offsets, Arc::new(structs), Some(NullBuffer::from(valid)))?))
}

fn flatten(call: &Call) -> Result<ArrayRef> {
    let outer = call.list(0)?;
    let inner = outer.values().as_list::<i32>();
    let mut picks = Picks::new(inner.values().clone());
    for row in 0..call.rows {
        let inside = range(outer, call.at(0, row));
        let ranges: Option<Vec<Range<usize>>> = inside.and_then(|inside| inside.map(|i| range(inner, i)).collect());
        for range in ranges.iter().flatten() {
            range.clone().for_each(|index| picks.push(Some(index)));
        }
        picks.end(ranges.is_some());
    }
    picks.finish(call.returns)
}

fn slice(call: &Call) -> Result<ArrayRef> {
    let (list, starts, lengths) = (call.list(0)?, call.int(1)?, call.int(2)?);
    let mut picks = Picks::new(list.values().clone());
    for row in 0..call.rows {
        let (Some(range), Some(start), Some(length)) =
            (range(list, call.at(0, row)), starts.get(row), lengths.get(row))
        else {
            picks.end(false);
            continue;
        };
        if start == 0 {
            return Err(call.invalid("the start 0 is invalid; elements are counted from 1, or from -1 at the end"));
        }
        let length = usize::try_from(length).map_err(|_| call.invalid(format!("the length {length} is negative")))?;
        let skip = match start > 0 {
            true => Some(start as usize - 1),
            false => range.len().checked_sub(start.unsigned_abs() as usize),
        };
        if let Some(skip) = skip {
            range.skip(skip).take(length).for_each(|index| picks.push(Some(index)));
        }
        picks.end(true);
    }
    picks.finish(call.returns)
}

fn sequence_types(a: &Arguments) -> Result<Typed> {
    let (first, last) = (a.of(0), a.of(1));
    let element = match (first, last) {
        (f, l) if f.is_integer() && l.is_integer() => common_type(&[f.clone(), l.clone()]),
        (DataType::Date32, DataType::Date32) => Some(DataType::Date32),
        (DataType::Timestamp(..) | DataType::Date32, DataType::Timestamp(..) | DataType::Date32) => {
            Some(crate::types::timestamp())
        }
        _ => None,
    };
    let element = element.ok_or_else(|| a.mismatch(0, "an integer, a DATE or a TIMESTAMP, like the second"))?;
    let mut arguments = vec![element.clone(), element.clone()];
    if a.types.len() == 3 {
        let interval = matches!(a.of(2), DataType::Interval(_) | DataType::Duration(_));
        if element.is_integer() == interval {
            return Err(a.mismatch(2, if interval { "an integer" } else { "an INTERVAL" }));
        }
        arguments.push(if interval { a.of(2).clone() } else { element.clone() });
    }
    Ok(Typed { arguments, returns: list_of(element) })
}

/// The most elements that Spark lets an array have.
const MOST: usize = i32::MAX as usize - 15;

fn sequence(call: &Call) -> Result<ArrayRef> {
    let longs = |index: usize| -> Result<ArrayRef> {
        let array = call.array(index)?;
        match array.data_type() {
            DataType::Date32 => {
                Ok(arrow::compute::cast(&arrow::compute::cast(array, &DataType::Int32)?, &DataType::Int64)?)
            }
            DataType::Timestamp(..) => conform(array.clone(), &DataType::Int64),
            _ => Ok(arrow::compute::cast(array, &DataType::Int64)?),
        }
    };
    let (firsts, lasts) = (longs(0)?, longs(1)?);
    let (firsts, lasts) = (firsts.as_primitive::<Int64Type>(), lasts.as_primitive::<Int64Type>());
    let is_date = *call.array(0)?.data_type() == DataType::Date32;
    let is_time = matches!(call.array(0)?.data_type(), DataType::Timestamp(..));
    let zone = if is_date { Zone::Fixed(0) } else { call.zone() };
    let steps = if call.has(2) { Some(steps(call.array(2)?)?) } else { None };
    let mut values: Vec<i64> = Vec::new();
    let (mut offsets, mut valid) = (vec![0i32], Vec::with_capacity(call.rows));
    for row in 0..call.rows {
        let (f, l) = (call.at(0, row), call.at(1, row));
        let step = match &steps {
            Some(steps) => steps.get(call.at(2, row)).copied().flatten(),
            None if is_date || is_time => Some((0, if firsts.value(f) <= lasts.value(l) { DAY } else { -DAY })),
            None => Some((0, if firsts.value(f) <= lasts.value(l) { 1 } else { -1 })),
        };
        let (true, true, Some((months, micros))) = (firsts.is_valid(f), lasts.is_valid(l), step) else {
            offsets.push(values.len() as i32);
            valid.push(false);
            continue;
        };
        let (first, last) = (firsts.value(f), lasts.value(l));
        let forward = months > 0 || (months == 0 && micros > 0);
        if (months == 0 && micros == 0 && first != last) || (first < last && !forward) || (first > last && forward) {
            return Err(call.invalid(format!("no step from {first} to {last} leads there")));
        }
        let mut next = first;
        let mut n = 0i64;
        while (forward && next <= last) || (!forward && next >= last) {
            values.push(next);
            n += 1;
            if values.len() > MOST {
                return Err(call.invalid("the arrays would be too long"));
            }
            if months == 0 && micros == 0 {
                break;
            }
            // Each from the start, so that months do not drift.
            let found = if is_date {
                instant_plus(first.saturating_mul(DAY), months * n, micros / DAY * n, 0, zone)
                    .map(|t| t.div_euclid(DAY))
            } else if is_time {
                instant_plus(first, months * n, 0, micros.saturating_mul(n), zone)
            } else {
                micros.checked_mul(n).and_then(|by| first.checked_add(by))
            };
            match found {
                Some(found) => next = found,
                None => break,
            }
        }
        offsets.push(values.len() as i32);
        valid.push(true);
    }
    let DataType::List(field) = call.returns else { return Err(Error::internal("sequence() of another type")) };
    let longs: ArrayRef = Arc::new(Int64Array::from(values));
    let values = match field.data_type() {
        DataType::Timestamp(..) => conform(longs, field.data_type())?,
        DataType::Date32 => conform(arrow::compute::cast(&longs, &DataType::Int32)?, &DataType::Date32)?,
        other => arrow::compute::cast(&longs, other)?,
    };
    Ok(Arc::new(ListArray::try_new(
        field.clone(),
        OffsetBuffer::new(offsets.into()),
        values,
        Some(NullBuffer::from(valid)),
    )?))
}

/// Steps as months, and microseconds or numbers.
fn steps(array: &ArrayRef) -> Result<Vec<Option<(i64, i64)>>> {
    use arrow::datatypes::{DurationMicrosecondType, IntervalMonthDayNanoType, IntervalYearMonthType};
    Ok(match array.data_type() {
        DataType::Interval(IntervalUnit::YearMonth) => {
            array.as_primitive::<IntervalYearMonthType>().iter().map(|m| m.map(|m| (m.into(), 0))).collect()
        }
        DataType::Duration(TimeUnit::Microsecond) => {
            array.as_primitive::<DurationMicrosecondType>().iter().map(|d| d.map(|d| (0, d))).collect()
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let parts = array.as_primitive::<IntervalMonthDayNanoType>().iter();
            parts.map(|i| i.map(|i| (i.months.into(), i64::from(i.days) * DAY + i.nanoseconds / 1000))).collect()
        }
        _ => {
            let longs = arrow::compute::cast(array, &DataType::Int64)?;
            longs.as_primitive::<Int64Type>().iter().map(|n| n.map(|n| (0, n))).collect()
        }
    })
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

fn map_types(a: &Arguments) -> Result<Typed> {
    if !a.types.len().is_multiple_of(2) {
        return Err(super::builtin::wrong_number(a.name, a.types.len(), "an even number of"));
    }
    let side = |odd: usize| -> Vec<DataType> { a.types.iter().skip(odd).step_by(2).cloned().collect() };
    let key = common_type(&side(0)).ok_or_else(|| a.mismatch(2, "a key of the first one's type"))?;
    let value = common_type(&side(1)).ok_or_else(|| a.mismatch(3, "a value of the first one's type"))?;
    let arguments = (0..a.types.len()).map(|i| if i % 2 == 0 { key.clone() } else { value.clone() }).collect();
    Ok(Typed { arguments, returns: map_of(key, value) })
}

/// Maps of keys and values; a key may be neither NULL nor there twice.
fn build_map(keys: Picks, values: ArrayRef, returns: &DataType) -> Result<ArrayRef> {
    map_of_entries(keys.values()?, values, keys.offsets, keys.valid, returns)
}

/// Maps of entries that follow one another.
///
/// # Errors
/// `NullMapKey` and `DuplicatedMapKey`.
pub(crate) fn map_of_entries(
    key_values: ArrayRef,
    values: ArrayRef,
    offsets: Vec<i32>,
    valid: Vec<bool>,
    returns: &DataType,
) -> Result<ArrayRef> {
    let DataType::Map(field, _) = returns else { return Err(Error::internal(format!("a map as {returns}"))) };
    let DataType::Struct(fields) = field.data_type() else { return Err(Error::internal("a map without entries")) };
    if key_values.logical_null_count() > 0 {
        return Err(Error::new(ErrorCode::NullMapKey, "a map cannot have NULL as a key; filter or replace it first"));
    }
    let rows = comparable(&[&key_values])?;
    let [found] = rows.as_slice() else { return Err(Error::internal("a column to compare")) };
    for ends in offsets.windows(2) {
        let mut seen = HashSet::new();
        if let Some(twice) = (ends[0] as usize..ends[1] as usize).find(|index| !seen.insert(found.row(*index).data())) {
            let key = datafusion::common::ScalarValue::try_from_array(&key_values, twice)?;
            return Err(Error::new(
                ErrorCode::DuplicatedMapKey,
                format!(
                    "the key {key} is in the map twice; remove one, as Spark's EXCEPTION policy for duplicate keys asks"
                ),
            ));
        }
    }
    let [key_field, value_field] = fields.as_ref() else { return Err(Error::internal("a map without two sides")) };
    let columns = vec![conform(key_values, key_field.data_type())?, conform(values, value_field.data_type())?];
    let entries = StructArray::try_new(fields.clone(), columns, None)?;
    let offsets = OffsetBuffer::new(offsets.into());
    Ok(Arc::new(MapArray::try_new(field.clone(), offsets, entries, Some(NullBuffer::from(valid)), false)?))
}

fn map(call: &Call) -> Result<ArrayRef> {
    let columns = (0..call.arguments.len()).map(|i| call.expanded(i)).collect::<Result<Vec<_>>>()?;
    let side = |odd: usize| -> Result<ArrayRef> {
        let parts: Vec<&dyn Array> = columns.iter().skip(odd).step_by(2).map(|c| c.as_ref()).collect();
        match (parts.is_empty(), call.returns) {
            (true, DataType::Map(field, _)) => match field.data_type() {
                DataType::Struct(fields) => Ok(new_null_array(fields[odd].data_type(), 0)),
                _ => Err(Error::internal("a map without entries")),
            },
            _ => Ok(concat_arrays(&parts)?),
        }
    };
    let (mut keys, mut values) = (Picks::new(side(0)?), Picks::new(side(1)?));
    for row in 0..call.rows {
        for entry in 0..columns.len() / 2 {
            keys.push(Some(entry * call.rows + row));
            values.push(Some(entry * call.rows + row));
        }
        keys.end(true);
    }
    let values = values.values()?;
    build_map(keys, values, call.returns)
}

fn map_from_arrays(call: &Call) -> Result<ArrayRef> {
    let (left, right) = (call.list(0)?, call.list(1)?);
    let (mut keys, mut values) = (Picks::new(left.values().clone()), Picks::new(right.values().clone()));
    for row in 0..call.rows {
        let (Some(first), Some(second)) = (range(left, call.at(0, row)), range(right, call.at(1, row))) else {
            keys.end(false);
            continue;
        };
        if first.len() != second.len() {
            return Err(call.invalid(format!("{} keys and {} values do not make a map", first.len(), second.len())));
        }
        first.for_each(|index| keys.push(Some(index)));
        second.for_each(|index| values.push(Some(index)));
        keys.end(true);
    }
    let values = values.values()?;
    build_map(keys, values, call.returns)
}

fn map_from_entries(call: &Call) -> Result<ArrayRef> {
    let list = call.list(0)?;
    let entries = list.values().as_struct();
    let (mut keys, mut values) = (Picks::new(entries.column(0).clone()), Picks::new(entries.column(1).clone()));
    for row in 0..call.rows {
        // A NULL entry makes the map NULL.
        let range = range(list, call.at(0, row)).filter(|range| range.clone().all(|index| entries.is_valid(index)));
        for index in range.clone().into_iter().flatten() {
            keys.push(Some(index));
            values.push(Some(index));
        }
        keys.end(range.is_some());
    }
    let values = values.values()?;
    build_map(keys, values, call.returns)
}

/// Keys, values or entries of maps as arrays.
fn map_part(call: &Call, part: usize) -> Result<ArrayRef> {
    let maps = call.expanded(0)?;
    let maps = maps.as_map();
    let DataType::List(field) = call.returns else { return Err(Error::internal("a part of a map as another type")) };
    let values: ArrayRef = match part {
        0 => maps.keys().clone(),
        1 => maps.values().clone(),
        _ => Arc::new(maps.entries().clone()),
    };
    let values = match (field.data_type(), part) {
        (DataType::Struct(fields), 2) => {
            let entries = values.as_struct();
            Arc::new(StructArray::try_new(fields.clone(), entries.columns().to_vec(), None)?)
        }
        (other, _) => conform(values, other)?,
    };
    Ok(Arc::new(ListArray::try_new(field.clone(), maps.offsets().clone(), values, maps.nulls().cloned())?))
}

fn map_concat(call: &Call) -> Result<ArrayRef> {
    let maps = (0..call.arguments.len()).map(|i| call.map(i)).collect::<Result<Vec<_>>>()?;
    let starts = starts(&maps.iter().map(|m| m.keys().len()).collect::<Vec<_>>());
    let mut keys = Picks::new(concat_arrays(&maps.iter().map(|m| m.keys().as_ref()).collect::<Vec<_>>())?);
    let mut values = Picks::new(concat_arrays(&maps.iter().map(|m| m.values().as_ref()).collect::<Vec<_>>())?);
    for row in 0..call.rows {
        let valid = maps.iter().enumerate().all(|(i, map)| map.is_valid(call.at(i, row)));
        for (i, (map, start)) in maps.iter().zip(&starts).enumerate().filter(|_| valid) {
            let (offsets, at) = (map.value_offsets(), call.at(i, row));
            for index in offsets[at] as usize..offsets[at + 1] as usize {
                keys.push(Some(start + index));
                values.push(Some(start + index));
            }
        }
        keys.end(valid);
    }
    let values = values.values()?;
    build_map(keys, values, call.returns)
}

fn str_to_map(call: &Call) -> Result<ArrayRef> {
    let texts = call.text(0)?;
    let delimiter = |index: usize, default: &'static str| -> Result<Vec<Option<String>>> {
        match call.has(index) {
            true => {
                let given = call.text(index)?;
                Ok((0..call.rows).map(|row| given.get(row).map(str::to_string)).collect())
            }
            false => Ok(vec![Some(default.to_string()); call.rows]),
        }
    };
    let (pairs, sides) = (delimiter(1, ",")?, delimiter(2, ":")?);
    let (mut names, mut contents): (Vec<String>, Vec<Option<String>>) = (vec![], vec![]);
    let mut ends = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let (Some(text), Some(Some(pair)), Some(Some(side))) = (texts.get(row), pairs.get(row), sides.get(row)) else {
            ends.push((names.len(), false));
            continue;
        };
        let split = |pattern: &str| {
            regex::Regex::new(pattern)
                .map_err(|e| call.invalid(format!("the delimiter {pattern:?} is not understood: {e}")))
        };
        let (pair, side) = (split(pair)?, split(side)?);
        for entry in pair.split(text) {
            let mut parts = side.splitn(entry, 2);
            names.push(parts.next().unwrap_or_default().to_string());
            contents.push(parts.next().map(str::to_string));
        }
        ends.push((names.len(), true));
    }
    let total = names.len();
    let mut keys = Picks::new(Arc::new(StringArray::from(names)));
    (0..total).for_each(|index| keys.push(Some(index)));
    for (end, valid) in ends {
        keys.offsets.push(end as i32);
        keys.valid.push(valid);
    }
    build_map(keys, Arc::new(StringArray::from(contents)), call.returns)
}
