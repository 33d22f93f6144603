//! Decoder options from the texts that users give.
//!
//! Comes in: an [`OptionReader`] and the session's zone. Goes out: [`JsonOptions`] and [`CsvOptions`]. Fails: values that an option cannot
//! have, and options of Spark's that this engine does not follow, by name; options that nobody reads are the caller's to refuse.

use super::csv::{CsvOptions, Specials};
use super::infer::{JsonRules, Sampling};
use super::json::JsonOptions;
use super::records::{QuoteRules, Records};
use super::zone;
use crate::error::{Error, ErrorCode, Result};
use crate::options::OptionReader;
use chrono_tz::Tz;

/// Leniencies of Spark's JSON reader, with the value that the decoder follows.
const JSON_SWITCHES: [(&str, bool); 7] = [
    ("allowComments", false),
    ("allowUnquotedFieldNames", false),
    ("allowSingleQuotes", true),
    ("allowNumericLeadingZeros", false),
    ("allowBackslashEscapingAnyCharacter", false),
    ("allowUnquotedControlChars", false),
    ("allowNonNumericNumbers", true),
];

impl JsonOptions {
    /// Reads `mode`, `timeZone`, `timestampFormat`, `dateFormat` and `columnNameOfCorruptRecord`.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`].
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
            records: Records::Lines,
        })
    }

    /// Reads what files have besides: `multiLine`, `lineSep`, and the switches that the decoder cannot turn.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`]; [`ErrorCode::UnsupportedOperation`] for a switch turned the other way.
    pub fn read_file(options: &mut OptionReader<'_>, session_zone: Tz) -> Result<Self> {
        for (key, followed) in JSON_SWITCHES {
            if options.bool(key)?.is_some_and(|value| value != followed) {
                return Err(Error::new(
                    ErrorCode::UnsupportedOperation,
                    format!(
                        "option '{key}' of {} can only be {followed}: the decoder reads JSON no other way; leave it out",
                        options.owner()
                    ),
                ));
            }
        }
        encoding(options)?;
        let mut json = Self::read(options, session_zone)?;
        let separator = line_separator(options)?;
        json.records = match (options.bool("multiLine")?.unwrap_or(false), separator) {
            (true, _) => Records::Whole,
            (false, Some(separator)) => Records::Separated(separator),
            (false, None) => Records::Lines,
        };
        Ok(json)
    }
}

impl JsonRules {
    /// Reads the options that matter only when a schema is inferred.
    pub(crate) fn read(options: &mut OptionReader<'_>) -> Result<Self> {
        Ok(Self {
            primitives_as_string: options.bool("primitivesAsString")?.unwrap_or(false),
            prefers_decimal: options.bool("prefersDecimal")?.unwrap_or(false),
            infer_timestamp: options.bool("inferTimestamp")?.unwrap_or(false),
            drop_field_if_all_null: options.bool("dropFieldIfAllNull")?.unwrap_or(false),
        })
    }
}

impl Sampling {
    /// Reads `samplingRatio`.
    pub(crate) fn read(options: &mut OptionReader<'_>) -> Result<Self> {
        let share = |text: &str| text.parse::<f64>().ok().filter(|ratio| *ratio > 0.0 && *ratio <= 1.0);
        let ratio = options.parsed("samplingRatio", "a number above 0 and not above 1", share)?;
        Ok(Self::new(ratio.unwrap_or(1.0)))
    }
}

