//! Values of the types without a fast column: decimals, binary, arrays, maps and structs, to any depth.
//!
//! Comes in: a cursor on the value and its type. Goes out: a cell, complete, partial or none. A bad field inside a struct is
//! NULL and the rest of the struct is kept; a bad element makes its whole array or map NULL. Fails: text that is not JSON.

use super::fields::special;
use crate::decode::column::{Cell, Column, Data};
use crate::decode::formats::Formats;
use crate::decode::scan::{Cursor, Syntax};
use crate::decode::{base64, number};
use crate::types::{DataType, StructType};

/// What became of a value.
enum Outcome {
    /// It fits its type.
    Whole(Cell),
    /// Something inside did not fit and is NULL.
    Partial(Cell),
    /// It does not fit.
    Bad,
}

/// Reads a value into a column of cells. A partial value is added, and still makes the record malformed; so false means
/// that the caller adds NULL only when this added nothing.
pub(super) fn read(
    cursor: &mut Cursor<'_>,
    column: &mut Column,
    formats: &mut Formats,
    scratch: &mut Vec<u8>,
) -> Result<bool, Syntax> {
    let outcome = convert(cursor, column.data_type(), 1, formats, scratch)?;
    let Data::General(cells) = &mut column.data else { return Ok(false) };
    match outcome {
        Outcome::Whole(cell) => {
            if cell == Cell::Null {
                column.push_null();
            } else {
                cells.push(cell);
            }
            Ok(true)
        }
        Outcome::Partial(cell) => {
            cells.push(cell);
            Ok(false)
        }
        Outcome::Bad => Ok(false),
    }
}

fn convert(
    cursor: &mut Cursor<'_>,
    data_type: &DataType,
    depth: usize,
    formats: &mut Formats,
    scratch: &mut Vec<u8>,
) -> Result<Outcome, Syntax> {
    let first = cursor.peek();
    if first == b'n' {
        cursor.literal("null")?;
        return Ok(Outcome::Whole(Cell::Null));
    }
    match (data_type, first) {
        (DataType::Struct(fields), b'{') => structure(cursor, fields, depth, formats, scratch),
        (DataType::Array(element), b'[') => array(cursor, element, depth, formats, scratch),
        (DataType::Map(key, value), b'{') if **key == DataType::String => map(cursor, value, depth, formats, scratch),
        (DataType::Struct(_) | DataType::Array(_) | DataType::Map(..), _) => {
            cursor.value(depth)?;
            Ok(Outcome::Bad)
        }
        _ => Ok(scalar(cursor, data_type, depth, formats, scratch)?.map_or(Outcome::Bad, Outcome::Whole)),
    }
}

fn structure(
    cursor: &mut Cursor<'_>,
    fields: &StructType,
    depth: usize,
    formats: &mut Formats,
    scratch: &mut Vec<u8>,
) -> Result<Outcome, Syntax> {
    let mut cells = vec![Cell::Null; fields.fields.len()];
    let mut whole = true;
    members(cursor, depth, b'}', |cursor, depth| {
        let key = cursor.key()?;
        let name = key.resolve(scratch);
        match fields.fields.iter().position(|field| field.name.as_bytes() == name) {
            None => {
                cursor.value(depth)?;
            }
            Some(index) => {
                cells[index] = match convert(cursor, &fields.fields[index].data_type, depth, formats, scratch)? {
                    Outcome::Whole(cell) => cell,
                    Outcome::Partial(cell) => {
                        whole = false;
                        cell
                    }
                    Outcome::Bad => {
                        whole = false;
                        Cell::Null
                    }
                };
            }
        }
        Ok(())
    })?;
    Ok(if whole { Outcome::Whole(Cell::List(cells)) } else { Outcome::Partial(Cell::List(cells)) })
}

fn array(
    cursor: &mut Cursor<'_>,
    element: &DataType,
    depth: usize,
    formats: &mut Formats,
    scratch: &mut Vec<u8>,
) -> Result<Outcome, Syntax> {
    let mut cells = Vec::new();
    let mut state = State::default();
    members(cursor, depth, b']', |cursor, depth| {
        let outcome = convert(cursor, element, depth, formats, scratch)?;
        cells.extend(state.take(outcome));
        Ok(())
    })?;
    Ok(state.outcome(Cell::List(cells)))
}

