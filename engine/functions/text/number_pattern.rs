//! `to_char` and `to_number`: numbers by a pattern such as `$9,999.99`.
//!
//! Comes in: decimals and a constant pattern, or texts and one. Goes out: texts, or decimals of as many digits as the pattern has. Fails:
//! patterns that are none, by what is wrong with them, and texts that do not follow theirs.

use super::codes::{decode, hex};
use crate::error::{Error, ErrorCode, Result};
use crate::functions::builtin::{Arguments, Call, Typed, converts, strict};
use crate::functions::datetime;
use crate::types::timestamp;
use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, StringArray};
use arrow::datatypes::{DataType, Decimal128Type};
use std::sync::Arc;

/// A part of a pattern.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Token {
    /// Digits from the left, `padded` where they start with a 0.
    Digits {
        count: usize,
        padded: bool,
    },
    Thousands,
    Point,
    Dollar,
    /// `S`
    Sign,
    /// `MI`
    Minus,
    /// `PR`, in front
    Open,
    /// `PR`, behind
    Close,
    Unknown(char),
}

/// A pattern of digits.
#[derive(Debug)]
pub(super) struct NumberPattern {
    text: String,
    tokens: Vec<Token>,
}

fn refused(text: &str, sub: &'static str, why: &str) -> Error {
    Error::new(ErrorCode::InvalidFormat, format!("The format is invalid: '{text}'. {why}")).with_sub_condition(sub)
}

impl NumberPattern {
    /// # Errors
    /// `InvalidFormat`.
    pub(super) fn new(text: &str) -> Result<Self> {
        let text = text.to_uppercase();
        let pattern = Self { tokens: tokens(&text), text };
        pattern.check()?;
        Ok(pattern)
    }

    fn check(&self) -> Result<()> {
        let refuse = |sub, why: &str| Err(refused(&self.text, sub, why));
        let place = |wanted: fn(&Token) -> bool| self.tokens.iter().position(wanted);
        let is_digits = |token: &Token| matches!(token, Token::Digits { .. });
        if self.text.is_empty() {
            return refuse("EMPTY", "The number format string cannot be empty.");
        }
        let Some(digits) = place(|t| matches!(t, Token::Digits { .. })) else {
            return refuse("WRONG_NUM_DIGIT", "The format string requires at least one number digit.");
        };
        let point = place(|t| *t == Token::Point);
        if let Some(dollar) = place(|t| *t == Token::Dollar) {
            if digits < dollar {
                return refuse(
                    "CUR_MUST_BEFORE_DIGIT",
                    "Currency characters must appear before digits in the number format.",
                );
            }
            if point.is_some_and(|point| point < dollar) {
                return refuse(
                    "CUR_MUST_BEFORE_DEC",
                    "Currency characters must appear before any decimal point in the number format.",
                );
            }
        }
        for (index, _) in self.tokens.iter().enumerate().filter(|(_, token)| **token == Token::Thousands) {
            if point.is_some_and(|point| point < index) {
                return refuse(
                    "THOUSANDS_SEPS_MUST_BEFORE_DEC",
                    "Thousands separators (, or G) may not appear after the decimal point in the number format.",
                );
            }
            let beside = [index.checked_sub(1), Some(index + 1)];
            if !beside.iter().all(|at| at.and_then(|at| self.tokens.get(at)).is_some_and(is_digits)) {
                return refuse(
                    "CONT_THOUSANDS_SEPS",
                    "Thousands separators (, or G) must have digits in between them in the number format.",
                );
            }
        }
        let once = [
            (Token::Point, ". or D"),
            (Token::Sign, "S"),
            (Token::Minus, "MI"),
            (Token::Dollar, "$"),
            (Token::Close, "PR"),
        ];
        for (token, name) in once {
            if self.tokens.iter().filter(|found| **found == token).count() > 1 {
                return refuse("WRONG_NUM_TOKEN", &format!("At most one {name} is allowed in the number format."));
            }
        }
        let order: [&[Token]; 4] = [&[Token::Open], &[Token::Minus, Token::Sign], &[Token::Dollar], &[]];
        let mut left = self.tokens.as_slice();
        let mut skip = |fits: &dyn Fn(&Token) -> bool, repeated: bool| {
            while let [first, rest @ ..] = left
                && fits(first)
            {
                left = rest;
                if !repeated {
                    break;
                }
            }
        };
        for allowed in order {
            skip(&|token| allowed.contains(token), false);
        }
        skip(&|token| matches!(token, Token::Digits { .. } | Token::Thousands), true);
        skip(&|token| *token == Token::Point, false);
        skip(&|token| matches!(token, Token::Digits { .. }), true);
        skip(&|token| *token == Token::Dollar, false);
        skip(&|token| matches!(token, Token::Minus | Token::Sign | Token::Close), false);
        match left.first() {
            None => Ok(()),
            Some(token) => {
                let found = match token {
                    Token::Digits { .. } | Token::Thousands => "digit sequence".to_string(),
                    Token::Point => "character '.'".to_string(),
                    Token::Dollar => "character '$'".to_string(),
                    Token::Sign => "character 'S'".to_string(),
                    Token::Minus => "character 'MI'".to_string(),
                    Token::Open | Token::Close => "character 'PR'".to_string(),
                    Token::Unknown(letter) => format!("character '{letter}'"),
                };
                let why = format!(
                    "Found the unexpected {found} in the format string; the structure of the format string must match: \
                     `[MI|S]` `[$]` `[0|9|G|,]*` `[.|D]` `[0|9]*` `[$]` `[PR|MI|S]`."
                );
                refuse("UNEXPECTED_TOKEN", &why)
            }
        }
    }

