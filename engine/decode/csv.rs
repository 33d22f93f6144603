//! CSV records to columns, by Spark's rules.
//!
//! Comes in: lines of a file, without its header. Goes out: [`Decoded`]. Columns are matched by position; quotes end with
//! their line, unless `multiLine` says otherwise; a line with fewer or more fields than the schema is malformed, and under `PERMISSIVE` is padded with NULLs or
//! cut. Fails: a malformed record under `FAILFAST`, and a schema with nested columns.

mod split;
#[cfg(test)]
mod tests;

use super::column::{Cell, Column, Data};
use super::formats::Formats;
use super::records::{Records, records};
use super::{Decoded, ParseMode, Rejected, Wanted, check_size, malformed_line, number};
use crate::error::{Error, ErrorCode, Result};
use crate::source::Origin;
use crate::types::{DataType, StructType};
use chrono_tz::Tz;
use split::{Splitter, Trim};

/// How CSV is to be read; the names are Spark's options. The header is the source's business.
#[derive(Debug, Clone)]
pub struct CsvOptions {
    /// `mode`.
    pub mode: ParseMode,
    /// `timeZone`: the session's zone.
    pub time_zone: Tz,
    /// `sep` or `delimiter`; one or more characters.
    pub delimiter: String,
    /// `quote`; None turns quotes off.
    pub quote: Option<u8>,
    /// `escape`: written before a quote inside quotes.
    pub escape: u8,
    /// `nullValue`: the text of NULL, besides nothing at all.
    pub null_value: String,
    /// `emptyValue`: what `""` stands for.
    pub empty_value: String,
    /// `nanValue`, `positiveInf` and `negativeInf`.
    pub specials: Specials,
    /// `comment`: begins lines that are no records.
    pub comment: Option<u8>,
    /// `ignoreLeadingWhiteSpace`.
    pub ignore_leading: bool,
    /// `ignoreTrailingWhiteSpace`.
    pub ignore_trailing: bool,
    /// `lineSep` and `multiLine`.
    pub records: Records,
    /// `timestampFormat`.
    pub timestamp_format: Option<String>,
    /// `dateFormat`.
    pub date_format: Option<String>,
    /// `columnNameOfCorruptRecord`.
    pub corrupt_record_column: String,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            mode: ParseMode::Permissive,
            time_zone: Tz::UTC,
            delimiter: ",".into(),
            quote: Some(b'"'),
            escape: b'\\',
            null_value: String::new(),
            empty_value: String::new(),
            specials: Specials::default(),
            comment: None,
            ignore_leading: false,
            ignore_trailing: false,
            records: Records::Lines,
            timestamp_format: None,
            date_format: None,
            corrupt_record_column: "_corrupt_record".into(),
        }
    }
}

/// The words for doubles that no digits can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Specials {
    /// `nanValue`.
    pub nan: String,
    /// `positiveInf`.
    pub positive_inf: String,
    /// `negativeInf`.
    pub negative_inf: String,
}

impl Default for Specials {
    fn default() -> Self {
        Self { nan: "NaN".into(), positive_inf: "Inf".into(), negative_inf: "-Inf".into() }
    }
}

impl Specials {
    /// The number of a word; besides the user's words those of Java.
    pub(super) fn read(&self, text: &str) -> Option<f64> {
        match text {
            _ if text == self.nan => Some(f64::NAN),
            _ if text == self.positive_inf => Some(f64::INFINITY),
            _ if text == self.negative_inf => Some(f64::NEG_INFINITY),
            "NaN" => Some(f64::NAN),
            "Infinity" | "+Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        }
    }
}

impl CsvOptions {
    pub(super) fn splitter(&self) -> Splitter {
        let trim = Trim { leading: self.ignore_leading, trailing: self.ignore_trailing };
        Splitter::new(self.delimiter.as_bytes(), self.quote, self.escape, trim)
    }
}

/// The first record that is neither blank nor a comment, with its end left out.
pub(crate) fn first_csv_record<'a>(bytes: &'a [u8], options: &'a CsvOptions) -> Option<&'a [u8]> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let counts = |record: &&[u8]| {
        let comment = options.comment.is_some() && record.first().copied() == options.comment;
        !comment && record.iter().any(|byte| *byte > b' ')
    };
    records(bytes, &options.records).map(|(_, record)| record).find(counts)
}