fn map(
    cursor: &mut Cursor<'_>,
    value: &DataType,
    depth: usize,
    formats: &mut Formats,
    scratch: &mut Vec<u8>,
) -> Result<Outcome, Syntax> {
    let mut entries = Vec::new();
    let mut state = State::default();
    members(cursor, depth, b'}', |cursor, depth| {
        let key = String::from_utf8_lossy(cursor.key()?.resolve(scratch)).into_owned();
        let outcome = convert(cursor, value, depth, formats, scratch)?;
        entries.extend(state.take(outcome).map(|cell| (Cell::String(key), cell)));
        Ok(())
    })?;
    Ok(state.outcome(Cell::Map(entries)))
}

/// Whether the elements so far are whole.
#[derive(Default)]
struct State {
    partial: bool,
    bad: bool,
}

impl State {
    fn take(&mut self, outcome: Outcome) -> Option<Cell> {
        match outcome {
            Outcome::Whole(cell) => Some(cell),
            Outcome::Partial(cell) => {
                self.partial = true;
                Some(cell)
            }
            Outcome::Bad => {
                self.bad = true;
                None
            }
        }
    }

    fn outcome(self, cell: Cell) -> Outcome {
        match (self.bad, self.partial) {
            (true, _) => Outcome::Bad,
            (false, true) => Outcome::Partial(cell),
            (false, false) => Outcome::Whole(cell),
        }
    }
}

/// Calls `member` for each member of an array or object; the cursor stands on the opening bracket.
fn members(
    cursor: &mut Cursor<'_>,
    depth: usize,
    close: u8,
    mut member: impl FnMut(&mut Cursor<'_>, usize) -> Result<(), Syntax>,
) -> Result<(), Syntax> {
    cursor.enter(depth)?;
    if cursor.peek() == close {
        cursor.step();
        return Ok(());
    }
    loop {
        member(cursor, depth + 1)?;
        if !cursor.more(close)? {
            return Ok(());
        }
    }
}

fn scalar(
    cursor: &mut Cursor<'_>,
    data_type: &DataType,
    depth: usize,
    formats: &mut Formats,
    scratch: &mut Vec<u8>,
) -> Result<Option<Cell>, Syntax> {
    let first = cursor.peek();
    if matches!(first, b'"' | b'\'') {
        let text = cursor.string()?;
        let text = text.resolve(scratch);
        return Ok(match data_type {
            DataType::String => Some(Cell::String(String::from_utf8_lossy(text).into_owned())),
            DataType::Binary => base64::decode(text).map(Cell::Binary),
            DataType::Timestamp => formats.timestamp(text).map(Cell::Integer),
            DataType::Date => formats.date(text).map(|days| Cell::Integer(days.into())),
            DataType::Double => special(text).map(Cell::Double),
            DataType::Float => special(text).map(|value| Cell::Float(value as f32)),
            DataType::Decimal(precision, scale) => {
                let text = String::from_utf8_lossy(text).replace(',', "");
                number::decimal(&text, *precision, *scale).map(Cell::Decimal)
            }
            _ => None,
        });
    }
    if *data_type == DataType::String {
        return Ok(Some(Cell::String(String::from_utf8_lossy(cursor.value(depth)?).into_owned())));
    }
    if matches!(first, b't' | b'f' | b'{' | b'[') {
        cursor.value(depth)?;
        return Ok(
            (*data_type == DataType::Boolean && matches!(first, b't' | b'f')).then_some(Cell::Boolean(first == b't'))
        );
    }
    let number = match first {
        b'0'..=b'9' | b'-' => cursor.number()?,
        _ => cursor.special_or("a value is missing")?,
    };
    let within =
        |least: i64, most: i64| number.long().filter(|value| (least..=most).contains(value)).map(Cell::Integer);
    Ok(match data_type {
        DataType::Byte => within(i8::MIN.into(), i8::MAX.into()),
        DataType::Short => within(i16::MIN.into(), i16::MAX.into()),
        DataType::Integer => within(i32::MIN.into(), i32::MAX.into()),
        DataType::Long => within(i64::MIN, i64::MAX),
        DataType::Float => number.float().map(Cell::Float),
        DataType::Double => number.double().map(Cell::Double),
        DataType::Timestamp => number.long().and_then(|seconds| seconds.checked_mul(1_000_000)).map(Cell::Integer),
        DataType::Decimal(precision, scale) => std::str::from_utf8(number.raw)
            .ok()
            .and_then(|text| number::decimal(text, *precision, *scale))
            .map(Cell::Decimal),
        _ => None,
    })
}