    /// Digits before and behind the point.
    fn digits(&self) -> (usize, usize) {
        let (mut before, mut behind, mut after_point) = (0, 0, false);
        for token in &self.tokens {
            match token {
                Token::Digits { count, .. } if after_point => behind += count,
                Token::Digits { count, .. } => before += count,
                Token::Point => after_point = true,
                _ => {}
            }
        }
        (before, behind)
    }

    /// The type of the numbers that the pattern reads.
    ///
    /// # Errors
    /// `InvalidFormat` where no decimal has as many digits.
    pub(super) fn decimal(&self) -> Result<DataType> {
        let (before, behind) = self.digits();
        match before + behind {
            digits @ 1..=38 => Ok(DataType::Decimal128(digits as u8, behind as i8)),
            digits => Err(Error::new(
                ErrorCode::InvalidFormat,
                format!("The format '{}' has {digits} digits, and a decimal has at most 38", self.text),
            )),
        }
    }

    /// The unscaled number of a text; None of one that does not follow the pattern.
    pub(super) fn read(&self, text: &str) -> Option<i128> {
        let (_, scale) = self.digits();
        let letters: Vec<char> = text.chars().collect();
        let (mut at, mut negative, mut opened, mut after_point) = (0, false, false, false);
        let (mut whole, mut fraction) = (String::new(), String::new());
        let mut tokens = self.tokens.as_slice();
        while let [token, rest @ ..] = tokens {
            tokens = rest;
            let next = letters.get(at).copied();
            match token {
                Token::Digits { .. } | Token::Thousands => {
                    let mut groups = vec![*token];
                    while let [token @ (Token::Digits { .. } | Token::Thousands), rest @ ..] = tokens {
                        groups.push(*token);
                        tokens = rest;
                    }
                    let mut sizes = vec![0];
                    while let Some(letter) = letters.get(at) {
                        match letter {
                            '0'..='9' => {
                                let digits = if after_point { &mut fraction } else { &mut whole };
                                digits.push(*letter);
                                if let Some(size) = sizes.last_mut() {
                                    *size += 1;
                                }
                            }
                            ',' => sizes.push(0),
                            letter if letter.is_whitespace() => {}
                            _ => break,
                        }
                        at += 1;
                    }
                    let wanted: Vec<(usize, bool)> = groups
                        .iter()
                        .rev()
                        .filter_map(|token| match token {
                            Token::Digits { count, padded } => Some((*count, *padded)),
                            _ => None,
                        })
                        .collect();
                    if sizes.len() > wanted.len() {
                        return None;
                    }
                    let sizes = sizes.into_iter().rev().chain(std::iter::repeat(0));
                    let fits = wanted.iter().zip(sizes).all(|((count, padded), size)| match padded {
                        true => size == *count,
                        false => size <= *count,
                    });
                    if !fits {
                        return None;
                    }
                }
                Token::Point => {
                    if next == Some('.') {
                        after_point = true;
                        at += 1;
                    }
                }
                Token::Dollar => {
                    next.filter(|letter| *letter == '$')?;
                    at += 1;
                }
                Token::Sign | Token::Minus => {
                    negative ^= next == Some('-');
                    at += usize::from(next == Some('-') || (*token == Token::Sign && next == Some('+')));
                }
                Token::Open => {
                    opened = next? == '<';
                    negative ^= opened;
                    at += usize::from(opened);
                }
                Token::Close if opened => {
                    next.filter(|letter| *letter == '>')?;
                    at += 1;
                }
                Token::Close => {}
                Token::Unknown(_) => return None,
            }
        }
        if at < letters.len() || (whole.is_empty() && fraction.is_empty()) {
            return None;
        }
        let value: i128 = format!("{whole}{fraction:0<scale$}").parse().ok()?;
        Some(if negative { -value } else { value })
    }

