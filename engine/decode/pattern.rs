//! Java's date and time patterns (`timestampFormat`, `dateFormat`), for reading and for writing.
//!
//! Comes in: a pattern such as `yyyy-MM-dd'T'HH:mm:ss[.SSS][XXX]`. Goes out: a [`Pattern`] that reads and writes instants
//! and dates. Fails: a pattern letter that is not understood, by name. As in Spark, a text must match to its end.

use super::zone::{DAY, SECOND, Zone, date_of, days};
use crate::error::{Error, ErrorCode, Result};
use std::fmt::Write;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// 1970-01-01 was a Thursday.
const WEEKDAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Year,
    Month,
    Day,
    Hour,
    ClockHour,
    /// From 1 to 24.
    HourOfDay,
    /// From 0 to 11.
    HourOfHalf,
    Minute,
    Second,
    DayOfYear,
    Quarter,
}

#[derive(Debug, Clone, PartialEq)]
enum Item {
    Literal(String),
    /// A number of at least this many digits.
    Number(Field, usize),
    /// Digits of a second.
    Fraction(usize),
    /// A month's English name, or its first three letters.
    MonthName {
        full: bool,
    },
    DayName {
        full: bool,
    },
    AmPm,
    /// An offset; `zulu` writes zero as `Z`, `colon` separates hours and minutes, `hours` is the single `X`.
    Offset {
        zulu: bool,
        colon: bool,
        hours: bool,
    },
    /// A zone's name.
    ZoneName,
    Optional(Vec<Item>),
}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pattern {
    items: Vec<Item>,
}

