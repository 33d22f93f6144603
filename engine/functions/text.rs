//! Functions of strings and of bytes.
//!
//! Comes in: calls with texts. Goes out: texts, positions (from 1, 0 for nowhere) and digests. Fails: an index of 0 in `split_part`,
//! texts that are no base64 or URL.

mod base32;
mod codes;
mod decimal_format;
mod mask;
mod number_pattern;
mod numbers;
mod similar;
mod utf8;

use super::builtin::{ANY, Arguments, Builtin, Call, Typed, converts, partial, strict, total, typed};
use crate::decode::base64;
use crate::error::{Error, ErrorCode, Result};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int32Array, StringArray};
use arrow::datatypes::DataType;
pub(super) use codes::unhex;
use codes::{decode, encode, hex, hex_types, parse_url, sha2, unbase64, url_decode, url_encode};
use datafusion_spark::function as spark;
use numbers::format_number;
use std::sync::Arc;

pub(super) static FUNCTIONS: &[Builtin] = &[
    total("lower", "s", 's', |c| each(c, |s| s.to_lowercase())),
    total("upper", "s", 's', |c| each(c, |s| s.to_uppercase())),
    total("initcap", "s", 's', |c| each(c, initcap)),
    typed("length", (1, 1), text_or_bytes, |c| count(c, |text| text.chars().count(), <[u8]>::len)),
    typed("octet_length", (1, 1), text_or_bytes, |c| count(c, str::len, <[u8]>::len)),
    typed("bit_length", (1, 1), text_or_bytes, |c| count(c, |t| t.len() * 8, |b| b.len() * 8)),
    // With two arguments, what to cut comes first; only btrim has it last.
    total("trim", "s|s", 's', |c| trim(c, true, true)),
    total("btrim", "s|s", 's', btrim),
    total("ltrim", "s|s", 's', |c| trim(c, true, false)),
    total("rtrim", "s|s", 's', |c| trim(c, false, true)),
    total("lpad", "si|s", 's', |c| pad(c, true)),
    total("rpad", "si|s", 's', |c| pad(c, false)),
    total("substring", "si|i", 's', substring),
    total(
        "left",
        "si",
        's',
        |c| strict!(c, StringArray, |s: text 0, n: int 1| Ok(Some(slice(s, 0, n.into()).to_string()))),
    ),
    total("right", "si", 's', right),
    total(
        "substring_index",
        "ssi",
        's',
        |c| strict!(c, StringArray, |s: text 0, d: text 1, n: int 2| Ok(Some(substring_index(s, d, n).to_string()))),
    ),
    total("instr", "ss", 'i', |c| strict!(c, Int32Array, |s: text 0, part: text 1| Ok(Some(find(s, part, 1))))),
    total("locate", "ss|i", 'i', locate),
    total("replace", "ss|s", 's', replace),
    total(
        "translate",
        "sss",
        's',
        |c| strict!(c, StringArray, |s: text 0, from: text 1, to: text 2| Ok(Some(translate(s, from, to)))),
    ),
    total(
        "repeat",
        "si",
        's',
        |c| strict!(c, StringArray, |s: text 0, n: int 1| Ok(Some(s.repeat(n.max(0) as usize)))),
    ),
    partial(
        "split_part",
        "ssi",
        's',
        |c| strict!(c, StringArray, |s: text 0, d: text 1, n: int 2| split_part(s, d, n)),
    ),
    total(
        "ascii",
        "s",
        'i',
        |c| strict!(c, Int32Array, |s: text 0| Ok(Some(s.chars().next().map_or(0, |first| first as i32)))),
    ),
    total("chr", "l", 's', |c| {
        strict!(c, StringArray, |n: long 0| {
            Ok(Some(if n < 0 { String::new() } else { char::from((n & 0xff) as u8).to_string() }))
        })
    }),
    total("base64", "b", 's', |c| {
        strict!(c, StringArray, |b: binary 0| {
            let mut out = String::new();
            base64::encode(b, &mut out);
            Ok(Some(out))
        })
    }),
    partial("unbase64", "s", 'b', |c| strict!(c, BinaryArray, |s: text 0| unbase64(c, s))),
    typed("hex", (1, 1), hex_types, hex),
    total("unhex", "s", 'b', |c| strict!(c, BinaryArray, |s: text 0| Ok(unhex(s)))),
    partial("encode", "ss", 'b', |c| strict!(c, BinaryArray, |s: text 0, set: text 1| encode(c, s, set).map(Some))),
    partial("decode", "bs", 's', |c| strict!(c, StringArray, |b: binary 0, set: text 1| decode(c, b, set).map(Some))),
    total("md5", "b", 's', |c| c.delegate(&datafusion::functions::crypto::md5())),
    total("sha1", "b", 's', |c| c.delegate(&spark::hash::sha1())),
    total("sha2", "bi", 's', |c| strict!(c, StringArray, |b: binary 0, bits: int 1| Ok(sha2(b, bits)))),
    total("crc32", "b", 'l', |c| c.delegate(&spark::hash::crc32())),
    typed(
        "format_number",
        (2, 2),
        |a| {
            if !(a.of(0).is_numeric() || a.of(0).is_null()) {
                return Err(a.mismatch(0, "a number"));
            }
            let places = if *a.of(1) == DataType::Utf8 { DataType::Utf8 } else { DataType::Int32 };
            Ok(Typed { arguments: vec![a.of(0).clone(), places], returns: DataType::Utf8 })
        },
        format_number,
    ),
    typed("to_char", (2, 2), number_pattern::to_char_types, number_pattern::to_char),
    typed("to_number", (2, 2), number_pattern::to_number_types, number_pattern::to_number),
    typed("try_to_number", (2, 2), number_pattern::to_number_types, number_pattern::to_number),
    typed("to_binary", (1, 2), codes::to_binary_types, codes::to_binary),
    typed("try_to_binary", (1, 2), codes::to_binary_types, codes::to_binary),
    total("to_base32", "b", 's', base32::encode),
    total("from_base32", "s", 'b', base32::decode),
    typed("mask", (5, 5), mask::types, mask::mask),
    total("jaro_winkler_similarity", "ss", 'd', similar::jaro_winkler),
    typed("is_valid_utf8", (1, 1), |a| utf8::types(a, DataType::Boolean), utf8::is_valid),
    typed("make_valid_utf8", (1, 1), |a| utf8::types(a, DataType::Utf8), utf8::make_valid),
    typed("validate_utf8", (1, 1), |a| utf8::types(a, DataType::Utf8), utf8::validate),
    typed("try_validate_utf8", (1, 1), |a| utf8::types(a, DataType::Utf8), utf8::validate),
    partial("hmac", "bbs", 'b', codes::hmac),
    partial("try_parse_url", "ss|s", 's', parse_url),
    typed(
        "format_string",
        (1, ANY),
        |a| Typed::new(a.types, DataType::Utf8),
        |c| c.delegate(&spark::string::format_string()),
    ),
    total("soundex", "s", 's', |c| c.delegate(&spark::string::soundex())),
    total("levenshtein", "ss|i", 'i', levenshtein),
    total("space", "i", 's', |c| strict!(c, StringArray, |n: int 0| Ok(Some(" ".repeat(n.max(0) as usize))))),
    partial("parse_url", "ss|s", 's', parse_url),
    total("url_encode", "s", 's', |c| strict!(c, StringArray, |s: text 0| Ok(Some(url_encode(s))))),
    partial("url_decode", "s", 's', |c| {
        strict!(c, StringArray, |s: text 0| match url_decode(s) {
            Some(decoded) => Ok(Some(decoded)),
            None => Err(c.invalid(format!("{s:?} is no URL-encoded text; use try_url_decode to get NULL"))),
        })
    }),
    total("try_url_decode", "s", 's', |c| strict!(c, StringArray, |s: text 0| Ok(url_decode(s)))),
    total("overlay", "ssi|i", 's', overlay),
    total("find_in_set", "ss", 'i', |c| {
        strict!(c, Int32Array, |s: text 0, set: text 1| {
            let found = if s.contains(',') { None } else { set.split(',').position(|part| part == s) };
            Ok(Some(found.map_or(0, |at| at as i32 + 1)))
        })
    }),
    partial("elt", "i|s*", 's', elt),
    total("luhn_check", "s", 'o', |c| strict!(c, BooleanArray, |s: text 0| Ok(Some(luhn(s))))),
    total("bin", "l", 's', |c| strict!(c, StringArray, |n: long 0| Ok(Some(format!("{n:b}"))))),
    typed("concat", (0, ANY), concat_types, super::collection::concat),
    typed("concat_ws", (1, ANY), concat_ws_types, concat_ws),
    total("contains", "ss", 'o', |c| strict!(c, BooleanArray, |s: text 0, p: text 1| Ok(Some(s.contains(p))))),
    total("startswith", "ss", 'o', |c| strict!(c, BooleanArray, |s: text 0, p: text 1| Ok(Some(s.starts_with(p))))),
    total("endswith", "ss", 'o', |c| strict!(c, BooleanArray, |s: text 0, p: text 1| Ok(Some(s.ends_with(p))))),
];

