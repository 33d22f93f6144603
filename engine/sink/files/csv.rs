//! CSV as Spark writes it.
//!
//! Comes in: rows. Goes out: lines. A cell is quoted when it holds the separator, a line break, or (with `escapeQuotes`) a quote;
//! when it begins with a quote; and in the first column when it begins with `#`, which readers may take for a comment. Blanks
//! at both ends of a cell are cut unless the options say otherwise. As in Spark, a row whose line would be empty is not written: a reader
//! passes over empty lines. Fails: options that CSV cannot have; nested columns are refused by [`super::format`].

use crate::decode::pattern::Pattern;
use crate::decode::timestamp::{write_date, write_iso_millis, write_local_millis};
use crate::decode::zone::Zone;
use crate::error::Result;
use crate::functions::java_text::{Style, plain, write_value};
use crate::options::OptionReader;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Date32Type, Schema, TimestampMicrosecondType};

/// How the lines look; the names are Spark's options.
#[derive(Debug)]
pub(super) struct Csv {
    sep: String,
    quote: char,
    escape: char,
    /// `charToEscapeQuoteEscaping`: what goes before an escape inside of quotes.
    escape_escape: Option<char>,
    escape_quotes: bool,
    quote_all: bool,
    pub header: bool,
    null_value: String,
    empty_value: String,
    trim_start: bool,
    trim_end: bool,
    line_sep: String,
    timestamp_format: Option<Pattern>,
    timestamp_ntz_format: Option<Pattern>,
    date_format: Option<Pattern>,
    zone: Zone,
}

impl Csv {
    pub fn new(options: &mut OptionReader<'_>, zone: Zone) -> Result<Self> {
        let sep = match options.text("sep").or(options.text("delimiter")) {
            None => ",".to_string(),
            Some("") => return Err(options.invalid("sep", "", "at least one character")),
            Some(sep) => sep.replace("\\t", "\t"),
        };
        let quote = character(options, "quote", '"')?;
        let escape = character(options, "escape", '\\')?;
        let escape_escape = match options.text("charToEscapeQuoteEscaping") {
            Some(_) => Some(character(options, "charToEscapeQuoteEscaping", '\0')?).filter(|c| *c != '\0'),
            None => Some(escape).filter(|escape| *escape != quote && *escape != '\0'),
        };
        let line_sep = options.text("lineSep").unwrap_or("\n");
        if !(1..=2).contains(&line_sep.chars().count()) {
            return Err(options.invalid("lineSep", line_sep, "one or two characters"));
        }
        Ok(Self {
            sep,
            quote,
            escape,
            escape_escape,
            escape_quotes: options.bool("escapeQuotes")?.unwrap_or(true),
            quote_all: options.bool("quoteAll")?.unwrap_or(false),
            header: options.bool("header")?.unwrap_or(false),
            null_value: options.text("nullValue").unwrap_or_default().to_string(),
            empty_value: options.text("emptyValue").unwrap_or("\"\"").to_string(),
            trim_start: options.bool("ignoreLeadingWhiteSpace")?.unwrap_or(true),
            trim_end: options.bool("ignoreTrailingWhiteSpace")?.unwrap_or(true),
            line_sep: line_sep.to_string(),
            timestamp_format: options.text("timestampFormat").map(Pattern::new).transpose()?,
            timestamp_ntz_format: options.text("timestampNTZFormat").map(Pattern::new).transpose()?,
            date_format: options.text("dateFormat").map(Pattern::new).transpose()?,
            zone,
        })
    }

    /// Appends the names of the columns.
    pub fn write_header(&self, schema: &Schema, out: &mut String) {
        for (column, field) in schema.fields().iter().enumerate() {
            self.cell(column, Some(field.name()), out);
        }
        out.push_str(&self.line_sep);
    }

    /// Appends the rows.
    pub fn write(&self, rows: &RecordBatch, out: &mut String) -> Result<()> {
        let columns = rows.columns().iter().map(plain).collect::<Result<Vec<_>>>()?;
        let mut text = String::new();
        for row in 0..rows.num_rows() {
            let start = out.len();
            for (index, column) in columns.iter().enumerate() {
                if column.is_null(row) {
                    self.cell(index, None, out);
                    continue;
                }
                text.clear();
                self.value(column, row, &mut text)?;
                self.cell(index, Some(&text), out);
            }
            if out.len() > start {
                out.push_str(&self.line_sep);
            }
        }
        Ok(())
    }

    fn value(&self, column: &ArrayRef, row: usize, out: &mut String) -> Result<()> {
        match column.data_type() {
            DataType::Timestamp(_, None) => {
                let local = column.as_primitive::<TimestampMicrosecondType>().value(row);
                match &self.timestamp_ntz_format {
                    Some(pattern) => pattern.write_timestamp(local, Zone::Fixed(0), out),
                    None => write_local_millis(local, out),
                }
                Ok(())
            }
            DataType::Timestamp(..) => {
                let instant = column.as_primitive::<TimestampMicrosecondType>().value(row);
                match &self.timestamp_format {
                    Some(pattern) => pattern.write_timestamp(instant, self.zone, out),
                    None => write_iso_millis(instant, self.zone, out),
                }
                Ok(())
            }
            DataType::Date32 => {
                let days = column.as_primitive::<Date32Type>().value(row).into();
                match &self.date_format {
                    Some(pattern) => pattern.write_date(days, out),
                    None => write_date(days, out),
                }
                Ok(())
            }
            _ => write_value(column, row, Style { zone: self.zone, null: "", hex: true, interval: None }, out),
        }
    }

    /// Appends a cell, after the separator where it is not the first.
    fn cell(&self, column: usize, value: Option<&str>, out: &mut String) {
        if column > 0 {
            out.push_str(&self.sep);
        }
        // The marks of null and empty may be written with their quotes.
        let (text, mark) = match value.map(|text| (text, self.trim(text))) {
            None => (self.null_value.as_str(), true),
            Some((_, "")) => (self.empty_value.as_str(), true),
            Some((text, _)) => (text, false),
        };
        if mark && text.len() >= 2 && text.starts_with(self.quote) && text.ends_with(self.quote) {
            out.push_str(text);
            return;
        }
        let trimmed = self.trim(text);
        let quoted = self.quote_all
            || text.starts_with(self.quote)
            || (column == 0 && text.starts_with('#'))
            || trimmed.contains(self.sep.as_str())
            || trimmed.contains(['\n', '\r'])
            || (self.escape_quotes && trimmed.contains(self.quote));
        if !quoted {
            out.push_str(trimmed);
            return;
        }
        out.push(self.quote);
        for c in trimmed.chars() {
            if c == self.quote {
                out.push(self.escape);
            } else if c == self.escape {
                out.extend(self.escape_escape);
            }
            out.push(c);
        }
        out.push(self.quote);
    }

    /// Without what Java's `trim` takes for blanks: the space and everything below it.
    fn trim<'t>(&self, mut text: &'t str) -> &'t str {
        if self.trim_start {
            text = text.trim_start_matches(|c| c <= ' ');
        }
        if self.trim_end {
            text = text.trim_end_matches(|c| c <= ' ');
        }
        text
    }
}

/// An option of one character; an empty one stands for U+0000, as in Spark.
fn character(options: &mut OptionReader<'_>, key: &str, default: char) -> Result<char> {
    let Some(text) = options.text(key) else { return Ok(default) };
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (None, _) => Ok('\0'),
        (Some(one), None) => Ok(one),
        _ => Err(options.invalid(key, text, "one character, or nothing")),
    }
}