/// What a text has said so far.
#[derive(Clone, Default)]
struct Read {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    hour: Option<i64>,
    clock_hour: Option<i64>,
    afternoon: bool,
    minute: i64,
    second: i64,
    micros: i64,
    zone: Option<Zone>,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`] naming the letter and the pattern.
    pub(crate) fn new(pattern: &str) -> Result<Self> {
        let mut levels: Vec<Vec<Item>> = vec![Vec::new()];
        let mut letters = pattern.chars().peekable();
        let refuse =
            |what: String| Error::new(ErrorCode::InvalidOption, format!("{what} in the date pattern {pattern:?}"));
        while let Some(letter) = letters.next() {
            let item = match letter {
                '\'' => {
                    let mut text = String::new();
                    loop {
                        match letters.next() {
                            Some('\'') if letters.peek() == Some(&'\'') => {
                                letters.next();
                                text.push('\'');
                            }
                            Some('\'') => break,
                            Some(other) => text.push(other),
                            None => return Err(refuse("an unclosed quote".into())),
                        }
                    }
                    Item::Literal(if text.is_empty() { "'".into() } else { text })
                }
                '[' => {
                    levels.push(Vec::new());
                    continue;
                }
                ']' => match (levels.pop(), levels.is_empty()) {
                    (Some(inner), false) => Item::Optional(inner),
                    _ => return Err(refuse("a ] without its [".into())),
                },
                letter if letter.is_ascii_alphabetic() => {
                    let mut count = 1;
                    while letters.next_if_eq(&letter).is_some() {
                        count += 1;
                    }
                    letter_item(letter, count)
                        .ok_or_else(|| refuse(format!("{:?} is not understood", letter.to_string().repeat(count))))?
                }
                other => Item::Literal(other.to_string()),
            };
            if let Some(level) = levels.last_mut() {
                level.push(item);
            }
        }
        match (levels.pop(), levels.is_empty()) {
            (Some(items), true) => Ok(Self { items }),
            _ => Err(refuse("a [ without its ]".into())),
        }
    }

    /// The instant of a text; without an offset of its own, a local time of `session`.
    pub(crate) fn read_timestamp(&self, text: &str, session: Zone) -> Option<i64> {
        let read = self.read(text)?;
        let hour = match (read.hour, read.clock_hour) {
            (Some(hour), _) => hour,
            (None, Some(hour)) if (1..=12).contains(&hour) => hour % 12 + if read.afternoon { 12 } else { 0 },
            (None, Some(_)) => return None,
            (None, None) => 0,
        };
        if hour > 23 || read.minute > 59 || read.second > 59 {
            return None;
        }
        let time = ((hour * 60 + read.minute) * 60 + read.second) * SECOND + read.micros;
        read.zone.unwrap_or(session).instant(read.days()?.checked_mul(DAY)?.checked_add(time)?)
    }

    /// The days since the epoch of a text.
    pub(crate) fn read_date(&self, text: &str) -> Option<i32> {
        i32::try_from(self.read(text)?.days()?).ok()
    }

    fn read(&self, text: &str) -> Option<Read> {
        let mut read = Read::default();
        let rest = read_items(&self.items, text, &mut read)?;
        rest.is_empty().then_some(read)
    }

    /// Appends the text of an instant in a zone.
    pub(crate) fn write_timestamp(&self, instant: i64, zone: Zone, out: &mut String) {
        let local = zone.local(instant);
        let time = Written {
            date: local.div_euclid(DAY),
            micros: local.rem_euclid(DAY),
            offset: zone.offset_at(instant),
            zone,
        };
        time.items(&self.items, out);
    }

    /// Appends the text of a date.
    pub(crate) fn write_date(&self, days: i64, out: &mut String) {
        Written { date: days, micros: 0, offset: 0, zone: Zone::Fixed(0) }.items(&self.items, out);
    }
}

fn letter_item(letter: char, count: usize) -> Option<Item> {
    let number = |field, most| (count <= most).then_some(Item::Number(field, count));
    match letter {
        'y' | 'u' => number(Field::Year, 6),
        'M' | 'L' if count >= 3 => (count <= 4).then_some(Item::MonthName { full: count == 4 }),
        'M' | 'L' => number(Field::Month, 2),
        'd' => number(Field::Day, 2),
        'H' => number(Field::Hour, 2),
        'h' => number(Field::ClockHour, 2),
        'k' => number(Field::HourOfDay, 2),
        'K' => number(Field::HourOfHalf, 2),
        'D' => number(Field::DayOfYear, 3),
        'Q' | 'q' => number(Field::Quarter, 2),
        'm' => number(Field::Minute, 2),
        's' => number(Field::Second, 2),
        'S' => (count <= 9).then_some(Item::Fraction(count)),
        'a' => (count == 1).then_some(Item::AmPm),
        'E' => (count <= 4).then_some(Item::DayName { full: count == 4 }),
        'X' | 'x' => (count <= 3).then_some(Item::Offset { zulu: letter == 'X', colon: count == 3, hours: count == 1 }),
        'Z' => (count <= 3).then_some(Item::Offset { zulu: false, colon: false, hours: false }),
        'V' => (count == 2).then_some(Item::ZoneName),
        'z' => (count <= 4).then_some(Item::ZoneName),
        _ => None,
    }
}

impl Read {
    fn days(&self) -> Option<i64> {
        let year = self.year.unwrap_or(1970);
        match (self.day_of_year, self.month, self.day) {
            (Some(day), None, None) => {
                let date = days(year, 1, 1)?.checked_add(day - 1)?;
                (date_of(date).0 == year).then_some(date)
            }
            (_, month, day) => days(year, month.unwrap_or(1), day.unwrap_or(1)),
        }
    }
}

/// Splits off a number of `least..=most` digits.
fn digits(text: &str, least: usize, most: usize) -> Option<(i64, usize, &str)> {
    let length = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if length < least {
        return None;
    }
    let (number, rest) = text.split_at(length);
    Some((number.parse().ok()?, length, rest))
}

/// Splits off the first of `names` that the text begins with; three letters unless `full`.
fn name<'a>(text: &'a str, names: &[&str], full: bool) -> Option<(usize, &'a str)> {
    names.iter().enumerate().find_map(|(index, name)| {
        let wanted = if full { name } else { &name[..3] };
        text.strip_prefix(wanted).map(|rest| (index, rest))
    })
}

fn read_items<'a>(items: &[Item], mut text: &'a str, read: &mut Read) -> Option<&'a str> {
    for (index, item) in items.iter().enumerate() {
        text = match item {
            Item::Literal(literal) => text.strip_prefix(literal.as_str())?,
            Item::Number(field, width) => {
                // Digits that follow directly belong to the next number: `yyyyMMdd`.
                let adjacent = matches!(items.get(index + 1), Some(Item::Number(..) | Item::Fraction(_)));
                let most = match field {
                    _ if adjacent => *width,
                    Field::Year if *width == 2 => 2,
                    Field::Year => 6,
                    Field::DayOfYear => 3,
                    _ => 2,
                };
                let (value, _, rest) = digits(text, *width, most)?;
                match field {
                    Field::Year => read.year = Some(if *width == 2 { 2000 + value } else { value }),
                    Field::Month => read.month = Some(value),
                    Field::Day => read.day = Some(value),
                    Field::Hour => read.hour = Some(value),
                    Field::ClockHour => read.clock_hour = Some(value),
                    Field::HourOfDay => read.hour = Some(value % 24),
                    Field::HourOfHalf => read.clock_hour = Some(if value == 0 { 12 } else { value }),
                    Field::DayOfYear => read.day_of_year = Some(value),
                    // A quarter alone makes no date.
                    Field::Quarter => {}
                    Field::Minute => read.minute = value,
                    Field::Second => read.second = value,
                }
                rest
            }
            Item::Fraction(width) => {
                // Spark reads `S...` as up to that many digits.
                let (value, length, rest) = digits(text, 1, *width)?;
                read.micros = if length <= 6 {
                    value * 10i64.pow(6 - length as u32)
                } else {
                    value / 10i64.pow(length as u32 - 6)
                };
                rest
            }
            Item::MonthName { full } => {
                let (month, rest) = name(text, &MONTHS, *full)?;
                read.month = Some(month as i64 + 1);
                rest
            }
            Item::DayName { full } => name(text, &WEEKDAYS, *full)?.1,
            Item::AmPm => {
                read.afternoon = text.starts_with("PM");
                text.strip_prefix("AM").or_else(|| text.strip_prefix("PM"))?
            }
            Item::Offset { zulu, .. } => match text.strip_prefix('Z') {
                Some(rest) if *zulu => {
                    read.zone = Some(Zone::Fixed(0));
                    rest
                }
                _ => {
                    let signed = text.strip_prefix(['+', '-'])?;
                    let length = signed.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b':').count();
                    let (offset, rest) = text.split_at(1 + length);
                    read.zone = Some(Zone::parse(offset)?);
                    rest
                }
            },
            Item::ZoneName => {
                let length =
                    text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || b"/_+-:".contains(byte)).count();
                let (zone, rest) = text.split_at(length);
                read.zone = Some(Zone::parse(zone)?);
                rest
            }
            Item::Optional(inner) => {
                let mut tried = read.clone();
                match read_items(inner, text, &mut tried) {
                    Some(rest) => {
                        *read = tried;
                        rest
                    }
                    None => text,
                }
            }
        };
    }
    Some(text)
}

struct Written {
    date: i64,
    micros: i64,
    offset: i32,
    zone: Zone,
}

impl Written {
    fn items(&self, items: &[Item], out: &mut String) {
        let (year, month, day) = date_of(self.date);
        let seconds = self.micros / SECOND;
        for item in items {
            // Writing to a String cannot fail.
            let _ = match item {
                Item::Literal(text) => out.write_str(text),
                Item::Number(field, width) => {
                    let value = match field {
                        Field::Year if *width == 2 => year.rem_euclid(100),
                        Field::Year => year,
                        Field::Month => month,
                        Field::Day => day,
                        Field::Hour => seconds / 3600,
                        Field::ClockHour => (seconds / 3600 + 11) % 12 + 1,
                        Field::HourOfDay => (seconds / 3600 + 23) % 24 + 1,
                        Field::HourOfHalf => seconds / 3600 % 12,
                        Field::DayOfYear => self.date - days(year, 1, 1).unwrap_or_default() + 1,
                        Field::Quarter => (month + 2) / 3,
                        Field::Minute => seconds / 60 % 60,
                        Field::Second => seconds % 60,
                    };
                    write!(out, "{value:0width$}")
                }
                Item::Fraction(width) => {
                    let nanos = format!("{:09}", self.micros % SECOND * 1000);
                    out.write_str(&nanos[..*width])
                }
                Item::MonthName { full } => {
                    let name = MONTHS[(month as usize + 11) % 12];
                    out.write_str(if *full { name } else { &name[..3] })
                }
                Item::DayName { full } => {
                    let name = WEEKDAYS[self.date.rem_euclid(7) as usize];
                    out.write_str(if *full { name } else { &name[..3] })
                }
                Item::AmPm => out.write_str(if seconds < 12 * 3600 { "AM" } else { "PM" }),
                Item::Offset { zulu: true, .. } if self.offset == 0 => out.write_char('Z'),
                Item::Offset { colon, hours, .. } => {
                    let (sign, minutes) = (if self.offset < 0 { '-' } else { '+' }, self.offset.abs() / 60);
                    let (hour, minute) = (minutes / 60, minutes % 60);
                    match (*colon, *hours && minute == 0) {
                        (_, true) => write!(out, "{sign}{hour:02}"),
                        (true, _) => write!(out, "{sign}{hour:02}:{minute:02}"),
                        (false, _) => write!(out, "{sign}{hour:02}{minute:02}"),
                    }
                }
                Item::ZoneName => match self.zone {
                    Zone::Fixed(0) => out.write_str("UTC"),
                    Zone::Fixed(offset) => {
                        super::timestamp::write_offset(offset, out);
                        Ok(())
                    }
                    Zone::Region(region) => out.write_str(region.name()),
                },
                Item::Optional(inner) => {
                    self.items(inner, out);
                    Ok(())
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: i64 = (1_704_067_200 + 36_000) * SECOND; // 2024-01-01T10:00:00Z

    #[test]
    fn both_ways() {
        for (pattern, text, instant) in [
            ("yyyy-MM-dd HH:mm:ss", "2024-01-01 10:00:00", TEN),
            ("yyyyMMddHHmmss", "20240101100000", TEN),
            ("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "2024-01-01T10:00:00.123Z", TEN + 123_000),
            ("dd/MMM/yyyy:HH:mm:ss Z", "01/Jan/2024:10:00:00 +0000", TEN),
            ("EEEE, MMMM d yyyy h:mm a", "Monday, January 1 2024 10:00 AM", TEN),
            ("yyyy-MM-dd'T'HH:mm:ss[.SSS][XXX]", "2024-01-01T10:00:00.000Z", TEN),
        ] {
            let pattern = Pattern::new(pattern).unwrap();
            assert_eq!(pattern.read_timestamp(text, Zone::Fixed(0)), Some(instant), "{text}");
            let mut out = String::new();
            pattern.write_timestamp(instant, Zone::Fixed(0), &mut out);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn optional_parts_zones_and_refusals() {
        let pattern = Pattern::new("yyyy-MM-dd'T'HH:mm:ss[.SSS][XXX]").unwrap();
        assert_eq!(pattern.read_timestamp("2024-01-01T10:00:00", Zone::Fixed(7200)), Some(TEN - 7200 * SECOND));
        assert_eq!(pattern.read_timestamp("2024-01-01T10:00:00+02:00", Zone::Fixed(0)), Some(TEN - 7200 * SECOND));
        for bad in ["2024-01-01", "2024-01-01T10:00:00 ", "2024-13-01T10:00:00", "2024-01-01T25:00:00", "é"] {
            assert_eq!(pattern.read_timestamp(bad, Zone::Fixed(0)), None, "{bad}");
        }
        assert_eq!(Pattern::new("dd.MM.yyyy").unwrap().read_date("01.01.2024"), Some(19_723));
        let error = Pattern::new("yyyy-ww").unwrap_err();
        assert_eq!(error.message(), "\"ww\" is not understood in the date pattern \"yyyy-ww\"");
        assert!(Pattern::new("[yyyy").is_err() && Pattern::new("yyyy]").is_err() && Pattern::new("'x").is_err());
    }
}
