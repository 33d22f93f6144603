//! Constants of SQL as Spark types them.
//!
//! Comes in: the parser's literals. Goes out: literals with Spark's types: `1` INT, `1L` BIGINT, `1.5` DECIMAL(2,1), `1.5D` and `1e3`
//! DOUBLE. Fails: numbers that no type holds, texts that are no date, timestamp or interval.

use super::place::{At, Failure, Parsed};
use crate::error::{Error, ErrorCode, Result};
use crate::functions::cast::{CastOptions, cast};
use crate::functions::datetime::NTZ;
use crate::functions::interval::{self, Fields, Unit};
use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::DataType as ArrowType;
use chrono_tz::Tz;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Cast, Expr};
use datafusion::prelude::lit;
use datafusion::sql::sqlparser::ast::{DateTimeField, ObjectName, TypedString, Value};
use datafusion::sql::sqlparser::tokenizer::Span;
use std::sync::Arc;

/// The constant that a value of the parser is.
pub(super) fn literal(value: &Value, span: Span) -> Parsed<Expr> {
    Ok(match value {
        Value::Number(text, long) => number(text, if *long { "l" } else { "" }).at(span)?,
        Value::Boolean(value) => lit(*value),
        Value::Null => Expr::Literal(ScalarValue::Null, None),
        Value::HexStringLiteral(digits) => lit(ScalarValue::Binary(Some(hex(digits).at(span)?))),
        other => match text(other) {
            Some(text) => lit(text),
            None => {
                return Err(Failure::new(
                    ErrorCode::ParseSyntaxError,
                    format!("{other} is no literal of Spark SQL"),
                    span,
                ));
            }
        },
    })
}

/// The text of a string literal of any form.
pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::SingleQuotedString(text)
        | Value::DoubleQuotedString(text)
        | Value::TripleSingleQuotedString(text)
        | Value::TripleDoubleQuotedString(text)
        | Value::SingleQuotedRawStringLiteral(text)
        | Value::DoubleQuotedRawStringLiteral(text) => Some(text),
        _ => None,
    }
}

/// A number with one of Spark's suffixes (`1.5D`, `10BD`), which the parser takes for a name.
pub(super) fn suffixed_number(word: &str) -> Option<Result<Expr>> {
    let (digits, suffix) = suffixed(word)?;
    Some(number(digits, &suffix))
}

/// The digits and the suffix in lower case of a number that has one.
pub(super) fn suffixed(word: &str) -> Option<(&str, String)> {
    if !word.starts_with(|c: char| c.is_ascii_digit() || c == '.') || !word.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    // The digits of an exponent end a number that has one.
    let end = word.rfind(|c: char| c.is_ascii_digit() || c == '.').map_or(0, |last| last + 1);
    let (digits, suffix) = word.split_at(end);
    let suffix = suffix.to_ascii_lowercase();
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let plain = mantissa.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && exponent.strip_prefix(['+', '-']).unwrap_or(exponent).bytes().all(|byte| byte.is_ascii_digit());
    (plain && ["l", "s", "y", "d", "f", "bd"].contains(&suffix.as_str())).then_some((digits, suffix))
}

/// `digits`, perhaps with a minus, a fraction and an exponent, under a suffix in lower case.
pub(super) fn number(digits: &str, suffix: &str) -> Result<Expr> {
    let refuse = |type_name: &str| {
        Error::new(
            ErrorCode::ParseSyntaxError,
            format!("the number {digits}{} does not fit {type_name}", suffix.to_uppercase()),
        )
    };
    let exponent = digits.contains(['e', 'E']);
    Ok(match suffix {
        "y" => lit(digits.parse::<i8>().map_err(|_| refuse("TINYINT"))?),
        "s" => lit(digits.parse::<i16>().map_err(|_| refuse("SMALLINT"))?),
        "l" => lit(digits.parse::<i64>().map_err(|_| refuse("BIGINT"))?),
        "f" => lit(digits.parse::<f32>().ok().filter(|v| v.is_finite()).ok_or_else(|| refuse("FLOAT"))?),
        "d" => lit(double(digits).ok_or_else(|| refuse("DOUBLE"))?),
        "bd" => decimal(digits).ok_or_else(|| refuse("DECIMAL(38)"))?,
        _ if exponent => lit(double(digits).ok_or_else(|| refuse("DOUBLE"))?),
        _ if digits.contains('.') => decimal(digits).ok_or_else(|| refuse("DECIMAL(38)"))?,
        _ => match (digits.parse::<i32>(), digits.parse::<i64>()) {
            (Ok(int), _) => lit(int),
            (_, Ok(long)) => lit(long),
            _ => decimal(digits).ok_or_else(|| refuse("DECIMAL(38)"))?,
        },
    })
}

