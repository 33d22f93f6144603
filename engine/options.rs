//! Options of sources and sinks, and the texts in them that Spark defines: durations and paths.
//!
//! Comes in: `option("maxFilesPerTrigger", 1)`, keys in any case, values as text, numbers or booleans. Goes out: typed
//! values, read through an [`OptionReader`], which knows afterwards what nobody asked for. Fails: a value that is not
//! what the option expects, an option that nobody reads (with the nearest one that somebody does), a text that is no
//! duration, a path that is not on this machine.

use crate::error::{Error, ErrorCode, Result};
use std::fmt;
use std::path::PathBuf;

#[cfg(test)]
mod tests;

const MILLISECOND: i64 = 1_000;
const SECOND: i64 = 1_000 * MILLISECOND;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;

/// Options in the order in which they were first set, found without regard to case, kept as the user wrote them.
///
/// ```
/// use tidemill::options::Options;
/// let mut options = Options::new();
/// options.set("maxFilesPerTrigger", 1);
/// options.set("header", true);
/// assert_eq!(options.get("MAXFILESPERTRIGGER"), Some("1"));
/// assert_eq!(options.iter().collect::<Vec<_>>(), [("maxFilesPerTrigger", "1"), ("header", "true")]);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options {
    entries: Vec<(String, String)>,
}

impl Options {
    /// No options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an option; setting it again, in whatever case, replaces key and value.
    pub fn set(&mut self, key: impl Into<String>, value: impl IntoOption) {
        let entry = (key.into(), value.into_option());
        match self.entries.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(&entry.0)) {
            Some(old) => *old = entry,
            None => self.entries.push(entry),
        }
    }

    /// The value of an option.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.iter().find(|(known, _)| known.eq_ignore_ascii_case(key)).map(|(_, value)| value.as_str())
    }

    /// Takes an option out, for the layer that answers it before the source or sink sees the rest.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        let at = self.entries.iter().position(|(known, _)| known.eq_ignore_ascii_case(key))?;
        Some(self.entries.remove(at).1)
    }

    /// Keys and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether no option is set.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Begins to read the options on behalf of `owner`, whose name ("the json source") error messages carry.
    pub fn reader(&self, owner: impl Into<String>) -> OptionReader<'_> {
        OptionReader { options: self, owner: owner.into(), known: Vec::new(), prefixes: Vec::new() }
    }
}

/// Keys only: values may be passwords.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|(key, _)| key)).finish()
    }
}

impl<K: Into<String>, V: IntoOption> FromIterator<(K, V)> for Options {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut options = Options::new();
        for (key, value) in entries {
            options.set(key, value);
        }
        options
    }
}

/// A value that an option can have.
pub trait IntoOption {
    /// Its text.
    fn into_option(self) -> String;
}

macro_rules! into_option {
    ($($type:ty),*) => { $(impl IntoOption for $type {
        fn into_option(self) -> String {
            self.to_string()
        }
    })* };
}

into_option!(&str, &String, bool, i32, i64, u32, u64, usize, f64);

impl IntoOption for String {
    fn into_option(self) -> String {
        self
    }
}

/// Reads options one by one and remembers which exist, so that [`finish`](Self::finish) can refuse the others.
#[derive(Debug)]
pub struct OptionReader<'a> {
    options: &'a Options,
    owner: String,
    known: Vec<String>,
    prefixes: Vec<String>,
}

