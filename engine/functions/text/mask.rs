//! `mask`: letters and digits of a text replaced by one of their kind.
//!
//! Comes in: a text, and what stands for capitals, small letters, digits and everything else; NULL leaves them. Goes out: a text. Fails:
//! replacements that are no single letter.

use crate::error::{Error, ErrorCode, Result};
use crate::functions::builtin::{Arguments, Call, Typed};
use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::DataType;
use std::sync::Arc;

/// Names of the replacements.
const KINDS: [&str; 4] = ["upperChar", "lowerChar", "digitChar", "otherChar"];

pub(super) fn types(a: &Arguments) -> Result<Typed> {
    for (index, found) in a.types.iter().enumerate() {
        if !matches!(found, DataType::Utf8 | DataType::Null) {
            return Err(a.mismatch(index, "STRING"));
        }
    }
    for (index, kind) in KINDS.iter().enumerate() {
        let index = index + 1;
        match a.constants.get(index) {
            Some(Some(value)) if value.is_null() => {}
            Some(Some(_)) if a.text(index).is_some_and(|text| text.chars().count() == 1) => {}
            Some(Some(_)) => {
                return Err(Error::new(ErrorCode::DatatypeMismatch, format!("mask: Length of {kind} should be 1"))
                    .with_sub_condition("INPUT_SIZE_NOT_ONE"));
            }
            _ => {
                return Err(Error::new(ErrorCode::DatatypeMismatch, format!("mask: {kind} must be a constant text"))
                    .with_sub_condition("NON_FOLDABLE_INPUT"));
            }
        }
    }
    Ok(Typed { arguments: vec![DataType::Utf8; a.types.len()], returns: DataType::Utf8 })
}

pub(super) fn mask(call: &Call) -> Result<ArrayRef> {
    let texts = call.text(0)?;
    let with =
        |index: usize| -> Result<Option<char>> { Ok(call.text(index)?.get(0).and_then(|text| text.chars().next())) };
    let (upper, lower, digit, other) = (with(1)?, with(2)?, with(3)?, with(4)?);
    let masked = |letter: char| {
        let replacement = match letter {
            letter if letter.is_uppercase() && letter.is_alphabetic() && !letter.is_numeric() => upper,
            letter if letter.is_lowercase() && letter.is_alphabetic() && !letter.is_numeric() => lower,
            letter if is_digit(letter) => digit,
            _ => other,
        };
        replacement.unwrap_or(letter)
    };
    let rows = (0..call.rows).map(|row| texts.get(row).map(|text| text.chars().map(masked).collect::<String>()));
    Ok(Arc::new(StringArray::from_iter(rows)))
}

/// Whether Java takes the letter for a decimal digit, of any script.
fn is_digit(letter: char) -> bool {
    // Zeros of the scripts whose digits follow each other.
    const ZEROS: [u32; 24] = [
        0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0,
        0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0xff10,
    ];
    ZEROS.iter().any(|zero| (*zero..zero + 10).contains(&(letter as u32)))
}
