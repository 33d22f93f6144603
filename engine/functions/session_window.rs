//! `session_window(time, gap)`, and the event time of a window column.
//!
//! Comes in: calls as the user wrote them. Goes out: functions that planning recognises: a session is grouped by
//! ([`crate::plan::session`]), and elsewhere is the one that a row makes alone. Fails: a constant gap that is no interval, and gaps of months.

use crate::error::{Error, ErrorCode, Result};
use crate::functions::registry::FunctionRegistry;
use crate::options::{event_time_duration, parse_interval};
use crate::plan::spark_function::{Kind, SparkFunction, window_array};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, DurationMicrosecondType, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use std::collections::HashMap;
use std::sync::Arc;

/// Name of `session_window`, which is that of its column too.
pub const SESSION_WINDOW: &str = "session_window";
/// Name of the function that gives a window's event time.
pub const WINDOW_TIME: &str = "window_time";

const DAY_MICROS: i64 = 86_400_000_000;

/// A call of `session_window`. A gap that is a text must be an interval.
///
/// # Errors
/// `CannotParseInterval`, and months in an interval.
pub fn session_window(time: Expr, gap: Expr) -> Result<Expr> {
    if let Expr::Literal(ScalarValue::Utf8(Some(text)), _) = &gap {
        event_time_duration(text)?;
    }
    Ok(SparkFunction::new(Kind::SessionWindow).call(vec![time, gap]))
}

/// The event time of a window column: its last microsecond.
///
/// # Errors
/// None that a caller could cause.
pub fn window_time(window: Expr) -> Result<Expr> {
    FunctionRegistry::default().call(WINDOW_TIME, vec![window], false)
}

/// Refuses gaps of a type that is no interval.
///
/// # Errors
/// `DatatypeMismatch`.
pub fn check_gap(gap: &DataType) -> Result<()> {
    match gap {
        DataType::Null
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Interval(IntervalUnit::MonthDayNano | IntervalUnit::DayTime)
        | DataType::Duration(_) => Ok(()),
        other => Err(not_a_gap(other)),
    }
}

/// Time and gap of a `session_window` call.
pub fn session_parts(expr: &Expr) -> Option<(&Expr, &Expr)> {
    let Expr::ScalarFunction(call) = expr else { return None };
    match (call.name(), call.args.as_slice()) {
        (SESSION_WINDOW, [time, gap]) => Some((time, gap)),
        _ => None,
    }
}

/// The window column of a `window_time` call.
pub fn window_of(expr: &Expr) -> Option<&Expr> {
    let Expr::ScalarFunction(call) = expr else { return None };
    match (call.name(), call.args.as_slice()) {
        (WINDOW_TIME, [window]) => Some(window),
        _ => None,
    }
}

/// Gaps in microseconds; NULL where the gap is.
///
/// # Errors
/// `DatatypeMismatch` for another type, and months.
pub fn gaps(gap: &ArrayRef) -> Result<Int64Array> {
    let months = || {
        Error::new(
            ErrorCode::UnsupportedOperation,
            "session_window(): a gap of months or years has no fixed length; give weeks, days or shorter units",
        )
    };
    match gap.data_type() {
        DataType::Null => Ok(Int64Array::new_null(gap.len())),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(_, _) => {
            let texts = cast(gap, &DataType::Utf8)?;
            let texts = texts.as_string::<i32>();
            let mut known: HashMap<&str, i64> = HashMap::new();
            let parsed = texts.iter().map(|text| {
                let Some(text) = text else { return Ok(None) };
                if let Some(micros) = known.get(text) {
                    return Ok(Some(*micros));
                }
                // As in Spark, a text that is no interval is NULL.
                let Ok(interval) = parse_interval(text) else { return Ok(None) };
                if interval.months != 0 {
                    return Err(months());
                }
                known.insert(text, interval.micros);
                Ok(Some(interval.micros))
            });
            parsed.collect()
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let intervals = gap.as_primitive::<IntervalMonthDayNanoType>();
            let micros = |v: arrow::datatypes::IntervalMonthDayNano| match v.months {
                0 => Ok(i64::from(v.days).saturating_mul(DAY_MICROS).saturating_add(v.nanoseconds / 1000)),
                _ => Err(months()),
            };
            intervals.iter().map(|v| v.map(micros).transpose()).collect()
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let intervals = gap.as_primitive::<IntervalDayTimeType>();
            let micros = |v: arrow::datatypes::IntervalDayTime| {
                i64::from(v.days) * DAY_MICROS + i64::from(v.milliseconds) * 1000
            };
            Ok(intervals.iter().map(|v| v.map(micros)).collect())
        }
        DataType::Duration(_) => {
            let durations = cast(gap, &DataType::Duration(TimeUnit::Microsecond))?;
            Ok(durations.as_primitive::<DurationMicrosecondType>().iter().collect())
        }
        other => Err(not_a_gap(other)),
    }
}

fn not_a_gap(found: &DataType) -> Error {
    Error::new(
        ErrorCode::DatatypeMismatch,
        format!("session_window(): the gap must be an interval or a text such as '5 minutes', not {found}"),
    )
}

/// The session that each row makes alone, from its time to a gap later; NULL where the time or the gap is.
///
/// # Errors
/// As [`gaps`], and times that are none.
pub fn of_rows(time: &ArrayRef, gap: &ArrayRef) -> Result<ArrayRef> {
    let times = time
        .as_primitive_opt::<TimestampMicrosecondType>()
        .ok_or_else(|| Error::internal(format!("a session over times of {}", time.data_type())))?;
    let gaps = gaps(gap)?;
    let spans = times.iter().zip(&gaps).map(|(time, gap)| time.zip(gap));
    let spans: Vec<Option<(i64, i64)>> = spans.collect();
    let starts = spans.iter().map(|span| span.map(|(time, _)| time)).collect::<TimestampMicrosecondArray>();
    let ends = spans.iter().map(|span| span.map(|(time, gap)| time.saturating_add(gap)));
    Ok(Arc::new(window_array(starts, ends.collect::<TimestampMicrosecondArray>())?))
}
