//! Functions of patterns: LIKE, and regular expressions in Java's spelling.
//!
//! Comes in: calls with texts and patterns. Goes out: truth values, texts and positions. Fails: a pattern that does not compile, or
//! that needs what a linear-time engine does not have (look-around, back references), and a group that the pattern lacks.

use super::builtin::{Builtin, Call, partial, strict, total};
use crate::error::{Error, ErrorCode, Result};
use arrow::array::{ArrayRef, BooleanArray, Int32Array, ListBuilder, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field};
use regex::{Captures, Regex, RegexBuilder};
use std::sync::Arc;

pub(super) static FUNCTIONS: &[Builtin] = &[
    partial("like", "ss|s", 'o', |c| like(c, false)),
    partial("ilike", "ss|s", 'o', |c| like(c, true)),
    partial("rlike", "ss", 'o', |c| {
        let mut patterns = Compiled::default();
        strict!(c, BooleanArray, |s: text 0, p: text 1| Ok(Some(patterns.java(c.name, p)?.is_match(s))))
    }),
    partial("regexp_extract", "ss|i", 's', extract),
    partial("regexp_extract_all", "ss|i", 'S', extract_all),
    partial("regexp_replace", "sss|i", 's', replace),
    partial("regexp_count", "ss", 'i', |c| {
        let mut patterns = Compiled::default();
        strict!(c, Int32Array, |s: text 0, p: text 1| Ok(Some(patterns.java(c.name, p)?.find_iter(s).count() as i32)))
    }),
    partial("regexp_substr", "ss", 's', |c| {
        let mut patterns = Compiled::default();
        strict!(c, StringArray, |s: text 0, p: text 1| {
            Ok(patterns.java(c.name, p)?.find(s).map(|found| found.as_str().to_string()))
        })
    }),
    partial("regexp_instr", "ss|i", 'i', |c| {
        let mut patterns = Compiled::default();
        strict!(c, Int32Array, |s: text 0, p: text 1| {
            let found = patterns.java(c.name, p)?.find(s);
            Ok(Some(found.map_or(0, |found| s[..found.start()].chars().count() as i32 + 1)))
        })
    }),
    partial("split", "ss|i", 'S', split),
    total(
        "quote",
        "s",
        's',
        |c| strict!(c, StringArray, |s: text 0| Ok(Some(format!("'{}'", s.replace('\\', "\\\\").replace('\'', "\\'"))))),
    ),
];

/// The pattern compiled last; a column's patterns are most often one.
#[derive(Default)]
struct Compiled {
    last: Option<(String, Regex)>,
}

impl Compiled {
    fn get(&mut self, key: &str, build: impl FnOnce() -> Result<Regex>) -> Result<&Regex> {
        if self.last.as_ref().is_none_or(|(known, _)| known != key) {
            self.last = Some((key.to_string(), build()?));
        }
        self.last.as_ref().map(|(_, regex)| regex).ok_or_else(|| Error::internal("a pattern that was not kept"))
    }

    fn java(&mut self, function: &str, pattern: &str) -> Result<&Regex> {
        self.get(pattern, || {
            Regex::new(&translated(pattern)).map_err(|e| {
                Error::new(
                    ErrorCode::InvalidParameterValue,
                    format!(
                        "{function}: the regular expression {pattern:?} is not supported: {e}; look-around and back references have no \
                         bound on their time and are left out"
                    ),
                )
            })
        })
    }
}

