//! `subscribePattern`: a Java regular expression over topic names. Pure.
//!
//! Comes in: the pattern as written for Java. Goes out: which names it matches, whole, as Java's `matches`. Fails: what Rust's
//! engine, which never backtracks, does not have: look-around other than at the start, back-references, possessive
//! quantifiers.

use crate::error::Result;
use crate::kafka::invalid;
use regex::Regex;
use std::iter::Peekable;
use std::str::Chars;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(super) struct TopicPattern {
    text: String,
    /// The look-aheads it begins with: whether each must match there.
    ahead: Vec<(bool, Regex)>,
    whole: Regex,
}

impl TopicPattern {
    /// Compiles a pattern.
    pub(super) fn new(text: &str) -> Result<Self> {
        let refuse = |reason: &str| {
            invalid(format!(
                "Kafka source: option subscribePattern: '{text}' {reason}; write it without, or name the topics with \
                 subscribe"
            ))
        };
        let compile = |java: &str, wrap: [&str; 2]| {
            let rust = to_rust(java).map_err(|reason| refuse(&reason))?;
            // By itself first: `a)|(b` would be closed by the group around it.
            let compiled = Regex::new(&rust).and_then(|_| Regex::new(&format!("{}{rust}{}", wrap[0], wrap[1])));
            compiled.map_err(|error| {
                // The last line of the message is the reason; those before draw the place.
                let shown = error.to_string();
                let reason = shown.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                refuse(&format!("cannot be used: {reason}"))
            })
        };
        if text.trim().is_empty() {
            return Err(invalid("Kafka source: option subscribePattern is empty; give a regular expression".into()));
        }
        let mut rest = text.strip_prefix('^').unwrap_or(text);
        let mut ahead = Vec::new();
        // Topics are often chosen as "all but these", which Java writes as a look-ahead. At the start it is a test of its own.
        while let Some(wanted) = ["(?!", "(?="].iter().position(|open| rest.starts_with(open)) {
            let end = group_end(rest).ok_or_else(|| refuse("has a group that is not closed"))?;
            let inner = rest.get(3..end - 1).unwrap_or_default();
            ahead.push((wanted == 1, compile(inner, ["^(?:", ")"])?));
            rest = rest.get(end..).unwrap_or_default();
        }
        let whole = compile(rest, ["^(?:", ")$"])?;
        if !ahead.is_empty() && has_top_level_choice(rest) {
            return Err(refuse("has a look-ahead in only one of its alternatives"));
        }
        Ok(Self { text: text.to_owned(), ahead, whole })
    }

    /// The pattern as written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether a topic's whole name matches.
    pub(super) fn matches(&self, topic: &str) -> bool {
        self.ahead.iter().all(|(wanted, pattern)| pattern.is_match(topic) == *wanted) && self.whole.is_match(topic)
    }
}

/// Calls `visit` with each byte index, character and depth of groups, outside of escapes and classes.
fn walk(text: &str, mut visit: impl FnMut(usize, char, usize) -> bool) {
    let (mut depth, mut class, mut escaped) = (0usize, 0usize, false);
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => class += 1,
            ']' if class > 0 => class -= 1,
            _ if class > 0 => {}
            _ => {
                if c == '(' {
                    depth += 1;
                }
                if visit(index, c, depth) {
                    return;
                }
                if c == ')' {
                    depth = depth.saturating_sub(1);
                }
            }
        }
    }
}

/// The index after the parenthesis that closes the group at the start of a text.
fn group_end(text: &str) -> Option<usize> {
    let mut end = None;
    walk(text, |index, c, depth| {
        if c == ')' && depth == 1 {
            end = Some(index + 1);
        }
        end.is_some()
    });
    end
}

fn has_top_level_choice(text: &str) -> bool {
    let mut found = false;
    walk(text, |_, c, depth| {
        found |= c == '|' && depth == 0;
        found
    });
    found
}

/// Java's POSIX classes, which Rust's engine writes otherwise. Both are about ASCII.
const CLASSES: [(&str, &str); 12] = [
    ("Alnum", "0-9A-Za-z"),
    ("Alpha", "A-Za-z"),
    ("ASCII", r"\x00-\x7F"),
    ("Blank", r"\t "),
    ("Cntrl", r"\x00-\x1F\x7F"),
    ("Digit", "0-9"),
    ("Graph", "!-~"),
    ("Lower", "a-z"),
    ("Print", " -~"),
    ("Punct", r"!-/:-@\[-`{-~"),
    ("Upper", "A-Z"),
    ("XDigit", "0-9A-Fa-f"),
];

