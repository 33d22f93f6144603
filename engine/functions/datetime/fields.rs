//! The fields of dates and times: years, quarters, weeks, seconds, and the months between two of them.
//!
//! Comes in: calls with dates and times. Goes out: numbers. Fails: names of fields and days that there are not (ANSI).

use super::{month_length, time_type, weekday, zone_of};
use crate::decode::zone::{DAY, SECOND, date_of, days};
use crate::error::{Error, ErrorCode, Result};
use crate::functions::builtin::{Arguments, Call, Typed, Values, strict};
use arrow::array::{ArrayRef, Decimal128Array, Float64Array, Int32Array};
use arrow::datatypes::DataType;
use std::sync::Arc;

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Part {
    Year,
    YearOfWeek,
    Quarter,
    Month,
    Week,
    Day,
    DayOfWeek,
    /// From 1 for Monday.
    DayOfWeekIso,
    /// From 0 for Monday.
    Weekday,
    DayOfYear,
    Hour,
    Minute,
    Second,
}

impl Part {
    fn parse(name: &str) -> Option<Part> {
        Some(match name.to_ascii_uppercase().as_str() {
            "YEAR" | "Y" | "YEARS" | "YR" | "YRS" => Part::Year,
            "YEAROFWEEK" => Part::YearOfWeek,
            "QUARTER" | "QTR" => Part::Quarter,
            "MONTH" | "MON" | "MONS" | "MONTHS" => Part::Month,
            "WEEK" | "W" | "WEEKS" => Part::Week,
            "DAY" | "D" | "DAYS" => Part::Day,
            "DAYOFWEEK" | "DOW" => Part::DayOfWeek,
            "DAYOFWEEK_ISO" | "DOW_ISO" => Part::DayOfWeekIso,
            "DOY" => Part::DayOfYear,
            "HOUR" | "H" | "HOURS" | "HR" | "HRS" => Part::Hour,
            "MINUTE" | "M" | "MIN" | "MINS" | "MINUTES" => Part::Minute,
            "SECOND" | "S" | "SEC" | "SECONDS" | "SECS" => Part::Second,
            _ => return None,
        })
    }

    fn of_date(self, date: i64) -> i64 {
        let (year, month, day) = date_of(date);
        // The ISO week belongs to the year of its Thursday.
        let thursday = date - weekday(date) + 3;
        let (week_year, ..) = date_of(thursday);
        let start = |year| days(year, 1, 1).unwrap_or_default();
        match self {
            Part::Year => year,
            Part::YearOfWeek => week_year,
            Part::Quarter => (month + 2) / 3,
            Part::Month => month,
            Part::Week => (thursday - start(week_year)) / 7 + 1,
            Part::Day => day,
            Part::DayOfWeek => (weekday(date) + 1) % 7 + 1,
            Part::DayOfWeekIso => weekday(date) + 1,
            Part::Weekday => weekday(date),
            Part::DayOfYear => date - start(year) + 1,
            Part::Hour | Part::Minute | Part::Second => 0,
        }
    }

    fn of_local(self, local: i64) -> i64 {
        let seconds = local.rem_euclid(DAY) / SECOND;
        match self {
            Part::Hour => seconds / 3600,
            Part::Minute => seconds / 60 % 60,
            Part::Second => seconds % 60,
            part => part.of_date(local.div_euclid(DAY)),
        }
    }
}

pub(super) fn of_date(call: &Call, part: Part) -> Result<ArrayRef> {
    strict!(call, Int32Array, |d: date 0| Ok(Some(part.of_date(d.into()) as i32)))
}

pub(super) fn of_time(call: &Call, part: Part) -> Result<ArrayRef> {
    let zone = zone_of(call, 0)?;
    strict!(call, Int32Array, |t: instant 0| Ok(Some(part.of_local(zone.local(t)) as i32)))
}

pub(super) fn extract_types(a: &Arguments) -> Result<Typed> {
    let field = a.text(0).ok_or_else(|| a.mismatch(0, "a constant STRING"))?;
    let part = Part::parse(field).ok_or_else(|| {
        Error::new(
            ErrorCode::InvalidExtractField,
            format!("{}: there is no field {field:?}; there are YEAR, QUARTER, MONTH, WEEK, DAY, DOW, DOY, HOUR, MINUTE and SECOND", a.name),
        )
    })?;
    let returns = if part == Part::Second { DataType::Decimal128(8, 6) } else { DataType::Int32 };
    Ok(Typed { arguments: vec![DataType::Utf8, time_type(a, 1)?], returns })
}

pub(super) fn extract(call: &Call) -> Result<ArrayRef> {
    let field = call.text(0)?.get(0).and_then(Part::parse);
    let part = field.ok_or_else(|| Error::internal("a field that the analysis did not see"))?;
    let zone = zone_of(call, 1)?;
    if part == Part::Second {
        let times = call.instant(1)?;
        let micros =
            (0..call.rows).map(|row| times.get(row).map(|t| i128::from(zone.local(t).rem_euclid(60 * SECOND))));
        return Ok(Arc::new(Decimal128Array::from_iter(micros).with_precision_and_scale(8, 6)?));
    }
    let times = call.instant(1)?;
    let values = (0..call.rows).map(|row| times.get(row).map(|t| part.of_local(zone.local(t)) as i32));
    Ok(Arc::new(Int32Array::from_iter(values)))
}

pub(super) fn months_between(call: &Call) -> Result<ArrayRef> {
    let zone = call.zone();
    let rounds: Option<Values<_>> = if call.has(2) { Some(call.boolean(2)?) } else { None };
    let (ends, starts) = (call.instant(0)?, call.instant(1)?);
    let mut out: Vec<Option<f64>> = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let round = rounds.as_ref().map_or(Some(true), |rounds| rounds.get(row));
        let (Some(end), Some(start), Some(round)) = (ends.get(row), starts.get(row), round) else {
            out.push(None);
            continue;
        };
        let (end, start) = (zone.local(end), zone.local(start));
        let ((y1, m1, d1), (y2, m2, d2)) = (date_of(end.div_euclid(DAY)), date_of(start.div_euclid(DAY)));
        let months = ((y1 - y2) * 12 + m1 - m2) as f64;
        let last = |year, month, day| day == month_length(year, month);
        if d1 == d2 || (last(y1, m1, d1) && last(y2, m2, d2)) {
            out.push(Some(months));
            continue;
        }
        let seconds = (d1 - d2) * 86_400 + (end.rem_euclid(DAY) - start.rem_euclid(DAY)) / SECOND;
        // Spark counts 31 days a month.
        let exact = months + seconds as f64 / (31.0 * 86_400.0);
        out.push(Some(if round { (exact * 1e8).round() / 1e8 } else { exact }));
    }
    Ok(Arc::new(Float64Array::from_iter(out)))
}

pub(super) fn day_of_week(text: &str) -> Option<i64> {
    Some(match text.trim().to_ascii_uppercase().as_str() {
        "MO" | "MON" | "MONDAY" => 0,
        "TU" | "TUE" | "TUESDAY" => 1,
        "WE" | "WED" | "WEDNESDAY" => 2,
        "TH" | "THU" | "THURSDAY" => 3,
        "FR" | "FRI" | "FRIDAY" => 4,
        "SA" | "SAT" | "SATURDAY" => 5,
        "SU" | "SUN" | "SUNDAY" => 6,
        _ => return None,
    })
}
