//! Decoder options from the texts that users give.
//!
//! Comes in: an [`OptionReader`] and the session's zone. Goes out: [`JsonOptions`] and [`CsvOptions`]. Fails: values that an option cannot
//! have; options that nobody reads are the caller's to refuse.

use super::csv::CsvOptions;
use super::json::JsonOptions;
use crate::error::Result;
use crate::options::OptionReader;
use chrono_tz::Tz;

impl JsonOptions {
    /// Reads `mode`, `timeZone`, `timestampFormat`, `dateFormat` and `columnNameOfCorruptRecord`.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`](crate::ErrorCode::InvalidOption).
    pub fn read(options: &mut OptionReader<'_>, session_zone: Tz) -> Result<Self> {
        let defaults = JsonOptions::default();
        let text = |value: Option<&str>| value.map(str::to_string);
        Ok(Self {
            mode: mode(options)?,
            time_zone: time_zone(options)?.unwrap_or(session_zone),
            timestamp_format: text(options.text("timestampFormat")),
            date_format: text(options.text("dateFormat")),
            corrupt_record_column: text(options.text("columnNameOfCorruptRecord"))
                .unwrap_or(defaults.corrupt_record_column),
        })
    }
}

impl CsvOptions {
    /// Reads what JSON has, and `sep` or `delimiter`, `quote`, `escape` and `nullValue`.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`](crate::ErrorCode::InvalidOption).
    pub fn read(options: &mut OptionReader<'_>, session_zone: Tz) -> Result<Self> {
        let common = JsonOptions::read(options, session_zone)?;
        let mut csv = CsvOptions {
            mode: common.mode,
            time_zone: common.time_zone,
            timestamp_format: common.timestamp_format,
            date_format: common.date_format,
            corrupt_record_column: common.corrupt_record_column,
            ..CsvOptions::default()
        };
        if let Some(delimiter) = options.text("sep").or(options.text("delimiter")) {
            csv.delimiter = delimiter.replace("\\t", "\t");
        }
        let byte = |text: &str| match text.as_bytes() {
            [byte] => Some(*byte),
            _ => None,
        };
        match options.text("quote") {
            None => {}
            Some("") => csv.quote = None,
            Some(quote) => {
                csv.quote = Some(
                    byte(quote).ok_or_else(|| options.invalid("quote", quote, "one ASCII character, or nothing"))?,
                );
            }
        }
        if let Some(escape) = options.text("escape") {
            csv.escape = byte(escape).ok_or_else(|| options.invalid("escape", escape, "one ASCII character"))?;
        }
        if let Some(null) = options.text("nullValue") {
            csv.null_value = null.to_string();
        }
        Ok(csv)
    }
}

fn mode(options: &mut OptionReader<'_>) -> Result<super::ParseMode> {
    options.text("mode").map_or(Ok(super::ParseMode::Permissive), str::parse)
}

fn time_zone(options: &mut OptionReader<'_>) -> Result<Option<Tz>> {
    options.parsed("timeZone", "a time zone such as UTC or Europe/Berlin", |text| text.parse().ok())
}
