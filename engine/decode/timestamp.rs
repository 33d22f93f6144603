//! Timestamps and dates as text, in the forms that Spark's casts, JSON and CSV readers share.
//!
//! Comes in: `2024-01-01T10:00:00.123Z`, `2024-1-1 10:00`, `2024` and the like. Goes out: microseconds or days since the
//! epoch, or None when the text is no such thing, and the text of both. A time of day without a date, which Spark reads as
//! today's, is not accepted: a replayed batch would read another day.

use super::zone::{DAY, SECOND, Zone, date_of, days};
use std::fmt::Write;

/// Reads timestamps; remembers the last date, because the rows of a stream share it.
#[derive(Debug, Clone)]
pub(crate) struct TimestampReader {
    zone: Zone,
    date: [u8; 10],
    midnight: i64,
}

impl TimestampReader {
    /// A reader that takes texts without an offset as local times of `zone`.
    pub(crate) fn new(zone: Zone) -> Self {
        Self { zone, date: [0; 10], midnight: 0 }
    }

    /// Microseconds since the epoch.
    #[inline]
    pub(crate) fn read(&mut self, text: &[u8]) -> Option<i64> {
        match self.read_iso(text) {
            Some(instant) => Some(instant),
            None => read_any(text, self.zone),
        }
    }

    /// The form that machines write, `yyyy-MM-ddTHH:mm:ss[.f]Z`; None for every other.
    #[inline]
    fn read_iso(&mut self, text: &[u8]) -> Option<i64> {
        let head: &[u8; 19] = text.get(..19)?.try_into().ok()?;
        if head[10] != b'T' || head[13] != b':' || head[16] != b':' {
            return None;
        }
        if head[..10] != self.date {
            self.midnight = midnight(head)?;
            self.date.copy_from_slice(&head[..10]);
        }
        let (hour, minute, second) = (pair(head[11], head[12]), pair(head[14], head[15]), pair(head[17], head[18]));
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let (last, fraction) = text[19..].split_last()?;
        if *last != b'Z' {
            return None;
        }
        let micros = match fraction {
            [] => 0,
            [b'.', a, b, c] if [a, b, c].iter().all(|digit| digit.is_ascii_digit()) => {
                (i64::from(a - b'0') * 100 + i64::from(b - b'0') * 10 + i64::from(c - b'0')) * 1000
            }
            [b'.', digits @ ..] if digits.len() <= 6 && digits.iter().all(u8::is_ascii_digit) => {
                let value = digits.iter().fold(0, |n, digit| n * 10 + i64::from(digit - b'0'));
                value * 10i64.pow(6 - digits.len() as u32)
            }
            _ => return None,
        };
        Some(self.midnight + i64::from((hour * 60 + minute) * 60 + second) * SECOND + micros)
    }
}

/// Two digits, or a number past 99 when one is no digit.
#[inline]
fn pair(tens: u8, ones: u8) -> u32 {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    if tens > 9 || ones > 9 { u32::MAX } else { u32::from(tens) * 10 + u32::from(ones) }
}

fn midnight(head: &[u8; 19]) -> Option<i64> {
    if head[4] != b'-' || head[7] != b'-' {
        return None;
    }
    let parts = [pair(head[0], head[1]), pair(head[2], head[3]), pair(head[5], head[6]), pair(head[8], head[9])];
    if parts.contains(&u32::MAX) {
        return None;
    }
    let [century, year, month, day] = parts.map(i64::from);
    Some(days(century * 100 + year, month, day)? * DAY)
}

