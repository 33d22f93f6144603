//! How a reader's options say that timestamps and dates are written.
//!
//! Comes in: the session's zone and the options `timestampFormat` and `dateFormat`. Goes out: instants and days of texts;
//! None for a text that does not fit. Fails: a pattern that is not understood.

use super::pattern::Pattern;
use super::timestamp::{TimestampReader, read_date};
use super::zone::Zone;
use crate::error::Result;
use chrono_tz::Tz;

/// Readers of timestamps and dates; without a pattern, every form that Spark's casts take.
#[derive(Debug)]
pub(super) struct Formats {
    zone: Zone,
    timestamps: TimestampReader,
    timestamp_pattern: Option<Pattern>,
    date_pattern: Option<Pattern>,
}

impl Formats {
    pub(super) fn new(time_zone: Tz, timestamp_format: Option<&str>, date_format: Option<&str>) -> Result<Self> {
        let zone = Zone::from(time_zone);
        Ok(Self {
            zone,
            timestamps: TimestampReader::new(zone),
            timestamp_pattern: timestamp_format.map(Pattern::new).transpose()?,
            date_pattern: date_format.map(Pattern::new).transpose()?,
        })
    }

    #[inline]
    pub(super) fn timestamp(&mut self, text: &[u8]) -> Option<i64> {
        match &self.timestamp_pattern {
            None => self.timestamps.read(text),
            Some(pattern) => pattern.read_timestamp(std::str::from_utf8(text).ok()?, self.zone),
        }
    }

    pub(super) fn date(&self, text: &[u8]) -> Option<i32> {
        match &self.date_pattern {
            None => read_date(text),
            Some(pattern) => pattern.read_date(std::str::from_utf8(text).ok()?),
        }
    }
}