/// A Java expression in Rust's syntax. The error completes "the pattern ...".
fn to_rust(java: &str) -> Result<String, String> {
    let mut rust = String::with_capacity(java.len() + 8);
    let mut chars = java.chars().peekable();
    let mut class = 0usize;
    let mut after_quantifier = false;
    while let Some(c) = chars.next() {
        let mut quantifier = false;
        match c {
            '\\' => escape(&mut chars, &mut rust, class > 0)?,
            '[' => {
                class += 1;
                rust.push(c);
                if chars.next_if_eq(&'^').is_some() {
                    rust.push('^');
                }
                // A minus first in a class is itself; two of them are a range that begins with it.
                if chars.next_if_eq(&'-').is_some() {
                    rust.push_str("\\-");
                }
            }
            ']' if class > 0 => {
                class -= 1;
                rust.push(c);
            }
            '-' if class > 0 && chars.peek() == Some(&'-') => {
                // In Rust, two would subtract one class from another.
                chars.next();
                rust.push_str("-\\-");
            }
            '+' if class == 0 && after_quantifier => return Err("has a possessive quantifier".into()),
            '*' | '+' | '?' if class == 0 => {
                quantifier = !(c == '?' && after_quantifier);
                rust.push(c);
            }
            '}' if class == 0 => {
                quantifier = true;
                rust.push(c);
            }
            '(' if class == 0 => {
                let rest: String = chars.clone().take(3).collect();
                if rest.starts_with("?=")
                    || rest.starts_with("?!")
                    || rest.starts_with("?<=")
                    || rest.starts_with("?<!")
                {
                    return Err("looks ahead or behind elsewhere than at the start".into());
                }
                if rest.starts_with("?>") {
                    return Err("has an atomic group".into());
                }
                rust.push(c);
                // The question mark of a group's head is no quantifier.
                if let Some(mark) = chars.next_if_eq(&'?') {
                    rust.push(mark);
                }
            }
            _ => rust.push(c),
        }
        after_quantifier = quantifier;
    }
    Ok(rust)
}

/// What follows a backslash.
fn escape(chars: &mut Peekable<Chars<'_>>, rust: &mut String, in_class: bool) -> Result<(), String> {
    match chars.next() {
        None => return Err("ends with a backslash".into()),
        Some('Q') => {
            let mut quoted = String::new();
            while let Some(c) = chars.next() {
                if c == '\\' && chars.next_if_eq(&'E').is_some() {
                    break;
                }
                quoted.push(c);
            }
            rust.push_str(&regex::escape(&quoted));
        }
        Some('E') => {}
        Some('Z') => rust.push_str("\\z"),
        Some(digit @ '1'..='9') => return Err(format!("refers back to a group with \\{digit}")),
        Some('k') => return Err("refers back to a group with \\k".into()),
        Some(kind @ ('p' | 'P')) => {
            let rest: String = chars.clone().collect();
            let name = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(name, _)| name.to_owned());
            let posix = name.as_deref().and_then(|name| CLASSES.iter().find(|(java, _)| *java == name));
            match (posix, name) {
                (Some((_, members)), Some(name)) => {
                    for _ in 0..name.chars().count() + 2 {
                        chars.next();
                    }
                    let not = if kind == 'P' { "^" } else { "" };
                    rust.push_str(&format!("[{not}{members}]"));
                }
                _ => rust.extend(['\\', kind]),
            }
        }
        // Letters and digits mean something; anything else is itself.
        Some(c) if c.is_ascii_alphanumeric() => rust.extend(['\\', c]),
        Some(c) if in_class || c.is_ascii_punctuation() => rust.push_str(&regex::escape(&c.to_string())),
        Some(c) => rust.push(c),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_patterns_match_whole_names() {
        for (pattern, yes, no) in [
            ("ride.*", &["ride", "rides", "ride-events"][..], &["my-ride", "Ride"][..]),
            ("^rides?$", &["ride", "rides"], &["ridess"]),
            ("a|b", &["a", "b"], &["ab", "xa"]),
            (r"\Qa.b\E\d+", &["a.b1", "a.b22"], &["axb1", "a.b"]),
            (r"\p{Alpha}+[._-]\p{Digit}{2}", &["rides-01", "x_22"], &["r1-01", "rides-1"]),
            (r"[\p{Lower}&&[^x]]+", &["abc"], &["axc", "ABC"]),
            ("[a-c--]+", &["a-b"], &["d"]),
            ("(?i)rides", &["RIDES", "rides"], &["ride"]),
            ("^(?!test|__).*-events$", &["ride-events", "my-test-events"], &["test-events", "__x-events"]),
            ("(?=.*ride)(?!old).*", &["my-ride"], &["old-ride", "trips"]),
            (r"(?<name>a)\.b\Z", &["a.b"], &["a-b"]),
            ("a{2,3}?b+?", &["aab", "aaabb"], &["ab"]),
        ] {
            let compiled = TopicPattern::new(pattern).unwrap();
            for name in yes {
                assert!(compiled.matches(name), "{pattern} {name}");
            }
            for name in no {
                assert!(!compiled.matches(name), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn what_the_engine_lacks_is_said() {
        for (pattern, part) in [
            ("a++b", "'a++b' has a possessive quantifier"),
            ("a{2}+b", "has a possessive quantifier"),
            (r"(a)\1", r"refers back to a group with \1"),
            ("a(?!b).*", "looks ahead or behind elsewhere than at the start"),
            ("(?>a|b)c", "has an atomic group"),
            ("(?!a)b|c", "has a look-ahead in only one of its alternatives"),
            ("(a", "cannot be used: unclosed group"),
            ("a)|(b", "cannot be used: unopened group"),
            ("(?!a", "has a group that is not closed"),
            ("[z-a]", "cannot be used: invalid character class range"),
            (" ", "option subscribePattern is empty"),
        ] {
            let error = TopicPattern::new(pattern).unwrap_err();
            assert_eq!(error.code(), crate::error::ErrorCode::InvalidOption);
            assert!(error.message().contains(part), "{error}");
        }
    }
}