impl CsvOptions {
    /// Reads what JSON has, and Spark's options of CSV files.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`]; [`ErrorCode::UnsupportedOperation`] for what the decoder cannot do.
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
        if let Some(comment) = options.text("comment").filter(|comment| !comment.is_empty()) {
            csv.comment =
                Some(byte(comment).ok_or_else(|| options.invalid("comment", comment, "one ASCII character"))?);
        }
        let mut take = |key: &str, into: &mut String| {
            if let Some(text) = options.text(key) {
                *into = text.to_string();
            }
        };
        let mut specials = Specials::default();
        take("nullValue", &mut csv.null_value);
        take("emptyValue", &mut csv.empty_value);
        take("nanValue", &mut specials.nan);
        take("positiveInf", &mut specials.positive_inf);
        take("negativeInf", &mut specials.negative_inf);
        csv.specials = specials;
        csv.ignore_leading = options.bool("ignoreLeadingWhiteSpace")?.unwrap_or(false);
        csv.ignore_trailing = options.bool("ignoreTrailingWhiteSpace")?.unwrap_or(false);
        encoding(options)?;
        for key in ["charToEscapeQuoteEscaping", "unescapedQuoteHandling"] {
            if options.text(key).is_some_and(|value| !value.eq_ignore_ascii_case("STOP_AT_DELIMITER")) {
                return Err(Error::new(
                    ErrorCode::UnsupportedOperation,
                    format!("option '{key}' of {} cannot be changed; leave it out", options.owner()),
                ));
            }
        }
        // Limits of Spark's parser, which this one does not have.
        for key in ["maxColumns", "maxCharsPerColumn"] {
            options.parsed(key, "a whole number", |text| text.parse::<i64>().ok())?;
        }
        let separator = line_separator(options)?;
        csv.records = match (options.bool("multiLine")?.unwrap_or(false), separator) {
            (true, Some(_)) => {
                return Err(Error::new(
                    ErrorCode::UnsupportedOperation,
                    format!(
                        "options 'multiLine' and 'lineSep' of {} do not go together; set one of them",
                        options.owner()
                    ),
                ));
            }
            (true, None) => Records::Quoted(QuoteRules {
                delimiter: csv.delimiter.clone().into_bytes(),
                quote: csv.quote,
                escape: csv.escape,
                comment: csv.comment,
                skip_blanks: csv.ignore_leading,
            }),
            (false, Some(separator)) => Records::Separated(separator),
            (false, None) => Records::Lines,
        };
        Ok(csv)
    }
}

impl Records {
    /// Reads the options of text files, `wholetext` and `lineSep`.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`].
    pub fn read_text(options: &mut OptionReader<'_>) -> Result<Self> {
        encoding(options)?;
        let separator = line_separator(options)?;
        Ok(match (options.bool("wholetext")?.unwrap_or(false), separator) {
            (true, _) => Records::Whole,
            (false, Some(separator)) => Records::Separated(separator),
            (false, None) => Records::Lines,
        })
    }
}

fn byte(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [byte] => Some(*byte),
        _ => None,
    }
}

/// `lineSep`; None for the line ends that need no telling.
fn line_separator(options: &mut OptionReader<'_>) -> Result<Option<Vec<u8>>> {
    match options.text("lineSep") {
        None | Some("\n") => Ok(None),
        Some("") => Err(options.invalid("lineSep", "", "one or more characters")),
        Some(separator) => Ok(Some(separator.as_bytes().to_vec())),
    }
}

fn encoding(options: &mut OptionReader<'_>) -> Result<()> {
    for key in ["encoding", "charset"] {
        let Some(name) = options.text(key) else { continue };
        if !["utf-8", "utf8", "us-ascii"].contains(&name.to_ascii_lowercase().as_str()) {
            return Err(Error::new(
                ErrorCode::UnsupportedOperation,
                format!("option '{key}' of {} is '{name}', but only UTF-8 is read; convert the files", options.owner()),
            ));
        }
    }
    if let Some(locale) = options.text("locale")
        && !locale.eq_ignore_ascii_case("en-US")
    {
        return Err(Error::new(
            ErrorCode::UnsupportedOperation,
            format!(
                "option 'locale' of {} is '{locale}', but dates and numbers are read as en-US; leave it out",
                options.owner()
            ),
        ));
    }
    Ok(())
}

fn mode(options: &mut OptionReader<'_>) -> Result<super::ParseMode> {
    options.text("mode").map_or(Ok(super::ParseMode::Permissive), str::parse)
}

fn time_zone(options: &mut OptionReader<'_>) -> Result<Option<Tz>> {
    options.parsed("timeZone", zone::EXPECTED, zone::region)
}
