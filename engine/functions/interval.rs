//! Spark's intervals: literals, the fields that a type names (`INTERVAL DAY TO SECOND`), and their texts.
//!
//! Comes in: texts (`1 day 2 hours`, `1 02:03:04` with the fields around it), and values. Goes out: literals that know their fields, and
//! texts as `CAST(x AS STRING)` writes them. Fails: texts that are no interval, and years or months beside days or hours.
//!
//! Arrow has one type for all day-time intervals and one for all year-month intervals, so the fields are a mark on a column.

#[cfg(test)]
mod tests;

use crate::decode::zone::{DAY, SECOND};
use crate::error::{Error, ErrorCode, Result};
use crate::options::parse_interval;
use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::metadata::FieldMetadata;
use datafusion::logical_expr::Expr;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The mark of a column that says its fields: `day to hour`.
const FIELDS_KEY: &str = "spark.interval";

const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// A field of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unit {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

use Unit::{Day, Hour, Minute, Month, Second, Year};

impl Unit {
    /// The field that Spark calls so, in any case, in the singular or the plural; shorter units are parts of a second, weeks are days.
    pub(crate) fn named(word: &str) -> Option<Self> {
        let lower = word.to_ascii_lowercase();
        Some(match lower.strip_suffix('s').unwrap_or(&lower) {
            "year" => Year,
            "month" => Month,
            "week" | "day" => Day,
            "hour" => Hour,
            "minute" => Minute,
            "second" | "millisecond" | "microsecond" => Second,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Year => "year",
            Month => "month",
            Day => "day",
            Hour => "hour",
            Minute => "minute",
            Second => "second",
        }
    }

    fn micros(self) -> i64 {
        match self {
            Hour => HOUR,
            Minute => MINUTE,
            Second => SECOND,
            _ => DAY,
        }
    }

    /// Spark's number of the field within its kind of interval.
    #[cfg(feature = "connect")]
    pub(crate) fn number(self) -> i32 {
        match self {
            Year | Day => 0,
            Month | Hour => 1,
            Minute => 2,
            Second => 3,
        }
    }
}

/// The first and the last field of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) start: Unit,
    pub(crate) end: Unit,
}

impl Fields {
    /// Days only, as the difference of dates has.
    pub(crate) const DAYS: Fields = Fields { start: Day, end: Day };
    const DAY_TO_SECOND: Fields = Fields { start: Day, end: Second };
    const YEAR_TO_MONTH: Fields = Fields { start: Year, end: Month };

    /// The fields of a column of intervals: those it is marked with, or all that its type has; None for other columns.
    pub(crate) fn of(field: &Field) -> Option<Fields> {
        let all = Self::all(field.data_type())?;
        let marked = field.metadata().get(FIELDS_KEY).and_then(|text| Self::parse(text));
        Some(marked.filter(|fields| fields.is_months() == all.is_months()).unwrap_or(all))
    }

    /// The fields of a literal.
    pub(crate) fn of_literal(value: &ScalarValue, metadata: Option<&FieldMetadata>) -> Option<Fields> {
        let field = Field::new("literal", value.data_type(), true);
        Self::of(&match metadata {
            Some(metadata) => metadata.add_to_field(field),
            None => field,
        })
    }

    /// All fields that a type of intervals has.
    pub(crate) fn all(data_type: &DataType) -> Option<Fields> {
        match data_type {
            DataType::Duration(TimeUnit::Microsecond) => Some(Self::DAY_TO_SECOND),
            DataType::Interval(IntervalUnit::YearMonth) => Some(Self::YEAR_TO_MONTH),
            _ => None,
        }
    }

    /// `day to hour`, `month`.
    pub(crate) fn parse(text: &str) -> Option<Fields> {
        let (start, end) = text.split_once(" to ").unwrap_or((text, text));
        Self::between(Unit::named(start.trim())?, Unit::named(end.trim())?)
    }

    /// The fields from one to another of the same kind.
    pub(crate) fn between(start: Unit, end: Unit) -> Option<Fields> {
        (start <= end && (start <= Month) == (end <= Month)).then_some(Fields { start, end })
    }

    /// Whether these are years and months.
    pub(crate) fn is_months(self) -> bool {
        self.end <= Month
    }

