//! Texts as booleans and numbers, by the rules of Spark's casts.
//!
//! Comes in: a text. Goes out: the value, or None. Blanks and control characters around it do not matter.

/// What Spark trims.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(|letter: char| letter <= ' ' || letter == '\u{7f}')
}

/// `true` and `false` in the words that Spark knows.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match trim(text).to_ascii_lowercase().as_str() {
        "t" | "true" | "y" | "yes" | "1" => Some(true),
        "f" | "false" | "n" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// An integer. `truncates` allows a fraction, which is cut; ANSI does not.
pub(super) fn integer(text: &str, truncates: bool) -> Option<i64> {
    let text = trim(text);
    let whole = match text.split_once('.') {
        Some((whole, fraction)) if truncates && fraction.bytes().all(|byte| byte.is_ascii_digit()) => {
            // ".5" is 0, and "." is nothing.
            if matches!(whole, "" | "+" | "-") {
                return (!fraction.is_empty()).then_some(0);
            }
            whole
        }
        Some(_) => return None,
        None => text,
    };
    whole.parse().ok()
}

/// A floating point number, with Java's suffixes, or one of the words for infinity and NaN.
pub(super) fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let text = trim(text);
    let digits = match text.as_bytes() {
        [.., last, b'd' | b'D' | b'f' | b'F'] if last.is_ascii_digit() || *last == b'.' => &text[..text.len() - 1],
        _ => text,
    };
    digits.parse().ok()
}
