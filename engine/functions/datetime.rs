//! Functions of dates and instants, in the session's time zone.
//!
//! Comes in: calls with dates, instants, texts and numbers of seconds. Goes out: the same. Fails under ANSI: texts that do not follow
//! their pattern and fields that are no date; patterns and zones that do not exist always.

mod buckets;
mod fields;
mod units;

use super::builtin::{Arguments, Builtin, Call, Typed, Values, converts, partial, strict, total, typed};
use super::cast::{CastOptions, cast};
use crate::decode::pattern::Pattern;
use crate::decode::timestamp::write_timestamp;
use crate::decode::zone::{DAY, SECOND, Zone, date_of, days};
use crate::error::{Error, ErrorCode, Result};
use crate::types::timestamp;
use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, PrimitiveArray, StringArray};
use arrow::datatypes::{DataType, Decimal128Type, Int32Type, TimeUnit, TimestampMicrosecondType};
use fields::{Part, day_of_week, extract, extract_types, months_between, of_date, of_time};
use std::sync::Arc;
use units::{Unit, date_trunc, timestampadd, timestampdiff};

/// `TIMESTAMP_NTZ`: a local time without a zone.
pub(crate) const NTZ: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

pub(super) static FUNCTIONS: &[Builtin] = &[
    typed("to_date", (1, 2), |a| parsed(a, DataType::Date32), |c| parse(c, Parse::Date, true)),
    typed("try_to_date", (1, 2), |a| parsed(a, DataType::Date32), |c| parse(c, Parse::Date, false)),
    typed("to_timestamp", (1, 2), |a| parsed(a, timestamp()), |c| parse(c, Parse::Instant, true)),
    typed("try_to_timestamp", (1, 2), |a| parsed(a, timestamp()), |c| parse(c, Parse::Instant, false)),
    typed("to_timestamp_ltz", (1, 2), |a| parsed(a, timestamp()), |c| parse(c, Parse::Instant, true)),
    typed("to_timestamp_ntz", (1, 2), |a| parsed(a, NTZ), |c| parse(c, Parse::Local, true)),
    typed("unix_timestamp", (1, 2), |a| parsed(a, DataType::Int64), |c| parse(c, Parse::Seconds, true)),
    typed("to_unix_timestamp", (1, 2), |a| parsed(a, DataType::Int64), |c| parse(c, Parse::Seconds, true)),
    typed("date_format", (2, 2), |a| on_time(a, DataType::Utf8), date_format),
    partial("from_unixtime", "l|s", 's', from_unixtime),
    typed(
        "timestamp_seconds",
        (1, 1),
        |a| match a.of(0) {
            t if t.is_numeric() || t.is_null() => Typed::new(a.types, timestamp()),
            _ => Err(a.mismatch(0, "a number")),
        },
        |c| c.expanded(0).and_then(|seconds| cast(&seconds, &timestamp(), c.cast_options())),
    ),
    partial("timestamp_millis", "l", 't', |c| strict!(c, Int64Array, |n: long 0| scaled(c, n, 1000).map(Some))),
    total("timestamp_micros", "l", 't', |c| strict!(c, Int64Array, |n: long 0| Ok(Some(n)))),
    total("unix_seconds", "t", 'l', |c| strict!(c, Int64Array, |t: instant 0| Ok(Some(t.div_euclid(SECOND))))),
    total("unix_millis", "t", 'l', |c| strict!(c, Int64Array, |t: instant 0| Ok(Some(t.div_euclid(1000))))),
    total("unix_micros", "t", 'l', |c| strict!(c, Int64Array, |t: instant 0| Ok(Some(t)))),
    total("unix_date", "D", 'i', |c| strict!(c, Int32Array, |d: date 0| Ok(Some(d)))),
    total("date_from_unix_date", "i", 'D', |c| strict!(c, Int32Array, |d: int 0| Ok(Some(d)))),
    total("year", "D", 'i', |c| of_date(c, Part::Year)),
    total("quarter", "D", 'i', |c| of_date(c, Part::Quarter)),
    total("month", "D", 'i', |c| of_date(c, Part::Month)),
    total("dayofmonth", "D", 'i', |c| of_date(c, Part::Day)),
    total("dayofweek", "D", 'i', |c| of_date(c, Part::DayOfWeek)),
    total("weekday", "D", 'i', |c| of_date(c, Part::Weekday)),
    total("dayofyear", "D", 'i', |c| of_date(c, Part::DayOfYear)),
    total("weekofyear", "D", 'i', |c| of_date(c, Part::Week)),
    total(
        "monthname",
        "D",
        's',
        |c| strict!(c, StringArray, |d: date 0| Ok(Some(name(&MONTHS, date_of(d.into()).1 - 1)))),
    ),
    total("dayname", "D", 's', |c| strict!(c, StringArray, |d: date 0| Ok(Some(name(&WEEKDAYS, weekday(d.into())))))),
    typed("hour", (1, 1), |a| on_time(a, DataType::Int32), |c| of_time(c, Part::Hour)),
    typed("minute", (1, 1), |a| on_time(a, DataType::Int32), |c| of_time(c, Part::Minute)),
    typed("second", (1, 1), |a| on_time(a, DataType::Int32), |c| of_time(c, Part::Second)),
    typed("date_part", (2, 2), extract_types, extract),
    total(
        "date_add",
        "Di",
        'D',
        |c| strict!(c, Int32Array, |d: date 0, n: int 1| in_range(c, add_days(d.into(), n.into()))),
    ),
    total(
        "date_sub",
        "Di",
        'D',
        |c| strict!(c, Int32Array, |d: date 0, n: int 1| in_range(c, add_days(d.into(), -i64::from(n)))),
    ),
    total(
        "datediff",
        "DD",
        'i',
        |c| strict!(c, Int32Array, |end: date 0, start: date 1| Ok(Some(end.wrapping_sub(start)))),
    ),
    total(
        "add_months",
        "Di",
        'D',
        |c| strict!(c, Int32Array, |d: date 0, n: int 1| in_range(c, add_months(d.into(), n.into()))),
    ),
    total("months_between", "tt|o", 'd', months_between),
    total("last_day", "D", 'D', |c| {
        strict!(c, Int32Array, |d: date 0| {
            let (year, month, _) = date_of(d.into());
            in_range(c, days(year, month, month_length(year, month)).and_then(|d| i32::try_from(d).ok()))
        })
    }),
    partial("next_day", "Ds", 'D', |c| {
        strict!(c, Int32Array, |d: date 0, day: text 1| match day_of_week(day) {
            // From the day after, one week at most.
            Some(wanted) => in_range(c, add_days(d.into(), (wanted - weekday(d.into()) - 1).rem_euclid(7) + 1)),
            None if c.ansi() => Err(Error::new(
                ErrorCode::IllegalDayOfWeek,
                format!("next_day: {day:?} is no day of the week; write for example 'Mon' or 'MONDAY'"),
            )),
            None => Ok(None),
        })
    }),
    total("trunc", "Ds", 'D', |c| {
        strict!(c, Int32Array, |d: date 0, unit: text 1| {
            let day = Unit::parse(unit).filter(|unit| unit.is_long()).and_then(|unit| unit.first_day(d.into()));
            Ok(day.and_then(|day| i32::try_from(day).ok()))
        })
    }),
    typed(
        "date_trunc",
        (2, 2),
        |a| {
            let time = time_type(a, 1)?;
            Ok(Typed { arguments: vec![DataType::Utf8, time.clone()], returns: time })
        },
        date_trunc,
    ),
    partial("make_date", "iii", 'D', |c| {
        strict!(c, Int32Array, |y: int 0, m: int 1, d: int 2| {
            out_of_bounds(c, days(y.into(), m.into(), d.into()).and_then(|d| i32::try_from(d).ok()), || format!("{y}-{m}-{d}"))
        })
    }),
    typed("make_timestamp", (6, 7), |a| make_timestamp_types(a, timestamp()), make_timestamp),
    typed("try_make_timestamp", (6, 7), |a| make_timestamp_types(a, timestamp()), make_timestamp),
    typed("make_timestamp_ltz", (6, 7), |a| make_timestamp_types(a, timestamp()), make_timestamp),
    typed("try_make_timestamp_ltz", (6, 7), |a| make_timestamp_types(a, timestamp()), make_timestamp),
    typed("make_timestamp_ntz", (6, 6), |a| make_timestamp_types(a, NTZ), make_timestamp),
    typed("try_make_timestamp_ntz", (6, 6), |a| make_timestamp_types(a, NTZ), make_timestamp),
    typed("time_bucket", (2, 3), buckets::types, buckets::time_bucket),
    partial(
        "from_utc_timestamp",
        "ts",
        't',
        |c| strict!(c, Int64Array, |t: instant 0, zone: text 1| Ok(Some(zone_named(c, zone)?.local(t)))),
    ),
    partial(
        "to_utc_timestamp",
        "ts",
        't',
        |c| strict!(c, Int64Array, |t: instant 0, zone: text 1| Ok(zone_named(c, zone)?.instant(t))),
    ),
    typed(
        "convert_timezone",
        (2, 3),
        |a| {
            let zones = vec![DataType::Utf8; a.types.len() - 1];
            Ok(Typed { arguments: zones.into_iter().chain([NTZ]).collect(), returns: NTZ })
        },
        |c| match c.has(2) {
            true => strict!(c, Int64Array, |from: text 0, to: text 1, t: instant 2| {
                let instant = zone_named(c, from)?.instant(t);
                let to = zone_named(c, to)?;
                Ok(instant.map(|instant| to.local(instant)))
            }),
            false => strict!(c, Int64Array, |to: text 0, t: instant 1| {
                let to = zone_named(c, to)?;
                Ok(c.zone().instant(t).map(|instant| to.local(instant)))
            }),
        },
    ),
    typed(
        "timestampadd",
        (3, 3),
        |a| {
            let time = time_type(a, 2)?;
            Ok(Typed { arguments: vec![DataType::Utf8, DataType::Int64, time.clone()], returns: time })
        },
        timestampadd,
    ),
    typed(
        "timestampdiff",
        (3, 3),
        |a| {
            let (from, to) = (time_type(a, 1)?, time_type(a, 2)?);
            let both = if from == NTZ && to == NTZ { NTZ } else { timestamp() };
            Ok(Typed { arguments: vec![DataType::Utf8, both.clone(), both], returns: DataType::Int64 })
        },
        timestampdiff,
    ),
    typed(
        "window_time",
        (1, 1),
        |a| match a.of(0) {
            DataType::Struct(fields) if fields.iter().any(|f| f.name() == "end") => Typed::new(a.types, timestamp()),
            _ => Err(a.mismatch(0, "a window column")),
        },
        |c| {
            let windows = c.expanded(0)?;
            let ends = windows.as_struct().column_by_name("end").cloned();
            let ends = ends.ok_or_else(|| Error::internal("a window without an end"))?;
            let ends = ends.as_primitive::<TimestampMicrosecondType>();
            let last =
                (0..c.rows).map(|row| (windows.is_valid(row) && ends.is_valid(row)).then(|| ends.value(row) - 1));
            Ok(Arc::new(Int64Array::from_iter(last)))
        },
    ),
];

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

