//! Texts as codes and of codes: base64, hexadecimal, character sets, hashes, URLs.
//!
//! Comes in: calls with texts and bytes. Goes out: texts and bytes. Fails: bytes and escapes that stand for nothing (ANSI).

use crate::decode::base64;
use crate::error::{Error, ErrorCode, Result};
use crate::functions::builtin::{Arguments, Call, Typed, converts, strict};
use arrow::array::AsArray;
use arrow::array::{Array, ArrayRef, BinaryArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::logical_expr::ScalarUDF;
use sha2::Digest;
use std::fmt::Write;
use std::sync::Arc;

pub(super) fn unbase64(call: &Call, text: &str) -> Result<Option<Vec<u8>>> {
    let compact: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    match base64::decode(&compact) {
        Some(bytes) => Ok(Some(bytes)),
        None => Err(call.invalid(format!("{text:?} is no base64 text"))),
    }
}

pub(super) fn hex_types(a: &Arguments) -> Result<Typed> {
    let to = match a.of(0) {
        DataType::Binary => DataType::Binary,
        DataType::Utf8 | DataType::Null => DataType::Utf8,
        other if other.is_numeric() => DataType::Int64,
        _ => return Err(a.mismatch(0, "BIGINT, STRING or BINARY")),
    };
    Ok(Typed { arguments: vec![to], returns: DataType::Utf8 })
}

pub(super) fn hex(call: &Call) -> Result<ArrayRef> {
    match call.array(0)?.data_type() {
        DataType::Int64 => strict!(call, StringArray, |n: long 0| Ok(Some(format!("{n:X}")))),
        DataType::Binary => strict!(call, StringArray, |b: binary 0| Ok(Some(hex_of(b)))),
        _ => strict!(call, StringArray, |s: text 0| Ok(Some(hex_of(s.as_bytes())))),
    }
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02X}");
        out
    })
}

pub(in crate::functions) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text.chars().map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    // An odd number of digits lacks its first zero.
    let padded: Vec<u32> = if digits.len() % 2 == 1 { [vec![0], digits].concat() } else { digits };
    Some(padded.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | *digit as u8)).collect())
}

fn charset(call: &Call, name: &str) -> Result<&'static str> {
    match name.to_ascii_uppercase().as_str() {
        "UTF-8" | "UTF8" => Ok("UTF-8"),
        "US-ASCII" | "ASCII" => Ok("US-ASCII"),
        "ISO-8859-1" => Ok("ISO-8859-1"),
        "UTF-16BE" => Ok("UTF-16BE"),
        "UTF-16LE" => Ok("UTF-16LE"),
        "UTF-16" => Ok("UTF-16"),
        _ => Err(call.invalid(format!(
            "the charset {name:?} is not one of UTF-8, US-ASCII, ISO-8859-1, UTF-16, UTF-16BE and UTF-16LE"
        ))),
    }
}

pub(super) fn encode(call: &Call, text: &str, set: &str) -> Result<Vec<u8>> {
    let unmappable = || call.invalid(format!("{text:?} has a character that {set} does not have"));
    Ok(match charset(call, set)? {
        "US-ASCII" if !text.is_ascii() => return Err(unmappable()),
        "ISO-8859-1" => {
            text.chars().map(|c| u8::try_from(c as u32).map_err(|_| unmappable())).collect::<Result<_>>()?
        }
        "UTF-16BE" => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        "UTF-16LE" => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        "UTF-16" => [0xfe, 0xff].into_iter().chain(text.encode_utf16().flat_map(u16::to_be_bytes)).collect(),
        _ => text.as_bytes().to_vec(),
    })
}

