//! Arrays as a whole: what is in them, and arrays made of them.
//!
//! Comes in: calls with arrays. Goes out: arrays and what is known of them. Fails: indices of 0, and arrays that are too long.

use super::{Picks, comparable, positions, range};
use crate::error::{Error, ErrorCode, Result};
use crate::functions::builtin::{Call, conform};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, StringArray, StructArray, UInt32Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{concat as concat_arrays, take};
use arrow::datatypes::DataType;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

pub(super) fn contains(call: &Call) -> Result<ArrayRef> {
    let truth = positions(call)?.into_iter().map(|row| match row? {
        (Some(_), _) => Some(true),
        (None, true) => None,
        (None, false) => Some(false),
    });
    Ok(Arc::new(BooleanArray::from_iter(truth)))
}

/// The elements for which `keep` holds: its row, its index, and whether it is NULL.
pub(super) fn filtered(call: &Call, keep: impl Fn(usize, usize, bool) -> bool) -> Result<ArrayRef> {
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

pub(super) fn remove(call: &Call) -> Result<ArrayRef> {
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

pub(super) fn add(call: &Call, front: bool) -> Result<ArrayRef> {
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

pub(super) fn insert(call: &Call) -> Result<ArrayRef> {
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
pub(super) fn sets(call: &Call, keep: impl Fn(&HashSet<&[u8]>, &[u8]) -> bool) -> Result<ArrayRef> {
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

pub(super) fn overlap(call: &Call) -> Result<ArrayRef> {
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

pub(super) fn join(call: &Call) -> Result<ArrayRef> {
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

pub(super) fn repeat(call: &Call) -> Result<ArrayRef> {
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
pub(super) fn sorted(call: &Call, nulls_low: bool) -> Result<ArrayRef> {
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

pub(super) fn extreme(call: &Call, greatest: bool) -> Result<ArrayRef> {
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

pub(super) fn zip(call: &Call) -> Result<ArrayRef> {
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

pub(super) fn flatten(call: &Call) -> Result<ArrayRef> {
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

pub(super) fn slice(call: &Call) -> Result<ArrayRef> {
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