fn name(names: &[&'static str], index: i64) -> &'static str {
    usize::try_from(index).ok().and_then(|index| names.get(index)).copied().unwrap_or_default()
}

/// 0 for Monday to 6 for Sunday; 1970-01-01 was a Thursday.
fn weekday(date: i64) -> i64 {
    (date + 3).rem_euclid(7)
}

fn month_length(year: i64, month: i64) -> i64 {
    (28..=31).rev().find(|day| days(year, month, *day).is_some()).unwrap_or(28)
}

/// A date some days later.
pub(super) fn add_days(date: i64, n: i64) -> Option<i32> {
    i32::try_from(date.checked_add(n)?).ok()
}

/// A date some months later, on the last day of a month that is too short.
pub(super) fn add_months(date: i64, months: i64) -> Option<i32> {
    let (year, month, day) = date_of(date);
    let total = year.checked_mul(12)?.checked_add(month - 1)?.checked_add(months)?;
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
    i32::try_from(days(year, month, day.min(month_length(year, month)))?).ok()
}

/// An instant later by months and days of the calendar, and then by microseconds.
pub(super) fn instant_plus(instant: i64, months: i64, days: i64, micros: i64, zone: Zone) -> Option<i64> {
    let mut moved = instant;
    if months != 0 || days != 0 {
        let local = zone.local(instant);
        let date = add_days(add_months(local.div_euclid(DAY), months)?.into(), days)?;
        moved = zone.instant(i64::from(date).checked_mul(DAY)?.checked_add(local.rem_euclid(DAY))?)?;
    }
    moved.checked_add(micros)
}

fn in_range(call: &Call, date: Option<i32>) -> Result<Option<i32>> {
    match date {
        None if call.ansi() => {
            Err(Error::new(ErrorCode::ArithmeticOverflow, format!("{}: the date is out of range", call.name)))
        }
        date => Ok(date),
    }
}

fn scaled(call: &Call, n: i64, unit: i64) -> Result<i64> {
    n.checked_mul(unit)
        .ok_or_else(|| Error::new(ErrorCode::ArithmeticOverflow, format!("{}({n}) is out of range", call.name)))
}

fn zone_named(call: &Call, name: &str) -> Result<Zone> {
    Zone::parse(name)
        .ok_or_else(|| call.invalid(format!("there is no time zone {name:?}; write for example Europe/Berlin")))
}

/// The type of an argument that is a time: itself, or an instant.
fn time_type(a: &Arguments, index: usize) -> Result<DataType> {
    match a.of(index) {
        t if *t == NTZ => Ok(NTZ),
        t @ (DataType::Timestamp(..) | DataType::Date32 | DataType::Utf8 | DataType::Null)
            if converts(t, &timestamp()) =>
        {
            Ok(timestamp())
        }
        _ => Err(a.mismatch(index, "a TIMESTAMP")),
    }
}

/// A function of a time, and of a text if it has a second argument.
fn on_time(a: &Arguments, returns: DataType) -> Result<Typed> {
    let time = time_type(a, 0)?;
    let texts = vec![DataType::Utf8; a.types.len() - 1];
    Ok(Typed { arguments: [time].into_iter().chain(texts).collect(), returns })
}

/// The zone in which an argument's local times are.
fn zone_of(call: &Call, index: usize) -> Result<Zone> {
    Ok(if *call.array(index)?.data_type() == NTZ { Zone::Fixed(0) } else { call.zone() })
}

/// The pattern compiled last.
#[derive(Default)]
struct Patterns {
    last: Option<(String, Pattern)>,
}

impl Patterns {
    fn get(&mut self, text: &str) -> Result<&Pattern> {
        if self.last.as_ref().is_none_or(|(known, _)| known != text) {
            self.last = Some((text.to_string(), Pattern::new(text)?));
        }
        self.last.as_ref().map(|(_, pattern)| pattern).ok_or_else(|| Error::internal("a pattern that was not kept"))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Parse {
    Date,
    Instant,
    Local,
    Seconds,
}

fn parsed(a: &Arguments, returns: DataType) -> Result<Typed> {
    let argument = match a.of(0) {
        DataType::Utf8 | DataType::Null => DataType::Utf8,
        t @ (DataType::Date32 | DataType::Timestamp(..)) => t.clone(),
        t if t.is_numeric() && matches!(returns, DataType::Timestamp(..)) => t.clone(),
        _ => return Err(a.mismatch(0, "a STRING, a DATE or a TIMESTAMP")),
    };
    let texts = vec![DataType::Utf8; a.types.len() - 1];
    Ok(Typed { arguments: [argument].into_iter().chain(texts).collect(), returns })
}

fn parse(call: &Call, what: Parse, strict: bool) -> Result<ArrayRef> {
    let ansi = strict && call.ansi();
    let to = match what {
        Parse::Date => DataType::Date32,
        Parse::Local => NTZ,
        _ => timestamp(),
    };
    let is_text = *call.array(0)?.data_type() == DataType::Utf8;
    if !is_text || (!call.has(1) && what != Parse::Seconds) {
        let options = CastOptions { ansi, time_zone: call.environment.time_zone };
        let values = cast(&call.expanded(0)?, &to, options)?;
        if what != Parse::Seconds {
            return Ok(values);
        }
        let seconds = values.as_primitive::<TimestampMicrosecondType>().unary(|t: i64| t.div_euclid(SECOND));
        let seconds: PrimitiveArray<arrow::datatypes::Int64Type> = seconds;
        return Ok(Arc::new(seconds));
    }
    let texts = call.text(0)?;
    let formats = if call.has(1) { Some(call.text(1)?) } else { None };
    let zone = if what == Parse::Local { Zone::Fixed(0) } else { call.zone() };
    let mut patterns = Patterns::default();
    let mut out: Vec<Option<i64>> = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let format = formats.as_ref().map_or(Some("yyyy-MM-dd HH:mm:ss"), |formats| formats.get(row));
        let (Some(text), Some(format)) = (texts.get(row), format) else {
            out.push(None);
            continue;
        };
        let pattern = patterns.get(format)?;
        let value = match what {
            Parse::Date => pattern.read_date(text).map(i64::from),
            Parse::Instant | Parse::Local => pattern.read_timestamp(text, zone),
            Parse::Seconds => pattern.read_timestamp(text, zone).map(|t| t.div_euclid(SECOND)),
        };
        if value.is_none() && ansi {
            return Err(Error::new(
                ErrorCode::CannotParseTimestamp,
                format!(
                    "{}: {text:?} does not follow the pattern {format:?}; use try_to_timestamp to get NULL, or set \
                     spark.sql.ansi.enabled to false",
                    call.name
                ),
            ));
        }
        out.push(value);
    }
    Ok(match what {
        Parse::Date => Arc::new(Int32Array::from_iter(out.into_iter().map(|v| v.map(|v| v as i32)))),
        _ => Arc::new(Int64Array::from_iter(out)),
    })
}

pub(super) fn date_format(call: &Call) -> Result<ArrayRef> {
    let zone = zone_of(call, 0)?;
    let mut patterns = Patterns::default();
    strict!(call, StringArray, |t: instant 0, format: text 1| {
        let mut out = String::new();
        patterns.get(format)?.write_timestamp(t, zone, &mut out);
        Ok(Some(out))
    })
}

fn from_unixtime(call: &Call) -> Result<ArrayRef> {
    let zone = call.zone();
    let mut patterns = Patterns::default();
    match call.has(1) {
        true => strict!(call, StringArray, |n: long 0, format: text 1| {
            let mut out = String::new();
            patterns.get(format)?.write_timestamp(scaled(call, n, SECOND)?, zone, &mut out);
            Ok(Some(out))
        }),
        false => strict!(call, StringArray, |n: long 0| {
            let mut out = String::new();
            write_timestamp(scaled(call, n, SECOND)?, zone, &mut out);
            Ok(Some(out))
        }),
    }
}

fn out_of_bounds<T>(call: &Call, value: Option<T>, text: impl Fn() -> String) -> Result<Option<T>> {
    match value {
        None if call.ansi() && !call.name.starts_with("try_") => Err(Error::new(
            ErrorCode::DatetimeFieldOutOfBounds,
            format!("{}: {} does not exist; set spark.sql.ansi.enabled to false to get NULL", call.name, text()),
        )),
        value => Ok(value),
    }
}

fn make_timestamp_types(a: &Arguments, returns: DataType) -> Result<Typed> {
    let mut arguments = vec![DataType::Int32; 5];
    arguments.push(DataType::Decimal128(16, 6));
    if a.types.len() == 7 {
        arguments.push(DataType::Utf8);
    }
    if let Some(index) = (0..a.types.len()).find(|i| !arguments.get(*i).is_some_and(|to| converts(a.of(*i), to))) {
        return Err(a.mismatch(index, "a number"));
    }
    Ok(Typed { arguments, returns })
}

fn make_timestamp(call: &Call) -> Result<ArrayRef> {
    let fields: Vec<Values<&PrimitiveArray<Int32Type>>> = (0..5).map(|i| call.int(i)).collect::<Result<_>>()?;
    let seconds = call.primitive::<Decimal128Type>(5)?;
    let zones = if call.has(6) { Some(call.text(6)?) } else { None };
    let mut out: Vec<Option<i64>> = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let values: Option<Vec<i64>> = fields.iter().map(|field| field.get(row).map(i64::from)).collect();
        let zone = match &zones {
            None => Some(if *call.returns == NTZ { Zone::Fixed(0) } else { call.zone() }),
            Some(zones) => zones.get(row).map(|name| zone_named(call, name)).transpose()?,
        };
        let (Some(values), Some(seconds), Some(zone)) = (values, seconds.get(row), zone) else {
            out.push(None);
            continue;
        };
        let [year, month, day, hour, minute] = values.as_slice() else {
            return Err(Error::internal("make_timestamp without five fields"));
        };
        let micros = i64::try_from(seconds).unwrap_or(-1);
        let valid = (0..24).contains(hour) && (0..60).contains(minute) && (0..=60 * SECOND).contains(&micros);
        if micros > 60 * SECOND && call.ansi() && !call.name.starts_with("try_") {
            return Err(Error::new(
                ErrorCode::InvalidFractionOfSecond,
                format!(
                    "{}: Valid range for seconds is [0, 60] (inclusive), but the provided value is {}; try_{0} gives NULL",
                    call.name,
                    seconds as f64 / SECOND as f64
                ),
            ));
        }
        let local = days(*year, *month, *day)
            .filter(|_| valid)
            .and_then(|day| day.checked_mul(DAY)?.checked_add((hour * 60 + minute) * 60 * SECOND + micros));
        let instant = local.and_then(|local| zone.instant(local));
        out.push(out_of_bounds(call, instant, || format!("{year}-{month}-{day} {hour}:{minute}"))?);
    }
    Ok(Arc::new(Int64Array::from_iter(out)))
}
