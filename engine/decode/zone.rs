//! Time zones and the calendar: local times to instants and back, by the rules of Java's `ZoneId`.
//!
//! Comes in: zone names (`Z`, `+02:00`, `Europe/Paris`, `UTC+1`), days and microseconds. Goes out: microseconds since the
//! epoch, offsets, years, months and days. A name that is no zone gives None; nothing here fails otherwise.

use chrono::{DateTime, NaiveDateTime, Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;

/// Microseconds in a second.
pub(crate) const SECOND: i64 = 1_000_000;
/// Microseconds in a day.
pub(crate) const DAY: i64 = 86_400 * SECOND;

/// A fixed offset from UTC, or a region with its history of offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zone {
    /// Seconds east of UTC.
    Fixed(i32),
    /// A region of the time zone database.
    Region(Tz),
}

impl From<Tz> for Zone {
    fn from(zone: Tz) -> Self {
        // The usual session zone needs no table look-up.
        if zone == Tz::UTC { Zone::Fixed(0) } else { Zone::Region(zone) }
    }
}

/// What a setting or an option that takes a zone expects.
pub(crate) const EXPECTED: &str = "a time zone such as Europe/Berlin, UTC or, in whole hours, +02:00";

/// The zone of a setting or an option, of the texts that Spark takes. Whole hours from UTC are regions too: `+02:00` is `Etc/GMT-2`.
pub(crate) fn region(text: &str) -> Option<Tz> {
    match Zone::parse(text)? {
        Zone::Region(region) => Some(region),
        Zone::Fixed(0) => Some(Tz::UTC),
        Zone::Fixed(seconds) if seconds % 3600 == 0 => format!("Etc/GMT{:+}", -seconds / 3600).parse().ok(),
        Zone::Fixed(_) => None,
    }
}

impl Zone {
    /// The zone of a text, as Spark's casts accept it. Names keep their case, as in Java.
    pub(crate) fn parse(text: &str) -> Option<Zone> {
        let text = text.trim();
        if text == "Z" {
            return Some(Zone::Fixed(0));
        }
        if text.starts_with(['+', '-']) {
            return offset(text).map(Zone::Fixed);
        }
        for prefix in ["UTC", "GMT", "UT"] {
            match text.strip_prefix(prefix) {
                Some("") => return Some(Zone::Fixed(0)),
                Some(rest) if rest.starts_with(['+', '-']) => return offset(rest).map(Zone::Fixed),
                _ => {}
            }
        }
        if let Some((_, meaning)) = SHORT_IDS.iter().find(|(short, _)| *short == text) {
            return Zone::parse(meaning);
        }
        text.parse::<Tz>().ok().map(Zone::from)
    }

    /// The instant of a local date and time of day. A local time that a clock change skips is moved on by the length of
    /// the gap; one that happens twice is the first.
    pub(crate) fn instant(self, local: i64) -> Option<i64> {
        match self {
            Zone::Fixed(seconds) => local.checked_sub(i64::from(seconds) * SECOND),
            Zone::Region(region) => {
                let naive = DateTime::from_timestamp_micros(local)?.naive_utc();
                let offset = match region.offset_from_local_datetime(&naive).earliest() {
                    Some(offset) => offset.fix(),
                    None => before_gap(region, naive)?,
                };
                local.checked_sub(i64::from(offset.local_minus_utc()) * SECOND)
            }
        }
    }

    /// Seconds east of UTC at an instant.
    pub(crate) fn offset_at(self, instant: i64) -> i32 {
        match self {
            Zone::Fixed(seconds) => seconds,
            Zone::Region(region) => DateTime::from_timestamp_micros(instant)
                .map_or(0, |utc| region.offset_from_utc_datetime(&utc.naive_utc()).fix().local_minus_utc()),
        }
    }

    /// Local microseconds of an instant.
    pub(crate) fn local(self, instant: i64) -> i64 {
        instant.saturating_add(i64::from(self.offset_at(instant)) * SECOND)
    }
}

/// The offset that held just before the gap around `naive`: gaps are shorter than a day and a day away is another day's rule.
fn before_gap(region: Tz, naive: NaiveDateTime) -> Option<chrono::FixedOffset> {
    (1..=26).find_map(|hours| {
        let earlier = naive.checked_sub_signed(TimeDelta::hours(hours))?;
        region.offset_from_local_datetime(&earlier).latest().map(|offset| offset.fix())
    })
}

/// `+h`, `+hh`, `+h:mm`, `+hh:mm`, `+hh:m`, `+hhmm`, `+hh:mm:ss` or `+hhmmss`, at most 18 hours.
fn offset(text: &str) -> Option<i32> {
    let (sign, digits) = match text.as_bytes().split_first()? {
        (b'+', rest) => (1, rest),
        (b'-', rest) => (-1, rest),
        _ => return None,
    };
    let number = |part: &[u8]| -> Option<i32> {
        let fits = (1..=2).contains(&part.len()) && part.iter().all(u8::is_ascii_digit);
        fits.then(|| part.iter().fold(0, |n, digit| n * 10 + i32::from(digit - b'0')))
    };
    let mut parts = [0; 3];
    if digits.contains(&b':') {
        for (count, part) in digits.split(|byte| *byte == b':').enumerate() {
            *parts.get_mut(count)? = number(part)?;
        }
    } else {
        if digits.is_empty() || digits.len() > 6 || (digits.len() > 2 && digits.len() % 2 == 1) {
            return None;
        }
        for (slot, part) in parts.iter_mut().zip(digits.chunks(2)) {
            *slot = number(part)?;
        }
    }
    let [hours, minutes, seconds] = parts;
    let total = hours * 3600 + minutes * 60 + seconds;
    (minutes < 60 && seconds < 60 && total <= 18 * 3600).then_some(sign * total)
}

/// Java's `ZoneId.SHORT_IDS`, which Spark passes to every look-up.
const SHORT_IDS: &[(&str, &str)] = &[
    ("ACT", "Australia/Darwin"),
    ("AET", "Australia/Sydney"),
    ("AGT", "America/Argentina/Buenos_Aires"),
    ("ART", "Africa/Cairo"),
    ("AST", "America/Anchorage"),
    ("BET", "America/Sao_Paulo"),
    ("BST", "Asia/Dhaka"),
    ("CAT", "Africa/Harare"),
    ("CNT", "America/St_Johns"),
    ("CST", "America/Chicago"),
    ("CTT", "Asia/Shanghai"),
    ("EAT", "Africa/Addis_Ababa"),
    ("ECT", "Europe/Paris"),
    ("IET", "America/Indiana/Indianapolis"),
    ("IST", "Asia/Kolkata"),
    ("JST", "Asia/Tokyo"),
    ("MIT", "Pacific/Apia"),
    ("NET", "Asia/Yerevan"),
    ("NST", "Pacific/Auckland"),
    ("PLT", "Asia/Karachi"),
    ("PNT", "America/Phoenix"),
    ("PRT", "America/Puerto_Rico"),
    ("PST", "America/Los_Angeles"),
    ("SST", "Pacific/Guadalcanal"),
    ("VST", "Asia/Ho_Chi_Minh"),
    ("EST", "-05:00"),
    ("MST", "-07:00"),
    ("HST", "-10:00"),
];

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar; None when there is no such date.
pub(crate) fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    // Years start in March, so that the leap day is the last; eras of 400 years repeat.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Year, month and day of a count of days since 1970-01-01.
pub(crate) fn date_of(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted - era * 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}
