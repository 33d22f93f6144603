//! Values as Spark prints them, which for doubles means as Java does.
//!
//! Comes in: numbers, and cells of Arrow arrays. Goes out: text. Nothing fails except an array of a type that Spark does not
//! have.

use super::interval::{Fields, write_calendar, write_day_time, write_year_month};
use crate::decode::timestamp::{write_date, write_timestamp};
use crate::decode::zone::Zone;
use crate::error::{Error, ErrorCode, Result};
use crate::types::{self, UTC};
use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Field, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, TimeUnit,
    TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use std::fmt::Write;
use std::sync::Arc;

/// Java's `Double.toString`: the shortest digits that give the value back, at least one after the point, and an exponent
/// outside of 0.001 to 10,000,000.
///
/// ```
/// use tidemill::functions::java_text::double;
/// assert_eq!([double(1.0), double(1e7), double(0.001), double(1e-4)], ["1.0", "1.0E7", "0.001", "1.0E-4"]);
/// ```
pub fn double(value: f64) -> String {
    let mut out = String::new();
    write_double(value, &mut out);
    out
}

/// Java's `Float.toString`.
pub fn float(value: f32) -> String {
    let mut out = String::new();
    write_float(value, &mut out);
    out
}

/// Appends [`double`].
pub fn write_double(value: f64, out: &mut String) {
    if let Some(word) = special(value) {
        return out.push_str(word);
    }
    let mut digits = format!("{value:e}");
    // Java prints at least two digits, and takes the nearest two where more than one pair would do (4.9E-324).
    if !digits.contains('.') {
        let two = format!("{value:.1e}");
        if two.parse() == Ok(value) {
            digits = two;
        }
    }
    layout(&digits, out);
}

/// Appends [`float`].
pub fn write_float(value: f32, out: &mut String) {
    if let Some(word) = special(value.into()) {
        return out.push_str(word);
    }
    let mut digits = format!("{value:e}");
    if !digits.contains('.') {
        let two = format!("{value:.1e}");
        if two.parse() == Ok(value) {
            digits = two;
        }
    }
    layout(&digits, out);
}

fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value.is_infinite() {
        Some(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        None
    }
}

/// Lays out `d.ddde-n` as Java does.
fn layout(scientific: &str, out: &mut String) {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mantissa = match mantissa.strip_prefix('-') {
        Some(rest) => {
            out.push('-');
            rest
        }
        None => mantissa,
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    match exponent {
        0..=6 => {
            let shift = exponent as usize;
            out.push_str(whole);
            let (before, after) = fraction.split_at(shift.min(fraction.len()));
            out.push_str(before);
            out.extend(std::iter::repeat_n('0', shift - before.len()));
            out.push('.');
            out.push_str(if after.is_empty() { "0" } else { after });
        }
        -3..=-1 => {
            out.push_str("0.");
            out.extend(std::iter::repeat_n('0', (-exponent - 1) as usize));
            out.push_str(whole);
            out.push_str(fraction);
        }
        _ => {
            let fraction = if fraction.is_empty() { "0" } else { fraction };
            // Writing to a String cannot fail.
            let _ = write!(out, "{whole}.{fraction}E{exponent}");
        }
    }
}

/// The same values in the layouts that this crate works with: `Utf8`, `Binary` and timestamps in microseconds, whatever
/// variant a plan has made of them.
pub(crate) fn plain(array: &ArrayRef) -> Result<ArrayRef> {
    let to = match array.data_type() {
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Dictionary(_, values) => {
            let values = arrow::compute::cast(array, values)?;
            return plain(&values);
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == UTC => return Ok(array.clone()),
        DataType::Timestamp(TimeUnit::Microsecond, None) => return Ok(array.clone()),
        DataType::Timestamp(..) => types::timestamp(),
        DataType::Date64 => DataType::Date32,
        DataType::LargeList(field) | DataType::FixedSizeList(field, _) => DataType::List(field.clone()),
        _ => return Ok(array.clone()),
    };
    Ok(arrow::compute::cast(array, &to)?)
}

/// How [`write_value`] prints what has no one text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    pub(crate) zone: Zone,
    /// `NULL` in tables, `null` inside of casts.
    pub(crate) null: &'static str,
    /// Binary values as `[61 62]` instead of as UTF-8.
    pub(crate) hex: bool,
    /// Fields of the intervals of a column that is marked with them.
    pub(crate) interval: Option<Fields>,
}

impl Style {
    /// The style for the values of a column or field.
    pub(crate) fn of(self, field: &Field) -> Self {
        Self { interval: Fields::of(field), ..self }
    }
}

/// The text of every value, NULL where there is none.
pub(crate) fn texts(array: &ArrayRef, style: Style) -> Result<ArrayRef> {
    let mut texts = StringBuilder::with_capacity(array.len(), array.len() * 8);
    let mut text = String::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            texts.append_null();
        } else {
            text.clear();
            write_value(array, row, style, &mut text)?;
            texts.append_value(&text);
        }
    }
    Ok(Arc::new(texts.finish()))
}