fn each(call: &Call, f: impl Fn(&str) -> String) -> Result<ArrayRef> {
    strict!(call, StringArray, |s: text 0| Ok(Some(f(s))))
}

fn text_or_bytes(a: &Arguments) -> Result<Typed> {
    let to = match a.of(0) {
        DataType::Binary => DataType::Binary,
        other if converts(other, &DataType::Utf8) => DataType::Utf8,
        _ => return Err(a.mismatch(0, "STRING or BINARY")),
    };
    Ok(Typed { arguments: vec![to], returns: DataType::Int32 })
}

fn count(call: &Call, text: impl Fn(&str) -> usize, bytes: impl Fn(&[u8]) -> usize) -> Result<ArrayRef> {
    match call.array(0)?.data_type() {
        DataType::Binary => strict!(call, Int32Array, |b: binary 0| Ok(Some(bytes(b) as i32))),
        _ => strict!(call, Int32Array, |s: text 0| Ok(Some(text(s) as i32))),
    }
}

fn initcap(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut first = true;
    for letter in text.chars() {
        match first {
            true => out.extend(letter.to_uppercase()),
            false => out.extend(letter.to_lowercase()),
        }
        first = letter == ' ';
    }
    out
}

fn trim(call: &Call, left: bool, right: bool) -> Result<ArrayRef> {
    match call.has(1) {
        true => strict!(call, StringArray, |letters: text 0, s: text 1| Ok(Some(cut(s, letters, left, right)))),
        false => strict!(call, StringArray, |s: text 0| Ok(Some(cut(s, " ", left, right)))),
    }
}

