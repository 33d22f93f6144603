//! Maps, made of keys and values, of arrays, of entries and of texts.
//!
//! Comes in: calls with keys and values. Goes out: maps, their keys and their values. Fails: NULL and doubled keys.

use super::{Picks, comparable, map_of, range, starts};
use crate::error::{Error, ErrorCode, Result};
use crate::functions::builtin::{Arguments, Call, Typed, conform};
use crate::plan::coerce::common_type;
use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StringArray, StructArray, new_null_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::concat as concat_arrays;
use arrow::datatypes::DataType;
use std::collections::HashSet;
use std::sync::Arc;

pub(super) fn map_types(a: &Arguments) -> Result<Typed> {
    if !a.types.len().is_multiple_of(2) {
        return Err(crate::functions::builtin::wrong_number(a.name, a.types.len(), "an even number of"));
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

pub(super) fn map(call: &Call) -> Result<ArrayRef> {
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

pub(super) fn map_from_arrays(call: &Call) -> Result<ArrayRef> {
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

pub(super) fn map_from_entries(call: &Call) -> Result<ArrayRef> {
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
pub(super) fn map_part(call: &Call, part: usize) -> Result<ArrayRef> {
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

pub(super) fn map_concat(call: &Call) -> Result<ArrayRef> {
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

pub(super) fn str_to_map(call: &Call) -> Result<ArrayRef> {
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