pub(super) fn decode(call: &Call, bytes: &[u8], set: &str) -> Result<String> {
    let malformed = || call.invalid(format!("the bytes are no {set} text"));
    let wide = |bytes: &[u8], read: fn([u8; 2]) -> u16| {
        let units = bytes.chunks(2).map(|pair| <[u8; 2]>::try_from(pair).map(read).map_err(|_| malformed()));
        String::from_utf16(&units.collect::<Result<Vec<_>>>()?).map_err(|_| malformed())
    };
    match charset(call, set)? {
        "ISO-8859-1" => Ok(bytes.iter().map(|byte| char::from(*byte)).collect()),
        "US-ASCII" if !bytes.is_ascii() => Err(malformed()),
        "UTF-16BE" => wide(bytes, u16::from_be_bytes),
        "UTF-16LE" => wide(bytes, u16::from_le_bytes),
        "UTF-16" => match bytes {
            [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
            [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
            rest => wide(rest, u16::from_be_bytes),
        },
        _ => String::from_utf8(bytes.to_vec()).map_err(|_| malformed()),
    }
}

/// The ways in which `to_binary` reads a text.
fn binary_format(name: &str) -> Option<&'static str> {
    ["hex", "utf-8", "utf8", "base64"].into_iter().find(|known| known.eq_ignore_ascii_case(name))
}

pub(super) fn to_binary_types(a: &Arguments) -> Result<Typed> {
    if let Some(index) = (0..a.types.len()).find(|index| !converts(a.of(*index), &DataType::Utf8)) {
        return Err(a.mismatch(index, "a STRING"));
    }
    if let Some(format) = a.text(1).filter(|format| !a.name.starts_with("try_") && binary_format(format).is_none()) {
        return Err(Error::new(
            ErrorCode::DatatypeMismatch,
            format!("{}: the format {format:?} is none of 'hex', 'utf-8', 'utf8' and 'base64'", a.name),
        )
        .with_sub_condition("INVALID_ARG_VALUE"));
    }
    Ok(Typed { arguments: vec![DataType::Utf8; a.types.len()], returns: DataType::Binary })
}

pub(super) fn to_binary(call: &Call) -> Result<ArrayRef> {
    let lenient = call.name.starts_with("try_");
    let read = |text: &str, format: &str| {
        let bytes = match binary_format(format) {
            Some("hex") => unhex(text),
            Some("base64") => {
                let compact: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
                base64::decode(&compact)
            }
            Some(_) => Some(text.as_bytes().to_vec()),
            None => None,
        };
        match bytes {
            None if !lenient => Err(Error::new(
                ErrorCode::ConversionInvalidInput,
                format!(
                    "The value '{text}' ('{}') cannot be converted to \"BINARY\" because it is malformed. Correct the value as per \
                     the syntax, or change its format. Use `try_to_binary` to tolerate malformed input and return NULL instead.",
                    format.to_uppercase()
                ),
            )),
            bytes => Ok(bytes),
        }
    };
    match call.has(1) {
        true => strict!(call, BinaryArray, |s: text 0, format: text 1| read(s, format)),
        false => strict!(call, BinaryArray, |s: text 0| read(s, "hex")),
    }
}

/// Computes a digest.
type Digestion = fn(&[u8]) -> Result<Vec<u8>>;

/// The code that proves that who has the key wrote the text (RFC 2104).
pub(super) fn hmac(call: &Call) -> Result<ArrayRef> {
    strict!(call, BinaryArray, |key: binary 0, message: binary 1, algorithm: text 2| {
        let algorithm = algorithm.to_ascii_uppercase().replace('-', "");
        let (digest, block): (Digestion, usize) = match algorithm.as_str() {
            "SHA224" => (|bytes| Ok(sha2::Sha224::digest(bytes).to_vec()), 64),
            "SHA256" => (|bytes| Ok(sha2::Sha256::digest(bytes).to_vec()), 64),
            "SHA384" => (|bytes| Ok(sha2::Sha384::digest(bytes).to_vec()), 128),
            "SHA512" => (|bytes| Ok(sha2::Sha512::digest(bytes).to_vec()), 128),
            "SHA1" => (|bytes| hashed(bytes, &datafusion_spark::function::hash::sha1()), 64),
            "MD5" => (|bytes| hashed(bytes, &datafusion::functions::crypto::md5()), 64),
            _ => {
                return Err(call
                    .invalid("the algorithm is one of 'SHA-224', 'SHA-256', 'SHA-384', 'SHA-512', 'SHA-1' and 'MD5'")
                    .with_sub_condition("HMAC_ALGORITHM"));
            }
        };
        let mut padded = if key.len() > block { digest(key)? } else { key.to_vec() };
        padded.resize(block, 0);
        let keyed = |pad: u8, text: &[u8]| digest(&[padded.iter().map(|byte| byte ^ pad).collect(), text.to_vec()].concat());
        Ok(Some(keyed(0x5c, &keyed(0x36, message)?)?))
    })
}

/// The bytes of a digest that a function gives as hexadecimal text.
fn hashed(bytes: &[u8], function: &ScalarUDF) -> Result<Vec<u8>> {
    let environment = crate::plan::spark_function::Environment::default();
    let call = Call {
        name: "hmac",
        arguments: vec![Arc::new(BinaryArray::from_vec(vec![bytes]))],
        constant: vec![false],
        rows: 1,
        returns: &DataType::Utf8,
        environment: &environment,
    };
    let text = call.delegate(function)?;
    let text = text.as_string_opt::<i32>().filter(|text| text.len() == 1).map(|text| text.value(0).to_string());
    text.and_then(|text| unhex(&text)).ok_or_else(|| Error::internal("a digest that is no hexadecimal text"))
}

pub(super) fn sha2(bytes: &[u8], bits: i32) -> Option<String> {
    use sha2::{Sha224, Sha256, Sha384, Sha512};
    let text = match bits {
        224 => hex_of(&Sha224::digest(bytes)),
        0 | 256 => hex_of(&Sha256::digest(bytes)),
        384 => hex_of(&Sha384::digest(bytes)),
        512 => hex_of(&Sha512::digest(bytes)),
        _ => return None,
    };
    Some(text.to_ascii_lowercase())
}

/// `application/x-www-form-urlencoded`, as Java's `URLEncoder` writes it.
pub(super) fn url_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => out.push(byte.into()),
            b' ' => out.push('+'),
            other => {
                // Writing to a String cannot fail.
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}

pub(super) fn url_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = std::str::from_utf8(after.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = after.get(2..)?;
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).ok()
}