fn btrim(call: &Call) -> Result<ArrayRef> {
    match call.has(1) {
        true => strict!(call, StringArray, |s: text 0, letters: text 1| Ok(Some(cut(s, letters, true, true)))),
        false => trim(call, true, true),
    }
}

/// The text without any of the letters at its ends.
fn cut(text: &str, letters: &str, left: bool, right: bool) -> String {
    let drop = |c: char| letters.contains(c);
    let text = if left { text.trim_start_matches(drop) } else { text };
    (if right { text.trim_end_matches(drop) } else { text }).to_string()
}

fn pad(call: &Call, left: bool) -> Result<ArrayRef> {
    let padded = |text: &str, length: i32, with: &str| {
        let (length, have) = (length.max(0) as usize, text.chars().count());
        if have >= length || with.is_empty() {
            return slice(text, 0, length as i64).to_string();
        }
        let padding: String = with.chars().cycle().take(length - have).collect();
        if left { padding + text } else { text.to_string() + &padding }
    };
    match call.has(2) {
        true => strict!(call, StringArray, |s: text 0, n: int 1, with: text 2| Ok(Some(padded(s, n, with)))),
        false => strict!(call, StringArray, |s: text 0, n: int 1| Ok(Some(padded(s, n, " ")))),
    }
}

/// Characters `start..start + length` of a text, as far as it has them; `start` may lie before it.
fn slice(text: &str, start: i64, length: i64) -> &str {
    let end = start.saturating_add(length);
    if end <= 0 || length <= 0 {
        return "";
    }
    let start = start.max(0);
    let place = |character: i64| -> usize {
        if text.is_ascii() {
            return (character as usize).min(text.len());
        }
        text.char_indices().nth(character as usize).map_or(text.len(), |(at, _)| at)
    };
    text.get(place(start)..place(end)).unwrap_or_default()
}

fn substring(call: &Call) -> Result<ArrayRef> {
    let cut = |text: &str, position: i32, length: i64| {
        let start = match i64::from(position) {
            position @ 1.. => position - 1,
            0 => 0,
            position => text.chars().count() as i64 + position,
        };
        slice(text, start, length).to_string()
    };
    match call.has(2) {
        true => strict!(call, StringArray, |s: text 0, p: int 1, n: int 2| Ok(Some(cut(s, p, n.into())))),
        false => strict!(call, StringArray, |s: text 0, p: int 1| Ok(Some(cut(s, p, i64::MAX)))),
    }
}