/// What Spark trims at both ends: blanks and control characters.
fn trim(text: &[u8]) -> &[u8] {
    let blank = |byte: &u8| *byte <= b' ' || *byte == 0x7f;
    let start = text.iter().position(|byte| !blank(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    &text[start..end]
}

/// A reader of digit groups.
struct Groups<'a> {
    rest: &'a [u8],
}

impl Groups<'_> {
    /// A number of `least..=most` digits.
    fn number(&mut self, least: usize, most: usize) -> Option<i64> {
        let length = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length < least || length > most {
            return None;
        }
        let value = self.rest[..length].iter().fold(0, |n, digit| n * 10 + i64::from(digit - b'0'));
        self.rest = &self.rest[length..];
        Some(value)
    }

    fn eat(&mut self, wanted: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == wanted => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// `[+-]yyyy[-[m]m[-[d]d]]`: the days, and whether the day was written.
    fn date(&mut self, year_digits: usize) -> Option<(i64, bool)> {
        let negative = self.eat(b'-');
        if !negative {
            self.eat(b'+');
        }
        let year = self.number(4, year_digits)?;
        let month = if self.eat(b'-') { Some(self.number(1, 2)?) } else { None };
        let day = if month.is_some() && self.eat(b'-') { Some(self.number(1, 2)?) } else { None };
        let year = if negative { -year } else { year };
        Some((days(year, month.unwrap_or(1), day.unwrap_or(1))?, day.is_some()))
    }
}

/// Every form: `[+-]yyyy[-[m]m[-[d]d[( |T)[h]h[:[m]m[:[s]s[.f][zone]]]]]]`. Digits past the sixth of a second are cut.
fn read_any(text: &[u8], session: Zone) -> Option<i64> {
    let mut groups = Groups { rest: trim(text) };
    let (date, complete) = groups.date(6)?;
    let mut time = 0;
    let mut zone = session;
    if !groups.rest.is_empty() {
        if !complete || !(groups.eat(b' ') || groups.eat(b'T')) {
            return None;
        }
        let hour = groups.number(1, 2)?;
        let minute = if groups.eat(b':') { Some(groups.number(1, 2)?) } else { None };
        let second = if minute.is_some() && groups.eat(b':') { Some(groups.number(1, 2)?) } else { None };
        let mut micros = 0;
        if second.is_some() {
            if groups.eat(b'.') {
                let length = groups.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                let kept = &groups.rest[..length.min(6)];
                micros = kept.iter().fold(0, |n, digit| n * 10 + i64::from(digit - b'0'));
                micros *= 10i64.pow(6 - kept.len() as u32);
                groups.rest = &groups.rest[length..];
            }
            if !groups.rest.is_empty() {
                zone = Zone::parse(std::str::from_utf8(groups.rest).ok()?)?;
                groups.rest = &[];
            }
        }
        let (minute, second) = (minute.unwrap_or(0), second.unwrap_or(0));
        if !groups.rest.is_empty() || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        time = ((hour * 60 + minute) * 60 + second) * SECOND + micros;
    }
    zone.instant(date.checked_mul(DAY)?.checked_add(time)?)
}

/// Days since the epoch of `[+-]yyyy[-[m]m[-[d]d]]`; whatever follows the day after a blank or `T` is ignored.
pub(crate) fn read_date(text: &[u8]) -> Option<i32> {
    let mut groups = Groups { rest: trim(text) };
    let (date, complete) = groups.date(7)?;
    let ends = groups.rest.is_empty() || (complete && (groups.eat(b' ') || groups.eat(b'T')));
    if ends { i32::try_from(date).ok() } else { None }
}

/// Appends `yyyy-MM-dd`, with a sign on years past 9999.
pub(crate) fn write_date(days: i64, out: &mut String) {
    let (year, month, day) = date_of(days);
    // Writing to a String cannot fail.
    let _ = match year {
        0..=9999 => write!(out, "{year:04}-{month:02}-{day:02}"),
        10000.. => write!(out, "+{year}-{month:02}-{day:02}"),
        _ => write!(out, "-{:04}-{month:02}-{day:02}", -year),
    };
}

/// Appends `yyyy-MM-dd HH:mm:ss[.f]` in the zone, the fraction without trailing zeros.
pub(crate) fn write_timestamp(instant: i64, zone: Zone, out: &mut String) {
    let local = zone.local(instant);
    let (date, time) = (local.div_euclid(DAY), local.rem_euclid(DAY));
    write_date(date, out);
    let (seconds, micros) = (time / SECOND, time % SECOND);
    let _ = write!(out, " {:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if micros > 0 {
        let _ = write!(out, ".{micros:06}");
        out.truncate(out.trim_end_matches('0').len());
    }
}

/// Appends `yyyy-MM-dd'T'HH:mm:ss.SSSXXX`, which `to_json` writes: milliseconds, `Z` for UTC.
pub(crate) fn write_iso_millis(instant: i64, zone: Zone, out: &mut String) {
    write_local_millis(zone.local(instant), out);
    write_offset(zone.offset_at(instant), out);
}

/// Appends `2024-01-01T12:00:00.000`: a local date and time, of no zone.
pub(crate) fn write_local_millis(local: i64, out: &mut String) {
    let (date, time) = (local.div_euclid(DAY), local.rem_euclid(DAY));
    write_date(date, out);
    let (seconds, millis) = (time / SECOND, time % SECOND / 1000);
    let _ = write!(out, "T{:02}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

/// Appends `Z` or `+hh:mm`.
pub(crate) fn write_offset(offset: i32, out: &mut String) {
    if offset == 0 {
        out.push('Z');
        return;
    }
    let minutes = offset.abs() / 60;
    let sign = if offset < 0 { '-' } else { '+' };
    let _ = write!(out, "{sign}{:02}:{:02}", minutes / 60, minutes % 60);
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::Tz;

    fn read(text: &str, zone: &str) -> Option<i64> {
        TimestampReader::new(Zone::parse(zone).unwrap()).read(text.as_bytes())
    }

    const NEW_YEAR: i64 = 1_704_067_200 * SECOND; // 2024-01-01T00:00:00Z

    #[test]
    fn every_form_of_spark() {
        for (text, micros) in [
            ("2024-01-01T10:00:00Z", NEW_YEAR + 36_000 * SECOND),
            ("2024-01-01T10:00:00.123Z", NEW_YEAR + 36_000 * SECOND + 123_000),
            ("2024-01-01T10:00:00.1234567Z", NEW_YEAR + 36_000 * SECOND + 123_456),
            ("2024-01-01T10:00:00.5Z", NEW_YEAR + 36_000 * SECOND + 500_000),
            ("2024-01-01T10:00:00.Z", NEW_YEAR + 36_000 * SECOND),
            ("2024-01-01 10:00:00", NEW_YEAR + 36_000 * SECOND),
            ("2024-1-1 1:2:3", NEW_YEAR + 3_723 * SECOND),
            ("2024-01-01T10", NEW_YEAR + 36_000 * SECOND),
            ("2024-01-01T10:30", NEW_YEAR + 37_800 * SECOND),
            ("2024-01-01T10:00:00+02:00", NEW_YEAR + 28_800 * SECOND),
            ("2024-01-01T10:00:00-7:00", NEW_YEAR + 61_200 * SECOND),
            ("2024-01-01T10:00:00 Europe/Paris", NEW_YEAR + 32_400 * SECOND),
            ("2024-01-01 10:00:00UTC+1", NEW_YEAR + 32_400 * SECOND),
            ("2024", NEW_YEAR),
            ("2024-01", NEW_YEAR),
            ("  2024-01-01\t", NEW_YEAR),
            ("-0001-01-01", -62_198_755_200 * SECOND),
            ("+12024-01-01", 317_273_587_200 * SECOND),
        ] {
            assert_eq!(read(text, "UTC"), Some(micros), "{text}");
        }
    }

    #[test]
    fn what_is_no_timestamp() {
        for text in [
            "",
            "bad",
            "2024-13-01",
            "2023-02-29",
            "2024-01-01T24:00:00Z",
            "2024-01-01T10:60:00Z",
            "2024-01-01T10:00Z",
            "24-01-01",
            "2024-01-01X",
            "2024-01-01T",
            "10:00:00",
            "T10:00:00",
            "2024-01-01T10:00:00 Mars/Olympus",
            "2024-01-01T1a:00:00Z",
            "2024-0a-01T10:00:00Z",
            "2024-01-01T10:00:00+19:00",
            "9999999-01-01",
        ] {
            assert_eq!(read(text, "UTC"), None, "{text}");
        }
    }

    #[test]
    fn local_times_around_clock_changes() {
        // 02:30 does not exist in Paris on 2024-03-31 and is read as 03:30 (01:30 UTC); on 2024-10-27 it happens twice.
        let hour = 3600 * SECOND;
        let spring = read("2024-03-31T00:00:00Z", "UTC").unwrap();
        assert_eq!(read("2024-03-31 02:30:00", "Europe/Paris"), Some(spring + hour + hour / 2));
        let autumn = read("2024-10-27T00:00:00Z", "UTC").unwrap();
        assert_eq!(read("2024-10-27 02:30:00", "Europe/Paris"), Some(autumn + hour / 2));
    }

    #[test]
    fn dates() {
        assert_eq!(read_date(b"2024-01-01"), Some(19_723));
        assert_eq!(read_date(b" 2024-1-1T garbage"), Some(19_723));
        assert_eq!(read_date(b"2024"), Some(19_723));
        assert_eq!(read_date(b"1969-12-31"), Some(-1));
        for bad in ["2024-02-30", "2024-01-01x", "2024-01 x", "x", ""] {
            assert_eq!(read_date(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn text_of_instants() {
        let text = |instant, zone: Zone| {
            let mut out = String::new();
            write_timestamp(instant, zone, &mut out);
            out
        };
        let paris = Zone::from(Tz::Europe__Paris);
        assert_eq!(text(NEW_YEAR, Zone::Fixed(0)), "2024-01-01 00:00:00");
        assert_eq!(text(NEW_YEAR + 120_000, Zone::Fixed(0)), "2024-01-01 00:00:00.12");
        assert_eq!(text(NEW_YEAR, paris), "2024-01-01 01:00:00");
        assert_eq!(text(-1, Zone::Fixed(0)), "1969-12-31 23:59:59.999999");
        assert_eq!(text(i64::MAX, Zone::Fixed(0)), "+294247-01-10 04:00:54.775807");
        let mut iso = String::new();
        write_iso_millis(NEW_YEAR + 123_456, paris, &mut iso);
        assert_eq!(iso, "2024-01-01T01:00:00.123+01:00");
    }

    #[test]
    fn every_day_of_a_thousand_years_survives_the_calendar() {
        for day in -200_000..200_000 {
            let (year, month, date) = date_of(day);
            assert_eq!(days(year, month, date), Some(day));
        }
    }
}