    /// The text of a decimal; `#` for each digit where it has more than the pattern.
    pub(super) fn write(&self, value: i128, scale: i8) -> String {
        let (room_before, room_behind) = self.digits();
        let digits = value.unsigned_abs().to_string();
        let scale = scale.max(0) as usize;
        let digits = format!("{digits:0>width$}", width = scale + 1);
        let (before, behind) = digits.split_at(digits.len() - scale);
        let (before, behind) = (before.trim_start_matches('0'), behind.trim_end_matches('0'));
        let (before, behind) = match before.len() > room_before || behind.len() > room_behind {
            true => ("#".repeat(room_before), "#".repeat(room_behind)),
            false => (format!("{before:>room_before$}"), format!("{behind:0<room_behind$}")),
        };
        let (mut before, mut behind) = (before.chars(), behind.chars());
        let negative = value < 0;
        let (mut out, mut after_point) = (Vec::<char>::new(), false);
        for token in &self.tokens {
            match token {
                Token::Digits { count, .. } if after_point => out.extend(behind.by_ref().take(*count)),
                Token::Digits { count, padded } => {
                    for digit in before.by_ref().take(*count) {
                        match digit {
                            ' ' if *padded => out.push('0'),
                            ' ' => push_space(&mut out),
                            other => out.push(other),
                        }
                    }
                }
                Token::Thousands => match out.last() {
                    Some('0'..='9') => out.push(','),
                    _ => push_space(&mut out),
                },
                Token::Point => {
                    if let Some(last @ ' ') = out.last_mut() {
                        // A zero stands for the digits that are not there, unless there is an angle before.
                        *last = '0';
                    }
                    out.push('.');
                    after_point = true;
                }
                Token::Dollar => out.push('$'),
                Token::Sign => {
                    strip_point(&mut out);
                    push_sign(&mut out, if negative { '-' } else { '+' });
                }
                Token::Minus if negative => {
                    strip_point(&mut out);
                    push_sign(&mut out, '-');
                }
                Token::Minus => out.push(' '),
                Token::Open => {
                    if negative {
                        out.push('<');
                    }
                }
                Token::Close => {
                    strip_point(&mut out);
                    match negative {
                        true => push_sign(&mut out, '>'),
                        false => out.extend([' ', ' ']),
                    }
                }
                Token::Unknown(_) => {}
            }
        }
        strip_point(&mut out);
        match out.as_slice() {
            [] | ['+'] | ['-'] => "0".to_string(),
            _ => out.into_iter().collect(),
        }
    }
}

/// A space, before a sign that is last.
fn push_space(out: &mut Vec<char>) {
    let signs = out.iter().rev().take_while(|letter| matches!(letter, '+' | '-' | '<')).count();
    out.insert(out.len() - signs, ' ');
}

/// A sign, before the spaces that are last.
fn push_sign(out: &mut Vec<char>, sign: char) {
    let spaces = out.iter().rev().take_while(|letter| **letter == ' ').count();
    out.insert(out.len() - spaces, sign);
}

/// A point with no digit behind becomes a space.
fn strip_point(out: &mut [char]) {
    if let Some(last @ '.') = out.last_mut() {
        *last = ' ';
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let mut then = |wanted: char| letters.next_if_eq(&wanted).is_some();
        let token = match letter {
            '0' | '9' => {
                let mut count = 1;
                while letters.next_if(|next| matches!(next, '0' | '9')).is_some() {
                    count += 1;
                }
                Token::Digits { count, padded: letter == '0' }
            }
            '.' | 'D' => Token::Point,
            ',' | 'G' => Token::Thousands,
            '$' => Token::Dollar,
            'S' => Token::Sign,
            'M' if then('I') => Token::Minus,
            'P' if then('R') => {
                out.insert(0, Token::Open);
                Token::Close
            }
            other => Token::Unknown(other),
        };
        out.push(token);
    }
    out
}

