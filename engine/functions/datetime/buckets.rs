//! `time_bucket`: the start of the bucket that a time is in.
//!
//! Comes in: the constant length of a bucket, a time, and the start of some bucket. Goes out: a time. Fails: lengths that are not above zero.
//!
//! Buckets of a day and more, and of months, are counted on the clock of the session's zone; shorter ones by the time that goes by.

use super::{NTZ, add_months};
use crate::decode::zone::{DAY, Zone, date_of};
use crate::error::{Error, ErrorCode, Result};
use crate::functions::builtin::{Arguments, Call, Typed};
use crate::types::timestamp;
use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{DataType, DurationMicrosecondType, IntervalUnit, IntervalYearMonthType, TimeUnit};
use datafusion::common::ScalarValue;
use std::sync::Arc;

pub(super) fn types(a: &Arguments) -> Result<Typed> {
    let refuse = |sub, why: &str| {
        Err(Error::new(ErrorCode::DatatypeMismatch, format!("time_bucket: {why}")).with_sub_condition(sub))
    };
    let size = match a.of(0) {
        size @ (DataType::Duration(TimeUnit::Microsecond) | DataType::Interval(IntervalUnit::YearMonth)) => {
            size.clone()
        }
        DataType::Null => DataType::Duration(TimeUnit::Microsecond),
        _ => return Err(a.mismatch(0, "a day-time or year-month INTERVAL")),
    };
    let above_zero = match a.constants.first() {
        Some(Some(ScalarValue::DurationMicrosecond(Some(size)))) => *size > 0,
        Some(Some(ScalarValue::IntervalYearMonth(Some(size)))) => *size > 0,
        Some(Some(value)) => value.is_null(),
        _ => return refuse("NON_FOLDABLE_INPUT", "the length of a bucket must be a constant"),
    };
    if !above_zero {
        return refuse("VALUE_OUT_OF_RANGE", "the length of a bucket must be above zero");
    }
    let mut arguments = vec![size];
    let mut returns = timestamp();
    for index in 1..a.types.len() {
        let time = match a.of(index) {
            time @ DataType::Timestamp(..) => time.clone(),
            DataType::Null => timestamp(),
            _ => return Err(a.mismatch(index, "a TIMESTAMP")),
        };
        if index == 1 {
            returns = if time == NTZ { NTZ } else { timestamp() };
        }
        arguments.push(returns.clone());
    }
    Ok(Typed { arguments, returns })
}

/// The bucket of a local time, from the local start of another; `months` or `micros` long.
fn start(time: i64, origin: i64, months: i64, micros: i64) -> Option<i64> {
    if months == 0 {
        return origin.checked_add(time.checked_sub(origin)?.div_euclid(micros).checked_mul(micros)?);
    }
    let month_of = |local: i64| {
        let (year, month, _) = date_of(local.div_euclid(DAY));
        year * 12 + month
    };
    let nth = |n: i64| {
        let date = add_months(origin.div_euclid(DAY), n.checked_mul(months)?)?;
        i64::from(date).checked_mul(DAY)?.checked_add(origin.rem_euclid(DAY))
    };
    let n = (month_of(time) - month_of(origin)).div_euclid(months);
    nth(n).filter(|start| *start <= time).or_else(|| nth(n - 1))
}

pub(super) fn time_bucket(call: &Call) -> Result<ArrayRef> {
    let local = *call.returns == NTZ;
    let zone = if local { Zone::Fixed(0) } else { call.zone() };
    let (months, micros) = match call.array(0)?.data_type() {
        DataType::Interval(_) => (call.primitive::<IntervalYearMonthType>(0)?.get(0).map(i64::from), None),
        _ => (None, call.primitive::<DurationMicrosecondType>(0)?.get(0)),
    };
    let (times, origins) = (call.instant(1)?, if call.has(2) { Some(call.instant(2)?) } else { None });
    let mut out: Vec<Option<i64>> = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let origin = match &origins {
            Some(origins) => origins.get(row),
            None => zone.instant(0),
        };
        let Some((time, origin)) = times.get(row).zip(origin).filter(|_| months.is_some() || micros.is_some()) else {
            out.push(None);
            continue;
        };
        let bucket = match micros {
            Some(micros) if micros < DAY => start(time, origin, 0, micros),
            _ => {
                let (time, origin) = (zone.local(time), zone.local(origin));
                start(time, origin, months.unwrap_or(0), micros.unwrap_or(0)).and_then(|start| zone.instant(start))
            }
        };
        out.push(Some(bucket.ok_or_else(|| {
            Error::new(ErrorCode::DatetimeOverflow, "time_bucket: the start of the bucket is out of range")
        })?));
    }
    Ok(Arc::new(Int64Array::from_iter(out)))
}