/// The fields of one record as texts: a header.
pub(crate) fn split_record(record: &[u8], options: &CsvOptions) -> Vec<String> {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    let record = record.strip_suffix(b"\r").unwrap_or(record);
    let mut splitter = options.splitter();
    let fields = splitter.split(record);
    (0..fields.len()).map(|index| String::from_utf8_lossy(fields.get(index).unwrap_or_default()).into_owned()).collect()
}

/// Decodes CSV records.
#[derive(Debug)]
pub struct CsvDecoder {
    mode: ParseMode,
    splitter: Splitter,
    null_value: String,
    empty_value: String,
    specials: Specials,
    comment: Option<u8>,
    records: Records,
    columns: Vec<Column>,
    /// Per field of a line, the column that wants it.
    targets: Vec<Option<usize>>,
    corrupt_record: Option<usize>,
    formats: Formats,
}

impl CsvDecoder {
    /// A decoder of the wanted columns of a schema.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`] for an empty delimiter or a pattern that is not understood,
    /// [`ErrorCode::DatatypeMismatch`] for a nested column.
    pub fn new(schema: &StructType, wanted: &[Wanted], options: CsvOptions) -> Result<Self> {
        if options.delimiter.is_empty() {
            return Err(Error::new(ErrorCode::InvalidOption, "the option sep of CSV must not be empty"));
        }
        let mut fields: Vec<usize> = Vec::new();
        for (index, field) in schema.fields.iter().enumerate() {
            if matches!(field.data_type, DataType::Array(_) | DataType::Map(..) | DataType::Struct(_)) {
                return Err(Error::new(
                    ErrorCode::DatatypeMismatch,
                    format!("CSV has no nested values, but column {} is {:?}", field.name, field.data_type),
                ));
            }
            if field.name == options.corrupt_record_column {
                if field.data_type != DataType::String {
                    return Err(Error::new(
                        ErrorCode::DatatypeMismatch,
                        format!("the column for corrupt records, {}, must be a STRING", field.name),
                    ));
                }
            } else {
                fields.push(index);
            }
        }
        let mut columns = Vec::with_capacity(wanted.len());
        let mut targets = vec![None; fields.len()];
        let mut corrupt_record = None;
        for (index, want) in wanted.iter().enumerate() {
            let field = schema.fields.get(want.field).ok_or_else(|| {
                Error::internal(format!("column {} is wanted of a schema of {}", want.field, schema.fields.len()))
            })?;
            columns.push(Column::new(&field.data_type, want.dictionary));
            match fields.iter().position(|position| *position == want.field) {
                Some(position) if targets[position].is_none() => targets[position] = Some(index),
                Some(_) => return Err(Error::internal(format!("column {} is wanted twice", field.name))),
                None => corrupt_record = Some(index),
            }
        }
        Ok(Self {
            mode: options.mode,
            splitter: options.splitter(),
            null_value: options.null_value,
            empty_value: options.empty_value,
            specials: options.specials,
            comment: options.comment,
            records: options.records,
            columns,
            targets,
            corrupt_record,
            formats: Formats::new(
                options.time_zone,
                options.timestamp_format.as_deref(),
                options.date_format.as_deref(),
            )?,
        })
    }

    /// Decodes the lines of a chunk; blank lines are no records.
    ///
    /// # Errors
    /// [`ErrorCode::MalformedRecord`] under `FAILFAST`, naming the file and line.
    pub fn decode_lines(&mut self, bytes: &[u8], origin: &Origin) -> Result<Decoded> {
        check_size(bytes.len())?;
        for column in &mut self.columns {
            column.begin(bytes.len() * 3)?;
        }
        let valid = simdutf8::basic::from_utf8(bytes).is_ok();
        // The rules leave the decoder for the loop, which changes the rest of it.
        let by = std::mem::take(&mut self.records);
        let outcome = self.each(bytes, &by, valid, origin);
        self.records = by;
        let (rows, kept, malformed) = outcome?;
        let columns = self.columns.iter_mut().map(Column::finish).collect::<Result<_>>()?;
        Ok(Decoded { columns, rows, null_record: None, kept, rejected: Rejected { malformed } })
    }