/// A Java pattern as this engine reads it: the classes `\d`, `\w` and `\s` mean ASCII.
fn translated(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('d') => out.push_str("[0-9]"),
            Some('D') => out.push_str("[^0-9]"),
            Some('w') => out.push_str("[0-9A-Za-z_]"),
            Some('W') => out.push_str("[^0-9A-Za-z_]"),
            Some('s') => out.push_str("[ \\t\\n\\x0B\\f\\r]"),
            Some('S') => out.push_str("[^ \\t\\n\\x0B\\f\\r]"),
            Some('Q') => {
                let rest = letters.as_str();
                let (quoted, after) = rest.split_once("\\E").unwrap_or((rest, ""));
                out.push_str(&regex::escape(quoted));
                letters = after.chars();
            }
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

fn like(call: &Call, ignore_case: bool) -> Result<ArrayRef> {
    let mut patterns = Compiled::default();
    let escape = if call.has(2) { call.text(2)?.get(0).and_then(|text| text.chars().next()) } else { Some('\\') };
    strict!(call, BooleanArray, |s: text 0, p: text 1| {
        Ok(Some(patterns.get(p, || like_regex(call, p, escape, ignore_case))?.is_match(s)))
    })
}

fn like_regex(call: &Call, pattern: &str, escape: Option<char>, ignore_case: bool) -> Result<Regex> {
    let mut out = String::from("^");
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            letter if Some(letter) == escape => match letters.next() {
                Some(next) if next == '%' || next == '_' || next == letter => {
                    out.push_str(&regex::escape(&next.to_string()));
                }
                _ => {
                    return Err(call.invalid(format!(
                        "in the pattern {pattern:?} the escape character {letter:?} must stand before %, _ or itself"
                    )));
                }
            },
            '%' => out.push_str(".*"),
            '_' => out.push('.'),
            other => out.push_str(&regex::escape(&other.to_string())),
        }
    }
    out.push('$');
    RegexBuilder::new(&out)
        .dot_matches_new_line(true)
        .case_insensitive(ignore_case)
        .build()
        .map_err(|e| call.invalid(format!("the pattern {pattern:?} is too large: {e}")))
}

fn group(call: &Call, regex: &Regex, index: i32) -> Result<usize> {
    let groups = regex.captures_len() - 1;
    match usize::try_from(index) {
        Ok(index) if index <= groups => Ok(index),
        _ => Err(call.invalid(format!("the group {index} is not between 0 and {groups}, which the pattern has"))),
    }
}

fn extract(call: &Call) -> Result<ArrayRef> {
    let mut patterns = Compiled::default();
    let indices = if call.has(2) { Some(call.int(2)?) } else { None };
    let (texts, expressions) = (call.text(0)?, call.text(1)?);
    let mut out: Vec<Option<String>> = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let index = indices.map_or(Some(1), |indices| indices.get(row));
        let (Some(text), Some(pattern), Some(index)) = (texts.get(row), expressions.get(row), index) else {
            out.push(None);
            continue;
        };
        let regex = patterns.java(call.name, pattern)?;
        let found = regex.captures(text);
        let group = group(call, regex, index)?;
        let matched = found.and_then(|found| found.get(group).map(|part| part.as_str().to_string()));
        out.push(Some(matched.unwrap_or_default()));
    }
    Ok(Arc::new(StringArray::from_iter(out)))
}

fn texts_builder() -> ListBuilder<StringBuilder> {
    ListBuilder::new(StringBuilder::new()).with_field(Field::new("element", DataType::Utf8, true))
}

fn extract_all(call: &Call) -> Result<ArrayRef> {
    let mut patterns = Compiled::default();
    let indices = if call.has(2) { Some(call.int(2)?) } else { None };
    let (texts, expressions) = (call.text(0)?, call.text(1)?);
    let mut out = texts_builder();
    for row in 0..call.rows {
        let index = indices.map_or(Some(1), |indices| indices.get(row));
        let (Some(text), Some(pattern), Some(index)) = (texts.get(row), expressions.get(row), index) else {
            out.append(false);
            continue;
        };
        let regex = patterns.java(call.name, pattern)?;
        let group = group(call, regex, index)?;
        for found in regex.captures_iter(text) {
            out.values().append_value(found.get(group).map_or("", |part| part.as_str()));
        }
        out.append(true);
    }
    Ok(Arc::new(out.finish()))
}