fn right(call: &Call) -> Result<ArrayRef> {
    strict!(call, StringArray, |s: text 0, n: int 1| {
        let skipped = (s.chars().count() as i64 - i64::from(n.max(0))).max(0);
        Ok(Some(slice(s, skipped, n.into()).to_string()))
    })
}

fn substring_index<'a>(text: &'a str, delimiter: &str, count: i32) -> &'a str {
    if delimiter.is_empty() || count == 0 {
        return "";
    }
    let nth = count.unsigned_abs() as usize - 1;
    // Spark looks for the next occurrence one byte further on, so they may overlap.
    let starts = (0..text.len()).filter(|at| text.as_bytes()[*at..].starts_with(delimiter.as_bytes()));
    match count > 0 {
        true => starts.clone().nth(nth).map_or(text, |at| &text[..at]),
        false => starts.rev().nth(nth).map_or(text, |at| &text[at + delimiter.len()..]),
    }
}

/// The position of `part` from character `from` (1 is the first) on; 0 when there is none.
fn find(text: &str, part: &str, from: i32) -> i32 {
    if from < 1 {
        return 0;
    }
    let Some((start, _)) = text.char_indices().map(|(at, _)| (at, ())).chain([(text.len(), ())]).nth(from as usize - 1)
    else {
        return 0;
    };
    match text[start..].find(part) {
        Some(at) => text[..start + at].chars().count() as i32 + 1,
        None => 0,
    }
}

fn locate(call: &Call) -> Result<ArrayRef> {
    match call.has(2) {
        true => strict!(call, Int32Array, |part: text 0, s: text 1, from: int 2| Ok(Some(find(s, part, from)))),
        false => strict!(call, Int32Array, |part: text 0, s: text 1| Ok(Some(find(s, part, 1)))),
    }
}

fn replace(call: &Call) -> Result<ArrayRef> {
    let put = |s: &str, from: &str, to: &str| if from.is_empty() { s.to_string() } else { s.replace(from, to) };
    match call.has(2) {
        true => strict!(call, StringArray, |s: text 0, from: text 1, to: text 2| Ok(Some(put(s, from, to)))),
        false => strict!(call, StringArray, |s: text 0, from: text 1| Ok(Some(put(s, from, "")))),
    }
}

fn translate(text: &str, from: &str, to: &str) -> String {
    let meant = |letter: char| match from.chars().position(|c| c == letter) {
        Some(at) => to.chars().nth(at),
        None => Some(letter),
    };
    text.chars().filter_map(meant).collect()
}

fn split_part(text: &str, delimiter: &str, part: i32) -> Result<Option<String>> {
    if part == 0 {
        return Err(Error::new(
            ErrorCode::InvalidIndexOfZero,
            "split_part: the index 0 is invalid; parts are counted from 1, or from -1 at the end",
        ));
    }
    let parts: Vec<&str> = if delimiter.is_empty() { vec![text] } else { text.split(delimiter).collect() };
    let index = part.unsigned_abs() as usize - 1;
    let found = if part > 0 { parts.get(index) } else { parts.iter().rev().nth(index) };
    Ok(Some(found.copied().unwrap_or_default().to_string()))
}

fn levenshtein(call: &Call) -> Result<ArrayRef> {
    let distance = |a: &str, b: &str| -> i32 {
        let b: Vec<char> = b.chars().collect();
        let mut row: Vec<i32> = (0..=b.len() as i32).collect();
        for (i, x) in a.chars().enumerate() {
            let mut diagonal = i as i32;
            let mut left = diagonal + 1;
            for (cell, y) in row.iter_mut().skip(1).zip(&b) {
                let replaced = diagonal + i32::from(x != *y);
                diagonal = *cell;
                left = replaced.min(diagonal + 1).min(left + 1);
                *cell = left;
            }
            if let Some(first) = row.first_mut() {
                *first = i as i32 + 1;
            }
        }
        row.last().copied().unwrap_or_default()
    };
    match call.has(2) {
        true => strict!(call, Int32Array, |a: text 0, b: text 1, most: int 2| {
            let found = distance(a, b);
            Ok(Some(if found > most { -1 } else { found }))
        }),
        false => strict!(call, Int32Array, |a: text 0, b: text 1| Ok(Some(distance(a, b)))),
    }
}