    /// Adds the rows of all records: how many, which records they are where some are left out, and how many were malformed.
    fn each(
        &mut self,
        bytes: &[u8],
        by: &Records,
        valid: bool,
        origin: &Origin,
    ) -> Result<(usize, Option<Vec<u32>>, u64)> {
        let (mut rows, mut records_seen, mut malformed) = (0, 0u32, 0);
        let mut kept: Option<Vec<u32>> = None;
        for (position, line) in records(bytes, by) {
            let line = if position == 0 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
            let comment = self.comment.is_some() && line.first().copied() == self.comment;
            if comment || line.iter().all(|byte| *byte <= b' ') {
                continue;
            }
            let outcome =
                if valid { self.row(line, rows) } else { self.row(String::from_utf8_lossy(line).as_bytes(), rows) };
            let mut keep = true;
            if let Err(reason) = outcome {
                malformed += 1;
                match self.mode {
                    ParseMode::FailFast => return Err(malformed_line(origin, bytes, position, reason)),
                    ParseMode::Permissive => {}
                    ParseMode::DropMalformed => {
                        keep = false;
                        self.columns.iter_mut().for_each(|column| column.truncate(rows));
                        kept.get_or_insert_with(|| (0..records_seen).collect());
                    }
                }
            }
            if keep {
                rows += 1;
                if let Some(kept) = &mut kept {
                    kept.push(records_seen);
                }
            }
            records_seen += 1;
        }
        Ok((rows, kept, malformed))
    }

    /// Adds the row of a line, and says why when it is malformed.
    fn row(&mut self, line: &[u8], row: usize) -> std::result::Result<(), &'static str> {
        let fields = self.splitter.split(line);
        let mut reason = None;
        for (position, target) in self.targets.iter().enumerate() {
            let Some(column) = target.and_then(|target| self.columns.get_mut(target)) else { continue };
            let quoted = fields.quoted(position);
            let text = match fields.get(position) {
                Some([]) if quoted => Some(self.empty_value.as_bytes()),
                Some([]) => None,
                text => text,
            };
            match text {
                None => column.push_null(),
                Some(text) if text == self.null_value.as_bytes() => column.push_null(),
                Some(text) => {
                    if put(column, text, &mut self.formats, &self.specials).is_none() {
                        column.push_null();
                        reason = Some("a value does not fit the type of its column");
                    }
                }
            }
        }
        if fields.len() < self.targets.len() {
            reason = Some("the line has fewer fields than the schema");
        } else if fields.len() > self.targets.len() {
            reason = Some("the line has more fields than the schema");
        }
        if let Some(column) = self.corrupt_record.and_then(|index| self.columns.get_mut(index)) {
            column.truncate(row);
            if reason.is_some() {
                column.push_text(line);
            } else {
                column.push_null();
            }
        }
        reason.map_or(Ok(()), Err)
    }
}

/// Adds a field's value; None, and nothing added, when the text does not fit.
pub(super) fn put(column: &mut Column, text: &[u8], formats: &mut Formats, specials: &Specials) -> Option<()> {
    if column.push_text(text) {
        return Some(());
    }
    let data_type = column.data_type().clone();
    let string = std::str::from_utf8(text).ok()?;
    match &mut column.data {
        Data::Boolean(values) => values.push(match string {
            _ if string.eq_ignore_ascii_case("true") => true,
            _ if string.eq_ignore_ascii_case("false") => false,
            _ => return None,
        }),
        Data::Byte(values) => values.push(string.parse().ok()?),
        Data::Short(values) => values.push(string.parse().ok()?),
        Data::Integer(values) => values.push(string.parse().ok()?),
        Data::Long(values) => values.push(string.parse().ok()?),
        Data::Float(values) => values.push(match specials.read(string) {
            Some(value) => value as f32,
            None => string.trim().parse().ok().filter(|_| is_plain(string))?,
        }),
        Data::Double(values) => values.push(match specials.read(string) {
            Some(value) => value,
            None => string.trim().parse().ok().filter(|_| is_plain(string))?,
        }),
        Data::Date(values) => values.push(formats.date(text)?),
        Data::Timestamp(values) => values.push(formats.timestamp(text)?),
        Data::General(cells) => cells.push(match data_type {
            DataType::Decimal(precision, scale) => {
                Cell::Decimal(number::decimal(&string.replace(',', ""), precision, scale)?)
            }
            DataType::Binary => Cell::Binary(text.to_vec()),
            _ => return None,
        }),
        Data::String { .. } | Data::Dictionary(_) => return None,
    }
    Some(())
}

/// A number in digits: Rust also reads `inf` and `nan`, which Java does not.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'+' | b'-' | b'e' | b'E' | b' ' | b'\t'))
}