fn replace(call: &Call) -> Result<ArrayRef> {
    let mut patterns = Compiled::default();
    let positions = if call.has(3) { Some(call.int(3)?) } else { None };
    let (texts, expressions, replacements) = (call.text(0)?, call.text(1)?, call.text(2)?);
    let mut out: Vec<Option<String>> = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let position = positions.map_or(Some(1), |positions| positions.get(row));
        let (Some(text), Some(pattern), Some(with), Some(position)) =
            (texts.get(row), expressions.get(row), replacements.get(row), position)
        else {
            out.push(None);
            continue;
        };
        if position < 1 {
            return Err(call.invalid(format!("the position {position} must be at least 1")));
        }
        let regex = patterns.java(call.name, pattern)?;
        let start = text.char_indices().nth(position as usize - 1).map_or(text.len(), |(at, _)| at);
        let mut result = text[..start].to_string();
        let mut copied = start;
        for found in regex.captures_iter(&text[start..]) {
            let Some(whole) = found.get(0) else { continue };
            result.push_str(&text[copied..start + whole.start()]);
            expand(call, with, &found, &mut result)?;
            copied = start + whole.end();
        }
        result.push_str(&text[copied..]);
        out.push(Some(result));
    }
    Ok(Arc::new(StringArray::from_iter(out)))
}

/// Appends a replacement in Java's spelling: `$1`, `${name}` and `\` before a letter that stands for itself.
fn expand(call: &Call, with: &str, found: &Captures, out: &mut String) -> Result<()> {
    let mut letters = with.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => out.extend(letters.next()),
            '$' if letters.peek() == Some(&'{') => {
                letters.next();
                let name: String = letters.by_ref().take_while(|c| *c != '}').collect();
                out.push_str(found.name(&name).map_or("", |part| part.as_str()));
            }
            '$' => {
                // As many digits as still name a group.
                let mut group = None;
                while let Some(digit) = letters.peek().and_then(|c| c.to_digit(10)) {
                    let longer = group.unwrap_or(0) * 10 + digit as usize;
                    if group.is_some() && longer >= found.len() {
                        break;
                    }
                    group = Some(longer);
                    letters.next();
                }
                match group {
                    Some(group) if group < found.len() => {
                        out.push_str(found.get(group).map_or("", |part| part.as_str()))
                    }
                    _ => {
                        return Err(
                            call.invalid(format!("the replacement {with:?} names a group that the pattern lacks"))
                        );
                    }
                }
            }
            other => out.push(other),
        }
    }
    Ok(())
}

fn split(call: &Call) -> Result<ArrayRef> {
    let mut patterns = Compiled::default();
    let limits = if call.has(2) { Some(call.int(2)?) } else { None };
    let (texts, expressions) = (call.text(0)?, call.text(1)?);
    let mut out = texts_builder();
    for row in 0..call.rows {
        let limit = limits.map_or(Some(-1), |limits| limits.get(row));
        let (Some(text), Some(pattern), Some(limit)) = (texts.get(row), expressions.get(row), limit) else {
            out.append(false);
            continue;
        };
        let most = if limit > 0 { limit as usize } else { usize::MAX };
        if pattern.is_empty() {
            // A character each, the last with the rest.
            let mut rest = text;
            let mut parts = 1;
            while let Some(first) = rest.chars().next().filter(|c| parts < most && rest.len() > c.len_utf8()) {
                let (part, after) = rest.split_at(first.len_utf8());
                out.values().append_value(part);
                rest = after;
                parts += 1;
            }
            out.values().append_value(rest);
        } else {
            let regex = patterns.java(call.name, pattern)?;
            let (mut start, mut parts) = (0, 1);
            for found in regex.find_iter(text) {
                // Java leaves no empty part before a match without length at the start, nor one at the end.
                if parts == most || (found.is_empty() && (found.end() == 0 || found.start() == text.len())) {
                    continue;
                }
                out.values().append_value(&text[start..found.start()]);
                start = found.end();
                parts += 1;
            }
            out.values().append_value(&text[start..]);
        }
        out.append(true);
    }
    Ok(Arc::new(out.finish()))
}
