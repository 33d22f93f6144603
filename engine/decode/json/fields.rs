//! One field of a record into its column.
//!
//! Comes in: a cursor on the value. Goes out: whether the value fits the column's type; if not, nothing is added. Fails: text
//! that is not JSON. No value is converted between kinds, as in Spark: a string that looks like a number is no number, a
//! number with a point is no integer; only a string column takes everything, as text.

use super::general;
use crate::decode::column::{Column, Data};
use crate::decode::formats::Formats;
use crate::decode::number::Number;
use crate::decode::scan::{Cursor, Syntax, Text};

/// Reads a value into a column.
#[inline]
pub(super) fn read(
    cursor: &mut Cursor<'_>,
    column: &mut Column,
    formats: &mut Formats,
    scratch: &mut Vec<u8>,
) -> Result<bool, Syntax> {
    if matches!(column.data, Data::General(_)) {
        return general::read(cursor, column, formats, scratch);
    }
    match cursor.peek() {
        b'"' | b'\'' => {
            let text = cursor.string()?;
            Ok(put_string(text, column, formats, scratch))
        }
        b'0'..=b'9' | b'-' => {
            let number = cursor.number()?;
            Ok(put_number(&number, column))
        }
        b'n' => {
            cursor.literal("null")?;
            column.push_null();
            Ok(true)
        }
        b't' => {
            cursor.literal("true")?;
            Ok(put_boolean(true, column))
        }
        b'f' => {
            cursor.literal("false")?;
            Ok(put_boolean(false, column))
        }
        b'{' | b'[' => {
            let raw = cursor.value(1)?;
            Ok(column.push_text(raw))
        }
        _ => {
            let number = cursor.special_or("a value is missing")?;
            Ok(put_number(&number, column))
        }
    }
}

#[inline]
fn put_string(text: Text<'_>, column: &mut Column, formats: &mut Formats, scratch: &mut Vec<u8>) -> bool {
    let text = text.resolve(scratch);
    match &mut column.data {
        Data::Dictionary(dictionary) => dictionary.push(text),
        Data::Timestamp(values) => match formats.timestamp(text) {
            Some(instant) => values.push(instant),
            None => return false,
        },
        Data::Date(values) => match formats.date(text) {
            Some(days) => values.push(days),
            None => return false,
        },
        Data::Double(values) => match special(text) {
            Some(value) => values.push(value),
            None => return false,
        },
        Data::Float(values) => match special(text) {
            Some(value) => values.push(value as f32),
            None => return false,
        },
        _ => return column.push_text(text),
    }
    true
}

/// The numbers that JSON can only write as strings.
pub(super) fn special(text: &[u8]) -> Option<f64> {
    match text {
        b"NaN" => Some(f64::NAN),
        b"Infinity" | b"+Infinity" | b"+INF" => Some(f64::INFINITY),
        b"-Infinity" | b"-INF" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

#[inline]
fn put_number(number: &Number<'_>, column: &mut Column) -> bool {
    /// Pushes what there is to push.
    fn put<T>(values: &mut Vec<T>, value: Option<T>) -> bool {
        value.map(|value| values.push(value)).is_some()
    }
    match &mut column.data {
        Data::Double(values) => put(values, number.double()),
        Data::Float(values) => put(values, number.float()),
        Data::Long(values) => put(values, number.long()),
        Data::Integer(values) => put(values, number.long().and_then(|value| value.try_into().ok())),
        Data::Short(values) => put(values, number.long().and_then(|value| value.try_into().ok())),
        Data::Byte(values) => put(values, number.long().and_then(|value| value.try_into().ok())),
        // A number for a timestamp is seconds.
        Data::Timestamp(values) => put(values, number.long().and_then(|seconds| seconds.checked_mul(1_000_000))),
        _ => column.push_text(number.raw),
    }
}

fn put_boolean(value: bool, column: &mut Column) -> bool {
    match &mut column.data {
        Data::Boolean(values) => {
            values.push(value);
            true
        }
        _ => column.push_text(if value { b"true" } else { b"false" }),
    }
}