impl<'a> OptionReader<'a> {
    /// Who reads.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The text of an option.
    pub fn text(&mut self, key: &str) -> Option<&'a str> {
        if !self.known.iter().any(|known| known.eq_ignore_ascii_case(key)) {
            self.known.push(key.to_string());
        }
        self.options.get(key)
    }

    /// Every option whose key starts with `prefix` (`kafka.`), the prefix left out, the rest as the user wrote it.
    pub fn prefixed(&mut self, prefix: &str) -> Vec<(&'a str, &'a str)> {
        self.prefixes.push(prefix.to_string());
        self.options.iter().filter_map(|(key, value)| Some((strip_prefix(key, prefix)?, value))).collect()
    }

    /// `true` or `false`, in any case.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`] for any other text; so for every getter below.
    pub fn bool(&mut self, key: &str) -> Result<Option<bool>> {
        self.parsed(key, "true or false", |text| {
            if text.eq_ignore_ascii_case("true") {
                Some(true)
            } else if text.eq_ignore_ascii_case("false") {
                Some(false)
            } else {
                None
            }
        })
    }

    /// A whole number of 0 or more.
    pub fn u64(&mut self, key: &str) -> Result<Option<u64>> {
        self.parsed(key, "a whole number of 0 or more", |text| text.parse().ok())
    }

    /// A whole number of 0 or more.
    pub fn usize(&mut self, key: &str) -> Result<Option<usize>> {
        self.parsed(key, "a whole number of 0 or more", |text| text.parse().ok())
    }

    /// A whole number of 1 or more.
    pub fn positive(&mut self, key: &str) -> Result<Option<u64>> {
        self.parsed(key, "a positive whole number", |text| text.parse().ok().filter(|number| *number > 0))
    }

    /// A duration in microseconds, not negative: Spark's short form (`7d`, `500ms`; a bare number is in milliseconds)
    /// or its interval text (`10 minutes`).
    pub fn duration(&mut self, key: &str) -> Result<Option<i64>> {
        self.duration_in(key, MILLISECOND)
    }

    /// A duration in microseconds, where a bare number is in seconds.
    pub fn duration_seconds(&mut self, key: &str) -> Result<Option<i64>> {
        self.duration_in(key, SECOND)
    }

    fn duration_in(&mut self, key: &str, bare: i64) -> Result<Option<i64>> {
        self.parsed(key, "a duration such as '7d', '500ms' or '10 minutes'", |text| {
            short_duration(text, bare).or_else(|| parse_duration(text).ok()).filter(|micros| *micros >= 0)
        })
    }

    /// The text of an option as `parse` reads it; `expected` says what it should have been.
    pub fn parsed<T>(&mut self, key: &str, expected: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>> {
        let Some(text) = self.text(key) else { return Ok(None) };
        match parse(text.trim()) {
            Some(value) => Ok(Some(value)),
            None => Err(self.invalid(key, text, expected)),
        }
    }

    /// The `path` option, which file sources and sinks cannot do without.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`] with Spark's text when it is missing.
    pub fn path(&mut self) -> Result<&'a str> {
        self.text("path").ok_or_else(|| Error::new(ErrorCode::InvalidOption, "'path' is not specified."))
    }

    /// The error for a value that is not what `key` expects.
    pub fn invalid(&self, key: &str, value: &str, expected: &str) -> Error {
        Error::new(
            ErrorCode::InvalidOption,
            format!("option '{key}' of {} is '{value}'; expected {expected}", self.owner),
        )
    }

    /// Ends reading.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`] naming the first option that was never asked for, and the nearest that was.
    pub fn finish(self) -> Result<()> {
        let unread = self.options.iter().map(|(key, _)| key).find(|key| {
            !self.known.iter().any(|known| known.eq_ignore_ascii_case(key))
                && !self.prefixes.iter().any(|prefix| strip_prefix(key, prefix).is_some())
        });
        let Some(unread) = unread else { return Ok(()) };
        let hint = match nearest(unread, &self.known) {
            Some(near) => format!("did you mean '{near}'?"),
            None if self.known.is_empty() => "it takes no options".to_string(),
            None => format!("it takes {}", self.known.join(", ")),
        };
        Err(Error::new(ErrorCode::InvalidOption, format!("'{unread}' is not an option of {}; {hint}", self.owner)))
    }
}

fn strip_prefix<'k>(key: &'k str, prefix: &str) -> Option<&'k str> {
    let head = key.get(..prefix.len())?;
    if head.eq_ignore_ascii_case(prefix) { key.get(prefix.len()..) } else { None }
}