fn overlay(call: &Call) -> Result<ArrayRef> {
    let put = |text: &str, with: &str, position: i32, length: i32| {
        let length = if length >= 0 { i64::from(length) } else { with.chars().count() as i64 };
        let before = i64::from(position) - 1;
        format!("{}{with}{}", slice(text, 0, before), slice(text, before.saturating_add(length), i64::MAX))
    };
    match call.has(3) {
        true => strict!(call, StringArray, |s: text 0, with: text 1, p: int 2, n: int 3| Ok(Some(put(s, with, p, n)))),
        false => strict!(call, StringArray, |s: text 0, with: text 1, p: int 2| Ok(Some(put(s, with, p, -1)))),
    }
}

fn elt(call: &Call) -> Result<ArrayRef> {
    let index = call.int(0)?;
    let texts = (1..call.arguments.len()).map(|i| call.text(i)).collect::<Result<Vec<_>>>()?;
    let mut out: Vec<Option<&str>> = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let Some(index) = index.get(row) else {
            out.push(None);
            continue;
        };
        let chosen = usize::try_from(index).ok().and_then(|index| texts.get(index.checked_sub(1)?));
        match chosen {
            Some(text) => out.push(text.get(row)),
            None if call.ansi() => {
                return Err(Error::new(
                    ErrorCode::InvalidArrayIndex,
                    format!("elt: the index {index} is out of bounds, there are {} values", texts.len()),
                ));
            }
            None => out.push(None),
        }
    }
    Ok(Arc::new(StringArray::from_iter(out)))
}

fn luhn(text: &str) -> bool {
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(10)).collect();
    let Some(digits) = digits.filter(|digits| !digits.is_empty()) else { return false };
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let sum: u32 = digits.iter().rev().enumerate().map(|(i, d)| if i % 2 == 1 { doubled(*d) } else { *d }).sum();
    sum.is_multiple_of(10)
}

fn concat_types(a: &Arguments) -> Result<Typed> {
    let common = |types: &[DataType]| crate::plan::coerce::common_type(types);
    if a.types.iter().any(|t| matches!(t, DataType::List(_))) {
        let to = common(a.types).ok_or_else(|| a.mismatch(1, "an array of the same type as the first"))?;
        return Ok(Typed { arguments: vec![to.clone(); a.types.len()], returns: to });
    }
    let binary = !a.types.is_empty() && a.types.iter().all(|t| matches!(t, DataType::Binary | DataType::Null));
    let to = if binary { DataType::Binary } else { DataType::Utf8 };
    if let Some(index) = a.types.iter().position(|t| !converts(t, &to)) {
        return Err(a.mismatch(index, "a STRING or an ARRAY like the others"));
    }
    Ok(Typed { arguments: vec![to.clone(); a.types.len()], returns: to })
}

fn concat_ws_types(a: &Arguments) -> Result<Typed> {
    let mut arguments = Vec::with_capacity(a.types.len());
    for (index, found) in a.types.iter().enumerate() {
        arguments.push(match found {
            DataType::List(_) if index > 0 => super::builtin::list_of(DataType::Utf8),
            other if converts(other, &DataType::Utf8) => DataType::Utf8,
            _ => return Err(a.mismatch(index, "a STRING or an ARRAY<STRING>")),
        });
    }
    Ok(Typed { arguments, returns: DataType::Utf8 })
}

fn concat_ws(call: &Call) -> Result<ArrayRef> {
    let separator = call.text(0)?;
    let mut out: Vec<Option<String>> = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let Some(separator) = separator.get(row) else {
            out.push(None);
            continue;
        };
        let mut parts: Vec<String> = Vec::new();
        for index in 1..call.arguments.len() {
            let (array, at) = (call.array(index)?, call.at(index, row));
            if array.is_null(at) {
                continue;
            }
            match array.data_type() {
                DataType::List(_) => {
                    let elements = array.as_list::<i32>().value(at);
                    parts.extend(elements.as_string::<i32>().iter().flatten().map(str::to_string));
                }
                DataType::Utf8 => parts.push(array.as_string::<i32>().value(at).to_string()),
                _ => {}
            }
        }
        out.push(Some(parts.join(separator)));
    }
    Ok(Arc::new(StringArray::from_iter(out)))
}