/// What `to_char` writes, by the type of its argument.
fn constant_format(a: &Arguments) -> Result<Option<NumberPattern>> {
    match (a.constants.get(1), a.text(1)) {
        (_, Some(text)) => NumberPattern::new(text).map(Some),
        (Some(Some(value)), None) if value.is_null() => Ok(None),
        _ => Err(Error::new(ErrorCode::DatatypeMismatch, format!("{}: the format must be a constant text", a.name))
            .with_sub_condition("NON_FOLDABLE_INPUT")),
    }
}

pub(super) fn to_char_types(a: &Arguments) -> Result<Typed> {
    let first = match a.of(0) {
        DataType::Date32 => timestamp(),
        time @ DataType::Timestamp(..) => time.clone(),
        DataType::Binary => {
            let known = a
                .text(1)
                .is_none_or(|format| ["base64", "hex", "utf-8"].iter().any(|known| known.eq_ignore_ascii_case(format)));
            if !known {
                return Err(Error::new(
                    ErrorCode::InvalidParameterValue,
                    format!("{}: the format of bytes is one of 'base64', 'hex' and 'utf-8'", a.name),
                )
                .with_sub_condition("BINARY_FORMAT"));
            }
            DataType::Binary
        }
        other => {
            constant_format(a)?;
            match other {
                DataType::Decimal128(..) => other.clone(),
                DataType::Int8 => DataType::Decimal128(3, 0),
                DataType::Int16 => DataType::Decimal128(5, 0),
                DataType::Int32 => DataType::Decimal128(10, 0),
                DataType::Int64 => DataType::Decimal128(20, 0),
                DataType::Float32 => DataType::Decimal128(14, 7),
                DataType::Float64 => DataType::Decimal128(30, 15),
                DataType::Utf8 | DataType::Null => DataType::Decimal128(38, 18),
                _ => return Err(a.mismatch(0, "a number, a time or BINARY")),
            }
        }
    };
    Ok(Typed { arguments: vec![first, DataType::Utf8], returns: DataType::Utf8 })
}

pub(super) fn to_char(call: &Call) -> Result<ArrayRef> {
    match call.array(0)?.data_type() {
        DataType::Timestamp(..) => datetime::date_format(call),
        DataType::Binary => match call.text(1)?.get(0).map(str::to_ascii_lowercase).as_deref() {
            Some("hex") => hex(call),
            Some("base64") => strict!(call, StringArray, |bytes: binary 0| {
                let mut out = String::new();
                crate::decode::base64::encode(bytes, &mut out);
                Ok(Some(out))
            }),
            _ => {
                strict!(call, StringArray, |bytes: binary 0, set: text 1| decode(call, bytes, set).map(Some))
            }
        },
        DataType::Decimal128(_, scale) => {
            let scale = *scale;
            let Some(format) = call.text(1)?.get(0) else {
                return Ok(arrow::array::new_null_array(&DataType::Utf8, call.rows));
            };
            let pattern = NumberPattern::new(format)?;
            let numbers = call.expanded(0)?;
            let numbers = numbers.as_primitive::<Decimal128Type>();
            Ok(Arc::new(numbers.iter().map(|n| n.map(|n| pattern.write(n, scale))).collect::<StringArray>()))
        }
        other => Err(Error::internal(format!("to_char of {other}"))),
    }
}

pub(super) fn to_number_types(a: &Arguments) -> Result<Typed> {
    if !converts(a.of(0), &DataType::Utf8) {
        return Err(a.mismatch(0, "a STRING"));
    }
    let returns = match constant_format(a)? {
        Some(pattern) => pattern.decimal()?,
        None => DataType::Decimal128(10, 0),
    };
    Ok(Typed { arguments: vec![DataType::Utf8; 2], returns })
}

pub(super) fn to_number(call: &Call) -> Result<ArrayRef> {
    let texts = call.text(0)?;
    let format = call.text(1)?.get(0);
    let pattern = format.map(NumberPattern::new).transpose()?;
    let mut out: Vec<Option<i128>> = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        out.push(match (&pattern, texts.get(row)) {
            (Some(pattern), Some(text)) => match pattern.read(text) {
                None if !call.name.starts_with("try_") => {
                    return Err(Error::new(
                        ErrorCode::FormatMismatch,
                        format!(
                            "The format is invalid: {}. The input \"STRING\" {text} does not match the format.",
                            pattern.text
                        ),
                    ));
                }
                value => value,
            },
            _ => None,
        });
    }
    Ok(Arc::new(Decimal128Array::from_iter(out).with_data_type(call.returns.clone())))
}
