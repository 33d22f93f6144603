//! The items that stand in more than a part of a list.
//!
//! Comes in: a list of structs of one value, and the part. Goes out: a list of values: all frequent ones, and possibly others. Fails: a part
//! that is no constant.

use super::builtin::{Builtin, Call, list_of, typed};
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Float64Type};
use arrow::row::{RowConverter, SortField};
use std::sync::Arc;

pub(super) static FUNCTIONS: &[Builtin] = &[typed(
    "frequent_items",
    (2, 2),
    |a| match a.element(0)? {
        DataType::Struct(fields) => match fields.first() {
            Some(value) => Ok(super::builtin::Typed {
                arguments: vec![a.of(0).clone(), DataType::Float64],
                returns: list_of(value.data_type().clone()),
            }),
            None => Err(a.mismatch(0, "an ARRAY of STRUCTs")),
        },
        _ => Err(a.mismatch(0, "an ARRAY of STRUCTs")),
    },
    frequent_items,
)];

/// Counts each value in one of `1 / support` places; a value that finds none takes from all of the others what the least has (Karp, Shenker
/// and Papadimitriou).
fn frequent_items(call: &Call) -> Result<ArrayRef> {
    let (lists, supports) = (call.expanded(0)?, call.expanded(1)?);
    let (lists, supports) = (lists.as_list::<i32>(), supports.as_primitive::<Float64Type>());
    let values =
        lists.values().as_struct().columns().first().cloned().ok_or_else(|| Error::internal("a struct of nothing"))?;
    let converter = RowConverter::new(vec![SortField::new(values.data_type().clone())])?;
    let rows = converter.convert_columns(std::slice::from_ref(&values))?;
    let (mut picked, mut lengths) = (Vec::<u32>::new(), Vec::with_capacity(lists.len()));
    for at in 0..lists.len() {
        let places = ((1.0 / supports.value(at)).floor() as usize).max(1);
        let (from, to) = (lists.value_offsets()[at] as usize, lists.value_offsets()[at + 1] as usize);
        // The first place of each value, and its count.
        let mut counts: Vec<(usize, i64)> = Vec::new();
        for row in from..to {
            let known = counts.iter().position(|(first, _)| rows.row(*first) == rows.row(row));
            match known {
                Some(place) => counts.iter_mut().skip(place).take(1).for_each(|(_, count)| *count += 1),
                None if counts.len() < places => counts.push((row, 1)),
                None => {
                    let least = counts.iter().map(|(_, count)| *count).min().unwrap_or(0);
                    let left = 1 - least;
                    if left >= 0 {
                        counts.push((row, 1));
                        counts.retain(|(_, count)| *count > least);
                        counts.iter_mut().for_each(|(_, count)| *count -= least);
                    } else {
                        counts.iter_mut().for_each(|(_, count)| *count -= 1);
                    }
                }
            }
        }
        lengths.push(counts.len());
        picked.extend(counts.iter().map(|(first, _)| *first as u32));
    }
    let values = take(&values, &UInt32Array::from(picked), None)?;
    let field = Arc::new(Field::new("element", values.data_type().clone(), true));
    Ok(Arc::new(ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), values, None)?))
}