/// Appends a cell: structs as `{a, b}`, arrays as `[a, b]`, maps as `{k -> v}`.
pub(crate) fn write_value(array: &ArrayRef, row: usize, style: Style, out: &mut String) -> Result<()> {
    if array.is_null(row) || array.data_type() == &DataType::Null {
        out.push_str(style.null);
        return Ok(());
    }
    macro_rules! number {
        ($type:ty) => {
            write!(out, "{}", array.as_primitive::<$type>().value(row))
        };
    }
    // Writing to a String cannot fail.
    let _ = match array.data_type() {
        DataType::Boolean => write!(out, "{}", array.as_boolean().value(row)),
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt32 => number!(UInt32Type),
        DataType::UInt64 => number!(UInt64Type),
        DataType::Float32 => {
            write_float(array.as_primitive::<Float32Type>().value(row), out);
            Ok(())
        }
        DataType::Float64 => {
            write_double(array.as_primitive::<Float64Type>().value(row), out);
            Ok(())
        }
        DataType::Decimal128(..) => out.write_str(&array.as_primitive::<Decimal128Type>().value_as_string(row)),
        DataType::Utf8 => out.write_str(array.as_string::<i32>().value(row)),
        DataType::Binary if style.hex => {
            let bytes = array.as_binary::<i32>().value(row);
            let words: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            write!(out, "[{}]", words.join(" "))
        }
        DataType::Binary => out.write_str(&String::from_utf8_lossy(array.as_binary::<i32>().value(row))),
        DataType::Date32 => {
            write_date(array.as_primitive::<Date32Type>().value(row).into(), out);
            Ok(())
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == UTC => {
            write_timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row), style.zone, out);
            Ok(())
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            let local = array.as_primitive::<TimestampMicrosecondType>().value(row);
            write_timestamp(local, Zone::Fixed(0), out);
            Ok(())
        }
        DataType::Duration(TimeUnit::Microsecond) | DataType::Interval(IntervalUnit::YearMonth) => {
            let fields = style.interval.or_else(|| Fields::all(array.data_type()));
            let fields = fields.ok_or_else(|| Error::internal("an interval without fields"))?;
            match array.as_primitive_opt::<DurationMicrosecondType>() {
                Some(micros) => write_day_time(micros.value(row), fields, out),
                None => write_year_month(array.as_primitive::<IntervalYearMonthType>().value(row), fields, out),
            }
            Ok(())
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let interval = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            write_calendar(interval.months, interval.days, interval.nanoseconds / 1000, out);
            Ok(())
        }
        DataType::Struct(_) => {
            out.push('{');
            let parts = array.as_struct();
            for (index, (column, field)) in parts.columns().iter().zip(parts.fields()).enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_value(column, row, style.of(field), out)?;
            }
            out.write_char('}')
        }
        DataType::List(_) => {
            let elements = array.as_list::<i32>().value(row);
            let style = Style { interval: None, ..style };
            out.push('[');
            for index in 0..elements.len() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_value(&elements, index, style, out)?;
            }
            out.write_char(']')
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let style = Style { interval: None, ..style };
            out.push('{');
            for index in 0..entries.len() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_value(entries.column(0), index, style, out)?;
                out.push_str(" -> ");
                write_value(entries.column(1), index, style, out)?;
            }
            out.write_char('}')
        }
        other => {
            let simple = plain(array)?;
            if simple.data_type() == other {
                return Err(Error::new(ErrorCode::DatatypeMismatch, format!("a value of type {other} has no text")));
            }
            return write_value(&simple, row, style, out);
        }
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_as_java_prints_them() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e20, "1.0E20"),
            (1e7, "1.0E7"),
            (9_999_999.0, "9999999.0"),
            (1_234_567.5, "1234567.5"),
            (12_345_678.9, "1.23456789E7"),
            (123.456, "123.456"),
            (100.0, "100.0"),
            (0.001, "0.001"),
            (0.00123, "0.00123"),
            (1e-4, "1.0E-4"),
            (-1.5e-10, "-1.5E-10"),
            (2e23, "2.0E23"),
            (f64::MIN_POSITIVE, "2.2250738585072014E-308"),
            (4.9e-324, "4.9E-324"),
            (1e-323, "9.9E-324"),
            (f64::MAX, "1.7976931348623157E308"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(double(value), text);
        }
        for (value, text) in
            [(1.0, "1.0"), (0.1, "0.1"), (3.4028235e38, "3.4028235E38"), (1e-45, "1.4E-45"), (1e10, "1.0E10")]
        {
            assert_eq!(float(value), text);
        }
    }
}
