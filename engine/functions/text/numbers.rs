//! `format_number`: numbers as texts with groups of digits.
//!
//! Comes in: calls with a number and a count of places, or a pattern. Goes out: texts. Fails: patterns that are none.

use super::decimal_format::{DecimalFormat, Number, fixed};
use crate::error::Result;
use crate::functions::arithmetic::{Rounding, rescale};
use crate::functions::builtin::Call;
use crate::functions::cast::cast;
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, i256};
use std::sync::Arc;

/// Digits in groups of three, half to even, as Java's `DecimalFormat` rounds.
pub(super) fn format_number(call: &Call) -> Result<ArrayRef> {
    if *call.array(1)?.data_type() == DataType::Utf8 {
        return by_pattern(call);
    }
    let places = call.int(1)?;
    let numbers = call.array(0)?;
    let mut out: Vec<Option<String>> = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let at = call.at(0, row);
        let places = match places.get(row) {
            Some(places) if places >= 0 && numbers.is_valid(at) => places as usize,
            _ => {
                out.push(None);
                continue;
            }
        };
        let plain = match numbers.data_type() {
            DataType::Decimal128(_, scale) => {
                let value = i256::from_i128(numbers.as_primitive::<Decimal128Type>().value(at));
                let to = places.min(38) as i8;
                let scaled = rescale(value, *scale, to, Rounding::HalfEven).unwrap_or(value);
                point(&scaled.to_string(), places)
            }
            DataType::Float32 | DataType::Float64 => {
                let value = arrow::compute::cast(numbers, &DataType::Float64)?.as_primitive::<Float64Type>().value(at);
                if value.is_nan() || value.is_infinite() {
                    out.push(Some(
                        if value.is_nan() {
                            "NaN"
                        } else if value > 0.0 {
                            "∞"
                        } else {
                            "-∞"
                        }
                        .to_string(),
                    ));
                    continue;
                }
                let text = fixed(value, places);
                let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
                if places > 0 { format!("{whole}.{fraction:0<places$}") } else { text }
            }
            DataType::Null => continue,
            _ => {
                let value = arrow::compute::cast(numbers, &DataType::Int64)?.as_primitive::<Int64Type>().value(at);
                format!("{}", value) + &if places > 0 { format!(".{}", "0".repeat(places)) } else { String::new() }
            }
        };
        out.push(Some(grouped(&plain)));
    }
    Ok(Arc::new(StringArray::from_iter(out)))
}

/// By Java's patterns.
fn by_pattern(call: &Call) -> Result<ArrayRef> {
    let (patterns, numbers) = (call.text(1)?, call.array(0)?);
    let double = numbers.data_type().is_floating();
    let values = cast(numbers, if double { &DataType::Float64 } else { &DataType::Utf8 }, call.cast_options())?;
    let mut known: Option<(&str, DecimalFormat)> = None;
    let mut out: Vec<Option<String>> = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let at = call.at(0, row);
        let Some(pattern) = patterns.get(row).filter(|_| values.is_valid(at)) else {
            out.push(None);
            continue;
        };
        let format = match known.take() {
            Some((text, format)) if text == pattern => format,
            _ => DecimalFormat::new(pattern)?,
        };
        out.push(Some(format.write(&match double {
            true => Number::Double(values.as_primitive::<Float64Type>().value(at)),
            false => Number::Exact(values.as_string::<i32>().value(at).to_string()),
        })));
        known = Some((pattern, format));
    }
    Ok(Arc::new(StringArray::from_iter(out)))
}

/// Puts the point into a number that is scaled by ten to the `places`.
fn point(scaled: &str, places: usize) -> String {
    let (sign, digits) = scaled.strip_prefix('-').map_or(("", scaled), |digits| ("-", digits));
    let digits = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let dot = if places > 0 { "." } else { "" };
    format!("{sign}{whole}{dot}{fraction}")
}

fn grouped(plain: &str) -> String {
    let (number, fraction) = plain.find('.').map_or((plain, ""), |at| plain.split_at(at));
    let (sign, digits) = number.strip_prefix('-').map_or(("", number), |digits| ("-", digits));
    let mut out = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}
