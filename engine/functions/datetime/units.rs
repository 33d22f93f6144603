//! Times in units: cut to one, moved by some, and told apart in them.
//!
//! Comes in: calls with the name of a unit. Goes out: times and numbers. Fails: units that there are not, and times outside of their type.

use super::{instant_plus, weekday, zone_of};
use crate::decode::zone::{DAY, SECOND, date_of, days};
use crate::error::{Error, ErrorCode, Result};
use crate::functions::builtin::{Call, strict};
use arrow::array::{ArrayRef, Int64Array};

/// A unit of time, as `date_trunc` and its like name it.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Unit {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl Unit {
    pub(super) fn parse(name: &str) -> Option<Unit> {
        Some(match name.to_ascii_uppercase().as_str() {
            "MICROSECOND" => Unit::Microsecond,
            "MILLISECOND" => Unit::Millisecond,
            "SECOND" => Unit::Second,
            "MINUTE" => Unit::Minute,
            "HOUR" => Unit::Hour,
            "DAY" | "DD" | "DAYOFYEAR" => Unit::Day,
            "WEEK" => Unit::Week,
            "MON" | "MONTH" | "MM" => Unit::Month,
            "QUARTER" => Unit::Quarter,
            "YEAR" | "YYYY" | "YY" => Unit::Year,
            _ => return None,
        })
    }

    /// Whether `trunc` of a date takes it.
    pub(super) fn is_long(self) -> bool {
        matches!(self, Unit::Week | Unit::Month | Unit::Quarter | Unit::Year)
    }

    pub(super) fn first_day(self, date: i64) -> Option<i64> {
        let (year, month, _) = date_of(date);
        match self {
            Unit::Week => Some(date - weekday(date)),
            Unit::Month => days(year, month, 1),
            Unit::Quarter => days(year, (month - 1) / 3 * 3 + 1, 1),
            Unit::Year => days(year, 1, 1),
            _ => Some(date),
        }
    }

    fn months(self) -> Option<i64> {
        match self {
            Unit::Month => Some(1),
            Unit::Quarter => Some(3),
            Unit::Year => Some(12),
            _ => None,
        }
    }

    fn micros(self) -> i64 {
        match self {
            Unit::Microsecond => 1,
            Unit::Millisecond => 1000,
            Unit::Second => SECOND,
            Unit::Minute => 60 * SECOND,
            Unit::Hour => 3600 * SECOND,
            Unit::Week => 7 * DAY,
            _ => DAY,
        }
    }
}

pub(super) fn date_trunc(call: &Call) -> Result<ArrayRef> {
    let zone = zone_of(call, 1)?;
    strict!(call, Int64Array, |unit: text 0, t: instant 1| {
        let local = zone.local(t);
        Ok(Unit::parse(unit).and_then(|unit| match unit {
            Unit::Day | Unit::Week | Unit::Month | Unit::Quarter | Unit::Year => {
                let first = unit.first_day(local.div_euclid(DAY));
                first.and_then(|day| day.checked_mul(DAY)).and_then(|local| zone.instant(local))
            }
            unit => Some(t - local.rem_euclid(unit.micros())),
        }))
    })
}

fn unit_named(call: &Call, name: &str) -> Result<Unit> {
    Unit::parse(name).ok_or_else(|| {
        call.invalid(format!("{name:?} is no unit; there are MICROSECOND, MILLISECOND, SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, QUARTER and YEAR"))
    })
}

pub(super) fn timestampadd(call: &Call) -> Result<ArrayRef> {
    let zone = zone_of(call, 2)?;
    strict!(call, Int64Array, |unit: text 0, n: long 1, t: instant 2| {
        let unit = unit_named(call, unit)?;
        let moved = match unit.months() {
            Some(months) => n.checked_mul(months).and_then(|months| instant_plus(t, months, 0, 0, zone)),
            None if unit.micros() >= DAY => {
                n.checked_mul(unit.micros() / DAY).and_then(|days| instant_plus(t, 0, days, 0, zone))
            }
            None => n.checked_mul(unit.micros()).and_then(|micros| t.checked_add(micros)),
        };
        moved.map(Some).ok_or_else(|| {
            Error::new(ErrorCode::DatetimeOverflow, format!("timestampadd: {n} more leave the range of TIMESTAMP"))
        })
    })
}

pub(super) fn timestampdiff(call: &Call) -> Result<ArrayRef> {
    let zone = zone_of(call, 1)?;
    strict!(call, Int64Array, |unit: text 0, from: instant 1, to: instant 2| {
        let unit = unit_named(call, unit)?;
        let (start, end) = (zone.local(from), zone.local(to));
        Ok(Some(match unit.months() {
            Some(months) => {
                let ((y1, m1, d1), (y2, m2, d2)) = (date_of(start.div_euclid(DAY)), date_of(end.div_euclid(DAY)));
                let whole = (y2 - y1) * 12 + m2 - m1;
                let (early, late) = ((d1, start.rem_euclid(DAY)), (d2, end.rem_euclid(DAY)));
                // A month that is not over does not count.
                let unfinished = if whole > 0 { i64::from(late < early) } else if whole < 0 { -i64::from(late > early) } else { 0 };
                (whole - unfinished) / months
            }
            None => (end - start) / unit.micros(),
        }))
    })
}
