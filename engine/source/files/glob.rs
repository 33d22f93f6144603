//! Hadoop's path patterns.
//!
//! Comes in: a path with `*`, `?`, `[a-z]`, `[^a]`, `{one,two}` and `\` before a character that stands for itself. Goes out: the parts
//! of a path that are fixed and the patterns of the segments below. Fails: a pattern that does not close what it opens.

use crate::error::{Error, ErrorCode, Result};
use regex::Regex;

/// A segment of a path.
#[derive(Debug, Clone)]
pub(super) enum Segment {
    /// One name.
    Fixed(String),
    /// Every name that fits.
    Pattern(Regex),
}

/// Whether a path is a pattern.
pub(super) fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '{', '\\'])
}

/// The paths that a path's braces stand for: `a{b,c}` is `ab` and `ac`; alternatives may hold slashes and more braces.
///
/// # Errors
/// [`ErrorCode::InvalidOption`] for a brace that is not closed.
pub(super) fn alternatives(text: &str) -> Result<Vec<String>> {
    let Some(open) = unescaped(text, 0, b'{') else { return Ok(vec![text.to_string()]) };
    let (mut depth, mut start, mut parts, mut close) = (0, open + 1, Vec::new(), None);
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(open) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => depth += 1,
            b',' if depth == 1 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    parts.push(&text[start..at]);
                    close = Some(at);
                    break;
                }
            }
            _ => {}
        }
    }
    let Some(close) = close else { return Err(unclosed(text, '{')) };
    let mut paths = Vec::new();
    for part in parts {
        paths.extend(alternatives(&format!("{}{part}{}", &text[..open], &text[close + 1..]))?);
    }
    Ok(paths)
}

fn unescaped(text: &str, from: usize, wanted: u8) -> Option<usize> {
    let mut escaped = false;
    text.bytes().enumerate().skip(from).find_map(|(at, byte)| {
        let found = byte == wanted && !escaped;
        escaped = byte == b'\\' && !escaped;
        found.then_some(at)
    })
}

/// The fixed head of a path and the segments from the first pattern on.
///
/// # Errors
/// [`ErrorCode::InvalidOption`] for a bracket that is not closed.
pub(super) fn split(path: &str) -> Result<(String, Vec<Segment>)> {
    let mut head: Vec<&str> = Vec::new();
    let mut tail = Vec::new();
    for segment in path.split('/') {
        if tail.is_empty() && !is_glob(segment) {
            head.push(segment);
        } else if is_glob(segment) {
            tail.push(Segment::Pattern(pattern(segment)?));
        } else if !segment.is_empty() {
            tail.push(Segment::Fixed(segment.to_string()));
        }
    }
    let head = head.join("/");
    // `/*` is below the root.
    Ok((if head.is_empty() && path.starts_with('/') { "/".to_string() } else { head }, tail))
}

/// The pattern of one name.
///
/// # Errors
/// As [`split`].
pub(super) fn pattern(text: &str) -> Result<Regex> {
    let mut regex = String::from("^(?s:");
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '\\' => {
                let literal = letters.next().ok_or_else(|| unclosed(text, '\\'))?;
                regex.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4])));
            }
            '[' => class(text, &mut letters, &mut regex)?,
            other => regex.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push_str(")$");
    Regex::new(&regex)
        .map_err(|cause| Error::caused_by(ErrorCode::InvalidOption, format!("'{text}' is not a path pattern"), cause))
}

/// The pattern that fits what one of several fits.
///
/// # Errors
/// As [`split`].
pub(super) fn any(alternatives: &[String]) -> Result<Regex> {
    let patterns = alternatives.iter().map(|text| pattern(text)).collect::<Result<Vec<_>>>()?;
    let all: Vec<&str> = patterns.iter().map(Regex::as_str).collect();
    Regex::new(&all.join("|"))
        .map_err(|cause| Error::caused_by(ErrorCode::InvalidOption, "the path patterns are too long together", cause))
}

fn class(text: &str, letters: &mut std::str::Chars<'_>, regex: &mut String) -> Result<()> {
    regex.push('[');
    let mut first = true;
    loop {
        match letters.next().ok_or_else(|| unclosed(text, '['))? {
            ']' if !first => break,
            '^' | '!' if first => {
                regex.push('^');
                continue;
            }
            '-' => regex.push('-'),
            '\\' => {
                let literal = letters.next().ok_or_else(|| unclosed(text, '['))?;
                regex.push_str(&format!("\\x{{{:x}}}", u32::from(literal)));
            }
            other if other.is_alphanumeric() => regex.push(other),
            other => regex.push_str(&format!("\\x{{{:x}}}", u32::from(other))),
        }
        first = false;
    }
    regex.push(']');
    Ok(())
}

fn unclosed(text: &str, what: char) -> Error {
    Error::new(
        ErrorCode::InvalidOption,
        format!("the path pattern '{text}' does not end what {what:?} begins; write \\{what} for the character itself"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_hadoops() {
        for (glob, yes, no) in [
            ("*.json", vec!["a.json", ".json"], vec!["a.jsonl", "a.csv"]),
            ("part-?", vec!["part-0", "part-é"], vec!["part-", "part-00"]),
            ("[a-c]x", vec!["ax", "cx"], vec!["dx", "x"]),
            ("[^a-c]x", vec!["dx"], vec!["ax"]),
            ("a\\*b", vec!["a*b"], vec!["aab"]),
            ("[.]+", vec![".+"], vec!["x+", "."]),
        ] {
            let regex = pattern(glob).unwrap();
            assert!(yes.iter().all(|name| regex.is_match(name)), "{glob}");
            assert!(!no.iter().any(|name| regex.is_match(name)), "{glob}");
        }
    }

    #[test]
    fn braces_stand_for_several_paths() {
        assert_eq!(alternatives("/d/{a,b/{c,d}}/x").unwrap(), ["/d/a/x", "/d/b/c/x", "/d/b/d/x"]);
        assert_eq!(alternatives("/d/\\{a").unwrap(), ["/d/\\{a"]);
        for wrong in ["/d/{a,b", "/d/[ab", "/d/a\\"] {
            let error = alternatives(wrong).and_then(|paths| split(&paths[0]).map(drop)).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidOption, "{wrong}");
        }
    }

    #[test]
    fn the_fixed_head_is_where_the_search_begins() {
        let (head, tail) = split("/d/e/p=*/x").unwrap();
        assert_eq!((head.as_str(), tail.len()), ("/d/e", 2));
        assert_eq!(split("/*").unwrap().0, "/");
        assert_eq!(split("*").unwrap().0, "");
        assert_eq!(split("s3a://b/x*").unwrap().0, "s3a://b");
    }
}