/// The known name with the fewest edits to `name`, when they are few enough to be a slip.
fn nearest<'k>(name: &str, known: &'k [String]) -> Option<&'k str> {
    let most = (name.chars().count() / 3).max(1);
    known
        .iter()
        .map(|candidate| (edits(&name.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.as_str())
}

/// Levenshtein distance, one row of the table at a time.
pub(crate) fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = row[j] + usize::from(x != *y);
            next.push(replaced.min(row[j + 1] + 1).min(next[j] + 1));
        }
        row = next;
    }
    row[b.len()]
}

/// A calendar interval: months have no fixed length, so they stay apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interval {
    /// Months, years counted as twelve.
    pub months: i64,
    /// The rest, in microseconds.
    pub micros: i64,
}

/// Spark's interval text: `10 minutes`, `1 hour 30 minutes`, `interval 1.5 seconds`, `-2 days`, in any case.
///
/// # Errors
/// [`ErrorCode::InvalidIntervalFormat`] naming the text.
pub fn parse_interval(text: &str) -> Result<Interval> {
    let refuse = |sub: &'static str, reason: &str| {
        Error::new(
            ErrorCode::InvalidIntervalFormat,
            format!("'{text}' is not an interval: {reason}; write for example '10 minutes' or '1 hour 30 seconds'"),
        )
        .with_sub_condition(sub)
        .with_parameter("input", text)
    };
    let too_long = || refuse("ARITHMETIC_EXCEPTION", "it is too long");
    let lower = text.to_ascii_lowercase();
    let mut words = lower.split_ascii_whitespace().peekable();
    if words.peek() == Some(&"interval") {
        words.next();
    }
    if words.peek().is_none() {
        return Err(refuse("INPUT_IS_EMPTY", "it is empty"));
    }
    let mut interval = Interval::default();
    while let Some(mut word) = words.next() {
        let mut negative = false;
        if let Some(rest) = word.strip_prefix(['+', '-']) {
            negative = word.starts_with('-');
            // Spark allows blanks between sign and number.
            word = if rest.is_empty() { words.next().unwrap_or_default() } else { rest };
        }
        let (whole, fraction) = match word.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (word, None),
        };
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || (whole.is_empty() && fraction.is_none_or(str::is_empty)) {
            return Err(
                refuse("UNRECOGNIZED_NUMBER", &format!("'{word}' is not a number")).with_parameter("number", word)
            );
        }
        let unit = words
            .next()
            .ok_or_else(|| refuse("MISSING_UNIT", &format!("no unit after '{word}'")).with_parameter("word", word))?;
        let (months, micros) = match unit.strip_suffix('s').unwrap_or(unit) {
            "year" => (12, 0),
            "month" => (1, 0),
            "week" => (0, WEEK),
            "day" => (0, DAY),
            "hour" => (0, HOUR),
            "minute" => (0, MINUTE),
            "second" => (0, SECOND),
            "millisecond" => (0, MILLISECOND),
            "microsecond" => (0, 1),
            _ => {
                return Err(refuse("INVALID_UNIT", &format!("'{unit}' is not a unit")).with_parameter("unit", unit));
            }
        };
        let sign = if negative { -1 } else { 1 };
        let number: i64 = if whole.is_empty() { Ok(0) } else { whole.parse() }.map_err(|_| too_long())?;
        let mut add = |number: i64, months: i64, micros: i64| {
            interval.months = interval.months.checked_add(number.checked_mul(months)?)?;
            interval.micros = interval.micros.checked_add(number.checked_mul(micros)?)?;
            Some(())
        };
        add(sign * number, months, micros).ok_or_else(too_long)?;
        if let Some(fraction) = fraction {
            // Only seconds take a fraction, cut after nine digits, of which microseconds use six.
            if micros != SECOND || !digits(fraction) || fraction.len() > 9 {
                let reason = format!("'{word}' is not a number of {unit}");
                return Err(refuse("INVALID_FRACTION", &reason).with_parameter("unit", unit));
            }
            let scaled: i64 = format!("{fraction:0<6}").get(..6).and_then(|digits| digits.parse().ok()).unwrap_or(0);
            add(sign * scaled, 0, 1).ok_or_else(too_long)?;
        }
    }
    Ok(interval)
}