fn double(digits: &str) -> Option<f64> {
    digits.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// A decimal of exactly the digits that were written.
fn decimal(digits: &str) -> Option<Expr> {
    let (digits, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut unscaled: i128 = format!("{whole}{fraction}").parse().ok()?;
    let mut scale = i64::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    // Zeros before the point are digits; there is no scale below 0.
    while scale < 0 {
        unscaled = unscaled.checked_mul(10)?;
        scale += 1;
    }
    let significant = i64::try_from(unscaled.unsigned_abs().to_string().len()).ok()?;
    let precision = significant.max(scale).max(1);
    if precision > 38 {
        return None;
    }
    Some(lit(ScalarValue::Decimal128(Some(unscaled), u8::try_from(precision).ok()?, i8::try_from(scale).ok()?)))
}

fn hex(digits: &str) -> Result<Vec<u8>> {
    let refuse = || Error::new(ErrorCode::ParseSyntaxError, format!("X'{digits}' is not hexadecimal"));
    // An odd number of digits has a zero in front.
    let padded = if digits.len().is_multiple_of(2) { digits.to_string() } else { format!("0{digits}") };
    let pairs = (0..padded.len()).step_by(2).map(|at| padded.get(at..at + 2));
    pairs.map(|pair| pair.and_then(|p| u8::from_str_radix(p, 16).ok()).ok_or_else(refuse)).collect()
}

/// `DATE '2026-01-01'`, `TIMESTAMP '2026-01-01 10:00:00'`: a cast of a constant, which takes the session's time zone when it is resolved.
pub(super) fn typed(typed: &TypedString) -> Parsed<Expr> {
    use datafusion::sql::sqlparser::ast::DataType;
    let span = typed.value.span;
    let named = |name: &ObjectName, wanted: &str| name.to_string().eq_ignore_ascii_case(wanted);
    let to = match &typed.data_type {
        DataType::Date => ArrowType::Date32,
        DataType::Timestamp(None, _) => crate::types::timestamp(),
        DataType::TimestampNtz(None) => NTZ,
        DataType::Custom(name, _) if named(name, "timestamp_ntz") => NTZ,
        DataType::Custom(name, _) if named(name, "x") => {
            let digits = text(&typed.value.value).unwrap_or_default();
            return Ok(lit(ScalarValue::Binary(Some(hex(digits).at(span)?))));
        }
        other => {
            let message = format!(
                "{other} literals are not supported; there are DATE, TIMESTAMP, TIMESTAMP_NTZ and TIMESTAMP_LTZ literals, and CAST"
            );
            return Err(Failure::unsupported(message, span));
        }
    };
    let Some(text) = text(&typed.value.value) else {
        return Err(Failure::new(ErrorCode::ParseSyntaxError, "a text must follow the type name of a literal", span));
    };
    let array: ArrayRef = Arc::new(StringArray::from(vec![text]));
    let value = cast(&array, &to, CastOptions { ansi: true, time_zone: Tz::UTC }).map_err(|_| {
        let message = format!("'{text}' is not a {}", typed.data_type);
        Failure::new(ErrorCode::ParseSyntaxError, message, span)
    })?;
    if to == NTZ {
        // The same in every time zone.
        return Ok(lit(ScalarValue::try_from_array(&value, 0).map_err(Error::from).at(span)?));
    }
    Ok(Expr::Cast(Cast::new(Box::new(lit(text)), to)))
}

/// An interval's text as a constant; `fields` are those around a `TO`.
pub(super) fn interval(text: &str, fields: Option<(&DateTimeField, &DateTimeField)>) -> Result<Expr> {
    let Some((first, last)) = fields else { return interval::literal(text) };
    let unit = |field: &DateTimeField| Unit::named(&field.to_string());
    let fields = unit(first).zip(unit(last)).and_then(|(first, last)| Fields::between(first, last));
    let fields = fields.ok_or_else(|| {
        Error::new(ErrorCode::ParseSyntaxError, format!("INTERVAL {first} TO {last} is no type of intervals in Spark"))
    })?;
    interval::literal_from_to(text, fields)
}
