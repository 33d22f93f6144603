//! Intervals made of their parts.
//!
//! Comes in: years, months, weeks, days, hours, minutes and seconds. Goes out: calendar, day-time and year-month intervals. Fails: parts that no
//! interval can hold.

use super::builtin::{Arguments, Builtin, Call, Typed, converts, typed};
use crate::decode::zone::{DAY, SECOND};
use crate::error::{Error, ErrorCode, Result};
use arrow::array::{ArrayRef, DurationMicrosecondArray, IntervalMonthDayNanoArray, IntervalYearMonthArray};
use arrow::datatypes::{DataType, Decimal128Type, IntervalMonthDayNano, IntervalUnit, TimeUnit};
use std::sync::Arc;

const CALENDAR: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

pub(super) static FUNCTIONS: &[Builtin] = &[
    typed("make_interval", (7, 7), |a| parts(a, 6, CALENDAR), calendar),
    typed("try_make_interval", (7, 7), |a| parts(a, 6, CALENDAR), calendar),
    typed(
        "make_dt_interval",
        (4, 4),
        |a| parts(a, 3, DataType::Duration(TimeUnit::Microsecond)),
        |c| {
            let value = |row: usize| {
                let Some(([days, hours, minutes], micros)) = row_of::<3>(c, row)? else { return Ok(None) };
                let time = micros_of(hours, minutes, micros);
                let whole = time.and_then(|time| days.checked_mul(DAY)?.checked_add(time));
                whole.map(Some).ok_or_else(|| overflowed(c))
            };
            Ok(Arc::new((0..c.rows).map(value).collect::<Result<DurationMicrosecondArray>>()?))
        },
    ),
    typed(
        "make_ym_interval",
        (2, 2),
        |a| parts(a, 2, DataType::Interval(IntervalUnit::YearMonth)),
        |c| {
            let (years, months) = (c.int(0)?, c.int(1)?);
            let value = |row: usize| match years.get(row).zip(months.get(row)) {
                Some((years, months)) => {
                    let whole = years.checked_mul(12).and_then(|whole| whole.checked_add(months));
                    whole.map(Some).ok_or_else(|| overflowed(c))
                }
                None => Ok(None),
            };
            Ok(Arc::new((0..c.rows).map(value).collect::<Result<IntervalYearMonthArray>>()?))
        },
    ),
];

/// Whole numbers, and seconds with a fraction behind them where there is an argument left.
fn parts(a: &Arguments, integers: usize, returns: DataType) -> Result<Typed> {
    let mut arguments = vec![DataType::Int32; integers];
    arguments.resize(a.types.len(), DataType::Decimal128(18, 6));
    match arguments.iter().enumerate().find(|(index, to)| !converts(a.of(*index), to)) {
        Some((index, _)) => Err(a.mismatch(index, "a number")),
        None => Ok(Typed { arguments, returns }),
    }
}

/// The `N` whole numbers of a row, and the microseconds behind them; None where one is NULL.
fn row_of<const N: usize>(call: &Call, row: usize) -> Result<Option<([i64; N], i64)>> {
    let mut whole = [0; N];
    for (index, value) in whole.iter_mut().enumerate() {
        match call.int(index)?.get(row) {
            Some(found) => *value = found.into(),
            None => return Ok(None),
        }
    }
    let seconds = call.primitive::<Decimal128Type>(N)?.get(row);
    Ok(seconds.and_then(|micros| i64::try_from(micros).ok()).map(|micros| (whole, micros)))
}

fn micros_of(hours: i64, minutes: i64, micros: i64) -> Option<i64> {
    let hours = hours.checked_mul(3600 * SECOND)?;
    hours.checked_add(minutes.checked_mul(60 * SECOND)?)?.checked_add(micros)
}

fn overflowed(call: &Call) -> Error {
    Error::new(
        ErrorCode::IntervalOverflow,
        format!(
            "{}: Integer overflow while operating with intervals. Try devising appropriate values for the interval parameters.",
            call.name
        ),
    )
}

fn calendar(call: &Call) -> Result<ArrayRef> {
    let value = |row: usize| {
        let Some(([years, months, weeks, days, hours, minutes], micros)) = row_of::<6>(call, row)? else {
            return Ok(None);
        };
        let made = || {
            let months = i32::try_from(years * 12 + months).ok()?;
            let days = i32::try_from(weeks * 7 + days).ok()?;
            let nanos = micros_of(hours, minutes, micros)?.checked_mul(1000)?;
            Some(IntervalMonthDayNano::new(months, days, nanos))
        };
        match made() {
            None if call.ansi() && !call.name.starts_with("try_") => Err(overflowed(call)),
            interval => Ok(interval),
        }
    };
    Ok(Arc::new((0..call.rows).map(value).collect::<Result<IntervalMonthDayNanoArray>>()?))
}