/// An interval text as microseconds, for windows, triggers and delays.
///
/// ```
/// use tidemill::options::parse_duration;
/// assert_eq!(parse_duration("1 hour 30 minutes")?, 5_400_000_000);
/// # Ok::<(), tidemill::Error>(())
/// ```
///
/// # Errors
/// [`ErrorCode::InvalidIntervalFormat`] for a text that is no interval, and for months and years, whose length depends on the date.
pub fn parse_duration(text: &str) -> Result<i64> {
    fixed_length(text, parse_interval(text)?)
}

/// [`parse_interval`] for event times, of which Spark says otherwise that a text is no interval.
///
/// # Errors
/// [`ErrorCode::CannotParseInterval`].
pub(crate) fn event_time_interval(text: &str) -> Result<Interval> {
    parse_interval(text).map_err(|error| {
        Error::new(ErrorCode::CannotParseInterval, error.message())
            .with_parameter("intervalString", format!("'{text}'"))
    })
}

/// [`parse_duration`] for event times.
///
/// # Errors
/// [`ErrorCode::CannotParseInterval`], and [`ErrorCode::InvalidIntervalFormat`] for months and years.
pub(crate) fn event_time_duration(text: &str) -> Result<i64> {
    fixed_length(text, event_time_interval(text)?)
}

fn fixed_length(text: &str, interval: Interval) -> Result<i64> {
    if interval.months != 0 {
        return Err(Error::new(
            ErrorCode::InvalidIntervalFormat,
            format!("'{text}' has months or years, which have no fixed length; give weeks, days or shorter units"),
        )
        .with_sub_condition("INVALID_UNIT")
        .with_parameter("input", text)
        .with_parameter("unit", "month"));
    }
    Ok(interval.micros)
}

/// Spark's configuration form: `7d`, `10min`, `500ms`, or a number of `bare` microseconds.
pub(crate) fn short_duration(text: &str, bare: i64) -> Option<i64> {
    let text = text.to_ascii_lowercase();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '-')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "" => bare,
        "us" => 1,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" | "min" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit)
}

/// The absolute path on this machine that a `path` option names: a path, `file:/path` or `file:///path`.
///
/// # Errors
/// [`ErrorCode::UnsupportedOperation`] for another scheme, [`ErrorCode::Io`] when the working directory is gone.
pub(crate) fn local_path(text: &str) -> Result<PathBuf> {
    let path = match text.split_once(':') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("file") => {
            // file:///path and file:/path are the same; a host other than this machine is not local.
            match rest.strip_prefix("//") {
                Some(after) if after.starts_with('/') => after,
                Some(_) => return Err(not_local(text)),
                None => rest,
            }
        }
        Some((scheme, rest)) if rest.starts_with("//") && !scheme.contains('/') => return Err(not_local(text)),
        _ => text,
    };
    std::path::absolute(path)
        .map_err(|cause| Error::caused_by(ErrorCode::Io, format!("cannot resolve path '{text}': {cause}"), cause))
}

fn not_local(text: &str) -> Error {
    Error::new(
        ErrorCode::UnsupportedOperation,
        format!("'{text}' is not on this machine; only local paths and file: URIs can be read and written"),
    )
}

/// How Spark writes a local path in descriptions: `file:/data/rides`.
pub(crate) fn file_uri(path: &std::path::Path) -> String {
    let text = path.to_string_lossy();
    let trimmed = text.trim_end_matches('/');
    format!("file:{}", if trimmed.is_empty() { "/" } else { trimmed })
}