    /// The fields of a sum.
    pub(crate) fn union(self, other: Fields) -> Fields {
        Fields { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// `day to hour`, as the type's name has it.
    pub(crate) fn name(self) -> String {
        match self.start == self.end {
            true => self.start.name().to_string(),
            false => format!("{} to {}", self.start.name(), self.end.name()),
        }
    }

    /// The mark of a column with these fields; none for a column with all of them.
    pub(crate) fn metadata(self) -> BTreeMap<String, String> {
        match self == Self::DAY_TO_SECOND || self == Self::YEAR_TO_MONTH {
            true => BTreeMap::new(),
            false => BTreeMap::from([(FIELDS_KEY.to_string(), self.name())]),
        }
    }
}

/// A literal that knows its fields.
fn literal_of(value: ScalarValue, fields: Fields) -> Expr {
    let metadata = fields.metadata();
    Expr::Literal(value, (!metadata.is_empty()).then(|| FieldMetadata::new(metadata)))
}

/// `1 day 2 hours` is a day-time interval, `1 year` a year-month interval.
///
/// # Errors
/// `CannotParseInterval` for a text that is none, `ParseSyntaxError` for one of both kinds.
pub(crate) fn literal(text: &str) -> Result<Expr> {
    let interval = parse_interval(text)?;
    let units = text.split_ascii_whitespace().filter_map(Unit::named);
    let fields = units.map(|unit| Fields { start: unit, end: unit }).reduce(Fields::union);
    // A text with a number has a unit.
    let fields = fields.unwrap_or(Fields::DAY_TO_SECOND);
    if Fields::between(fields.start, fields.end).is_none() {
        return Err(Error::new(
            ErrorCode::ParseSyntaxError,
            format!(
                "cannot mix year-month and day-time fields: INTERVAL {text}; add two intervals one after the other"
            ),
        ));
    }
    if !fields.is_months() {
        return Ok(literal_of(ScalarValue::DurationMicrosecond(Some(interval.micros)), fields));
    }
    let months = i32::try_from(interval.months)
        .map_err(|_| Error::new(ErrorCode::CannotParseInterval, format!("'{text}' has too many months")))?;
    Ok(literal_of(ScalarValue::IntervalYearMonth(Some(months)), fields))
}

/// `INTERVAL '1 02:03' DAY TO MINUTE`: the text, and the fields that it has.
///
/// # Errors
/// `ParseSyntaxError`.
pub(crate) fn literal_from_to(text: &str, fields: Fields) -> Result<Expr> {
    let name = fields.name().to_uppercase();
    let refuse = || {
        Error::new(
            ErrorCode::ParseSyntaxError,
            format!("'{text}' is not an INTERVAL {name}: a number for each field, within its range"),
        )
    };
    let value = read(text, fields).ok_or_else(refuse)?;
    let value = match fields.is_months() {
        true => ScalarValue::IntervalYearMonth(Some(i32::try_from(value).map_err(|_| refuse())?)),
        false => ScalarValue::DurationMicrosecond(Some(value)),
    };
    Ok(literal_of(value, fields))
}

/// Months or microseconds of a text with a number for each of the fields.
fn read(text: &str, fields: Fields) -> Option<i64> {
    let text = text.trim();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let number = |digits: &str| -> Option<i64> {
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if plain { digits.parse().ok() } else { None }
    };
    let value = if fields.is_months() {
        match (fields.start, fields.end) {
            (Year, Month) => {
                let (years, months) = text.split_once('-')?;
                number(years)?.checked_mul(12)?.checked_add(number(months).filter(|months| *months < 12)?)?
            }
            (Year, _) => number(text)?.checked_mul(12)?,
            _ => number(text)?,
        }
    } else {
        let mut parts: Vec<&str> = Vec::new();
        let times = match (fields.start, fields.end) {
            (Day, Day) => text,
            (Day, _) => {
                let (days, times) = text.split_once(' ')?;
                parts.push(days);
                times.trim_start()
            }
            _ => text,
        };
        parts.extend(times.split(':'));
        let units: Vec<Unit> =
            [Day, Hour, Minute, Second].into_iter().filter(|unit| (fields.start..=fields.end).contains(unit)).collect();
        if parts.len() != units.len() {
            return None;
        }
        let mut total = 0i64;
        for (index, (part, unit)) in parts.iter().zip(units).enumerate() {
            let (whole, fraction) = match part.split_once('.') {
                Some((whole, fraction)) if unit == Second => (whole, fraction),
                Some(_) => return None,
                None => (*part, ""),
            };
            let whole = number(whole)?;
            let limit = if unit == Hour { 24 } else { 60 };
            if index > 0 && whole >= limit {
                return None;
            }
            total = total.checked_add(whole.checked_mul(unit.micros())?)?;
            if !fraction.is_empty() {
                // Digits below a microsecond are cut.
                let digits: String = fraction.chars().chain("000000".chars()).take(6).collect();
                number(fraction).filter(|_| fraction.len() <= 9)?;
                total = total.checked_add(number(&digits)?)?;
            }
        }
        total
    };
    Some(if negative { -value } else { value })
}

/// Months or microseconds of a text that is cast: `1 02:03:04`, or the text of a literal, `INTERVAL '1' DAY`.
pub(crate) fn of_text(text: &str, data_type: &DataType) -> Option<i64> {
    let all = Fields::all(data_type)?;
    let trimmed = text.trim();
    let word = trimmed.get(..8).filter(|word| word.eq_ignore_ascii_case("interval"));
    if word.is_none() {
        return read(trimmed, all);
    }
    let rest = trimmed.get(8..)?.trim_start();
    let (negative, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest.strip_prefix('+').unwrap_or(rest)),
    };
    let (inner, fields) = rest.strip_prefix('\'')?.split_once('\'')?;
    let fields = Fields::parse(&fields.trim().to_ascii_lowercase()).filter(|f| f.is_months() == all.is_months())?;
    let value = read(inner, fields)?;
    Some(if negative { -value } else { value })
}

/// Appends `INTERVAL '1 02:03' DAY TO MINUTE`.
pub(crate) fn write_day_time(micros: i64, fields: Fields, out: &mut String) {
    let sign = if micros < 0 { "-" } else { "" };
    let rest = micros.unsigned_abs();
    let part = |unit: Unit| rest / unit.micros().unsigned_abs();
    let (days, hours, minutes) = (part(Day), part(Hour), part(Minute));
    let seconds = |rest: u64, out: &mut String| {
        let _ = write!(out, "{:02}", rest / 1_000_000);
        if !rest.is_multiple_of(1_000_000) {
            let fraction = format!(".{:06}", rest % 1_000_000);
            out.push_str(fraction.trim_end_matches('0'));
        }
    };
    // Writing to a String cannot fail.
    let _ = write!(out, "INTERVAL '{sign}");
    let _ = match fields.start {
        Hour => write!(out, "{hours:02}"),
        Minute => write!(out, "{minutes:02}"),
        Second => {
            seconds(rest, out);
            Ok(())
        }
        _ => write!(out, "{days}"),
    };
    if fields.start < Hour && fields.end >= Hour {
        let _ = write!(out, " {:02}", hours % 24);
    }
    if fields.start < Minute && fields.end >= Minute {
        let _ = write!(out, ":{:02}", minutes % 60);
    }
    if fields.start < Second && fields.end >= Second {
        out.push(':');
        seconds(rest % 60_000_000, out);
    }
    let _ = write!(out, "' {}", fields.name().to_uppercase());
}

/// Appends `INTERVAL '1-2' YEAR TO MONTH`.
pub(crate) fn write_year_month(months: i32, fields: Fields, out: &mut String) {
    let sign = if months < 0 { "-" } else { "" };
    let rest = months.unsigned_abs();
    let number = match (fields.start, fields.end) {
        (Year, Month) => format!("{}-{}", rest / 12, rest % 12),
        (Year, _) => (rest / 12).to_string(),
        _ => rest.to_string(),
    };
    let _ = write!(out, "INTERVAL '{sign}{number}' {}", fields.name().to_uppercase());
}

/// Appends `1 years 2 months 25 days 5 hours 6 minutes 7.5 seconds`, without what is zero.
pub(crate) fn write_calendar(months: i32, days: i32, micros: i64, out: &mut String) {
    let seconds = micros % MINUTE;
    let parts = [
        (i64::from(months / 12), "years"),
        (i64::from(months % 12), "months"),
        (i64::from(days), "days"),
        (micros / HOUR, "hours"),
        (micros % HOUR / MINUTE, "minutes"),
    ];
    let mut texts: Vec<String> =
        parts.iter().filter(|(number, _)| *number != 0).map(|(number, unit)| format!("{number} {unit}")).collect();
    if seconds != 0 {
        let sign = if seconds < 0 { "-" } else { "" };
        let rest = seconds.unsigned_abs();
        let text = format!("{sign}{}.{:06}", rest / 1_000_000, rest % 1_000_000);
        texts.push(format!("{} seconds", text.trim_end_matches('0').trim_end_matches('.')));
    }
    out.push_str(&if texts.is_empty() { "0 seconds".to_string() } else { texts.join(" ") });
}