/// Whether Java's `URI` takes the text for a URL: no letters that must be escaped, escapes of two digits, brackets around an address only.
fn is_url(url: &str) -> bool {
    let escapes = url.match_indices('%').all(|(at, _)| {
        url.as_bytes().get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    let plain = url
        .chars()
        .all(|letter| !matches!(letter, '\0'..=' ' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}' | '\x7f'));
    let authority = url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or(""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let bracketed = host.starts_with('[') && host.contains(']');
    escapes && plain && (bracketed || !url.contains(['[', ']']))
}

pub(super) fn parse_url(call: &Call) -> Result<ArrayRef> {
    let check = |url: &str| match is_url(url) {
        false if call.ansi() && !call.name.starts_with("try_") => Err(Error::new(
            ErrorCode::InvalidUrl,
            format!("The url is invalid: {url}. Use `try_parse_url` to tolerate invalid URL and return NULL instead."),
        )),
        valid => Ok(valid),
    };
    match call.has(2) {
        true => strict!(call, StringArray, |url: text 0, part: text 1, key: text 2| {
            let query = (check(url)? && part == "QUERY").then(|| url_part(url, part)).flatten();
            Ok(query.and_then(|query| {
                let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                pairs.find(|(name, _)| *name == key).map(|(_, value)| value.to_string())
            }))
        }),
        false => strict!(call, StringArray, |url: text 0, part: text 1| {
            Ok(if check(url)? { url_part(url, part).map(str::to_string) } else { None })
        }),
    }
}

/// A part of `scheme://user@host:port/path?query#fragment`.
fn url_part<'a>(url: &'a str, part: &str) -> Option<&'a str> {
    let (rest, fragment) = url.split_once('#').map_or((url, None), |(rest, fragment)| (rest, Some(fragment)));
    let (scheme, rest) = match rest.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, rest),
    };
    let (authority, file) = match scheme {
        Some(_) => rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())),
        None => ("", rest),
    };
    let (path, query) = file.split_once('?').map_or((file, None), |(path, query)| (path, Some(query)));
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    // A bracketed address has colons of its own.
    let host = match host.find(']') {
        Some(end) => host.get(..=end).unwrap_or(host),
        None => host.split(':').next().unwrap_or(host),
    };
    match part {
        "HOST" => Some(host).filter(|host| !host.is_empty()),
        "PATH" => Some(path),
        "QUERY" => query,
        "REF" => fragment,
        "PROTOCOL" => scheme,
        "FILE" => Some(file),
        "AUTHORITY" => Some(authority).filter(|authority| !authority.is_empty()),
        "USERINFO" => user,
        _ => None,
    }
}
