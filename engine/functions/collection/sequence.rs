//! `sequence(start, stop, step)`, of numbers, dates and times.
//!
//! Comes in: calls with bounds and steps. Goes out: arrays. Fails: steps that lead away from the end, and arrays that are too long.

use crate::decode::zone::{DAY, Zone};
use crate::error::{Error, Result};
use crate::functions::builtin::{Arguments, Call, Typed, conform, list_of};
use crate::functions::datetime::instant_plus;
use crate::plan::coerce::common_type;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Int64Type, IntervalUnit, TimeUnit};
use std::sync::Arc;

pub(super) fn sequence_types(a: &Arguments) -> Result<Typed> {
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

pub(super) fn sequence(call: &Call) -> Result<ArrayRef> {
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
