//! JSON records to columns, by Spark's rules: `from_json` and the JSON file source.
//!
//! Comes in: lines of a file, or a column of texts. Goes out: [`Decoded`]. One pass over the bytes, directed by the schema:
//! values that nobody wants are stepped over, and keys are expected in the order of the records before. A field that does
//! not fit its type is NULL and the others are kept; a record that does not parse is NULL in every field; a key that comes
//! twice counts the last time; what follows a record's closing brace is ignored. Fails: a malformed record under `FAILFAST`.

mod fields;
mod general;
mod keys;
#[cfg(test)]
mod tests;

use super::column::Column;
use super::formats::Formats;
use super::records::{Records, records};
use super::scan::{Cursor, Syntax};
use super::{Decoded, ParseMode, Rejected, Wanted, check_size, lines, malformed_line, malformed_value};
use crate::error::{Error, ErrorCode, Result};
use crate::source::Origin;
use crate::types::{DataType, StructType};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType as ArrowType, Field, Fields};
use chrono_tz::Tz;
use keys::{Keys, UNWANTED};
use std::ops::Range;

/// Bytes that are checked to be UTF-8 and then decoded.
const BLOCK_BYTES: usize = 64 << 10;

/// How JSON is to be read; the names are Spark's options.
#[derive(Debug, Clone)]
pub struct JsonOptions {
    /// `mode`.
    pub mode: ParseMode,
    /// `timeZone`: the session's zone, for timestamps without an offset.
    pub time_zone: Tz,
    /// `timestampFormat`: a pattern; without one every form of Spark's casts.
    pub timestamp_format: Option<String>,
    /// `dateFormat`.
    pub date_format: Option<String>,
    /// `columnNameOfCorruptRecord`: the string column that gets the text of a malformed record, if the schema has it.
    pub corrupt_record_column: String,
    /// `lineSep` and `multiLine` of files.
    pub records: Records,
}

impl Default for JsonOptions {
    fn default() -> Self {
        Self {
            mode: ParseMode::Permissive,
            time_zone: Tz::UTC,
            timestamp_format: None,
            date_format: None,
            corrupt_record_column: "_corrupt_record".into(),
            records: Records::Lines,
        }
    }
}

/// Decodes JSON records; keeps its dictionaries and what it learned of the key order between calls.
#[derive(Debug)]
pub struct JsonDecoder {
    mode: ParseMode,
    fields: Fields,
    keys: Keys,
    columns: Vec<Column>,
    /// Per column, the record that last set it.
    set_by: Vec<u64>,
    record: u64,
    rows: usize,
    formats: Formats,
    corrupt_record: Option<usize>,
    records: Records,
    scratch: Vec<u8>,
}

impl JsonDecoder {
    /// A decoder of the wanted columns of a schema.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`] for a pattern that is not understood, [`ErrorCode::DatatypeMismatch`] for a corrupt
    /// record column that is no string.
    pub fn new(schema: &StructType, wanted: &[Wanted], options: JsonOptions) -> Result<Self> {
        let mut columns = Vec::with_capacity(wanted.len());
        let mut names = Vec::with_capacity(wanted.len());
        let mut fields = Vec::with_capacity(wanted.len());
        let mut corrupt_record = None;
        for (index, want) in wanted.iter().enumerate() {
            let field = schema.fields.get(want.field).ok_or_else(|| {
                Error::internal(format!("column {} is wanted of a schema of {}", want.field, schema.fields.len()))
            })?;
            if wanted[..index].iter().any(|other| other.field == want.field) {
                return Err(Error::internal(format!("column {} is wanted twice", field.name)));
            }
            let column = Column::new(&field.data_type, want.dictionary);
            fields.push(Field::new(&field.name, column.arrow_type(), true));
            columns.push(column);
            if field.name == options.corrupt_record_column {
                if field.data_type != DataType::String {
                    return Err(Error::new(
                        ErrorCode::DatatypeMismatch,
                        format!("the column for corrupt records, {}, must be a STRING", field.name),
                    ));
                }
                corrupt_record = Some(index);
            } else {
                names.push((field.name.as_str(), index));
            }
        }
        Ok(Self {
            mode: options.mode,
            fields: fields.into(),
            keys: Keys::new(&names),
            set_by: vec![0; columns.len()],
            columns,
            record: 0,
            rows: 0,
            formats: Formats::new(
                options.time_zone,
                options.timestamp_format.as_deref(),
                options.date_format.as_deref(),
            )?,
            corrupt_record,
            records: options.records,
            scratch: Vec::new(),
        })
    }

    /// The Arrow fields of the wanted columns.
    pub fn fields(&self) -> Fields {
        self.fields.clone()
    }

    /// The mode it was made with.
    pub fn mode(&self) -> ParseMode {
        self.mode
    }

    /// Decodes the records of a chunk of a JSON-lines file, one per line; blank lines are no records, and an array of objects is a
    /// record each.
    ///
    /// # Errors
    /// [`ErrorCode::MalformedRecord`] under `FAILFAST`, naming the file and line.
    pub fn decode_lines(&mut self, bytes: &[u8], origin: &Origin) -> Result<Decoded> {
        self.begin(bytes.len())?;
        let mut batch = Batch::default();
        if self.records != Records::Lines {
            let by = std::mem::take(&mut self.records);
            let valid = simdutf8::basic::from_utf8(bytes).is_ok();
            let outcome = records(bytes, &by).try_for_each(|(position, record)| {
                let record =
                    if position == 0 { record.strip_prefix(b"\xef\xbb\xbf").unwrap_or(record) } else { record };
                self.line(record, valid, &mut batch, |reason| malformed_line(origin, bytes, position, reason))
            });
            self.records = by;
            outcome?;
            return self.finish(batch, None);
        }
        let mut start = 0;
        while start < bytes.len() {
            // Whole lines, few enough to be still in the cache when they are decoded after they have been checked.
            let end = (start + BLOCK_BYTES).min(bytes.len());
            let end = memchr::memchr(b'\n', &bytes[end..]).map_or(bytes.len(), |newline| end + newline + 1);
            self.decode_block(bytes, start..end, &mut batch, origin)?;
            start = end;
        }
        self.finish(batch, None)
    }

    /// Decodes the lines of `bytes` that lie in `range`.
    fn decode_block(&mut self, bytes: &[u8], range: Range<usize>, batch: &mut Batch, origin: &Origin) -> Result<()> {
        let (start, block) = (range.start, &bytes[range]);
        let valid = simdutf8::basic::from_utf8(block).is_ok();
        for (position, line) in lines(block) {
            let position = start + position;
            let line = if position == 0 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
            self.line(line, valid, batch, |reason| malformed_line(origin, bytes, position, reason))?;
        }
        Ok(())
    }

    /// Decodes a record of a file.
    #[inline]
    fn line(&mut self, line: &[u8], valid: bool, batch: &mut Batch, error: impl FnOnce(&str) -> Error) -> Result<()> {
        if line.first() != Some(&b'{') {
            match line.iter().find(|byte| **byte > b' ') {
                None => return Ok(()),
                Some(b'[') if valid => return self.array(line, batch, error),
                Some(b'[') => return self.array(String::from_utf8_lossy(line).as_bytes(), batch, error),
                Some(_) => {}
            }
        }
        let outcome = if valid { self.row(line) } else { self.row(String::from_utf8_lossy(line).as_bytes()) };
        if let Err(reason) = outcome {
            self.reject(batch, error, reason)?;
        } else {
            batch.keep();
        }
        Ok(())
    }

    /// Decodes an array of records. One that is bad makes all of them malformed, with the array as their text.
    #[cold]
    fn array(&mut self, text: &[u8], batch: &mut Batch, error: impl FnOnce(&str) -> Error) -> Result<()> {
        let first = self.rows;
        let mut reason = None;
        match elements(text) {
            Ok(elements) => {
                for element in elements {
                    reason = self.row(element).err().or(reason);
                }
            }
            // Not an array of objects: a malformed record as a whole.
            Err(Syntax(_)) => reason = self.row(text).err(),
        }
        let Some(reason) = reason else {
            (first..self.rows).for_each(|_| batch.keep());
            return Ok(());
        };
        if let Some(column) = self.corrupt_record.and_then(|index| self.columns.get_mut(index)) {
            column.truncate(first);
            for _ in first..self.rows {
                column.push_text(text);
            }
        }
        // The last row is the one that the mode decides about; those before it go the same way.
        if self.mode == ParseMode::DropMalformed {
            self.rows = first + 1;
            self.columns.iter_mut().for_each(|column| column.truncate(first + 1));
        } else {
            (first + 1..self.rows).for_each(|_| batch.keep());
        }
        self.reject(batch, error, reason)
    }

    /// Decodes a column of texts, a record each: strings or binary values. A NULL or blank text gives a NULL record.
    ///
    /// # Errors
    /// [`ErrorCode::MalformedRecord`] under `FAILFAST`, naming what `origin` knows of the record.
    pub fn decode_values(&mut self, values: &dyn Array, origin: &Origin) -> Result<Decoded> {
        match values.data_type() {
            ArrowType::Utf8 => {
                let values = values.as_string::<i32>();
                self.decode_each(
                    values.iter().map(|text| text.map(str::as_bytes)),
                    values.value_data().len(),
                    true,
                    origin,
                )
            }
            ArrowType::Binary => {
                let values = values.as_binary::<i32>();
                let bytes = values.value_data();
                let valid = simdutf8::basic::from_utf8(bytes).is_ok();
                self.decode_each(values.iter(), bytes.len(), valid, origin)
            }
            other => {
                let binary = matches!(other, ArrowType::LargeBinary | ArrowType::BinaryView);
                let plain = if binary { ArrowType::Binary } else { ArrowType::Utf8 };
                if !arrow::compute::can_cast_types(other, &plain) {
                    return Err(Error::new(
                        ErrorCode::DatatypeMismatch,
                        format!("from_json reads STRING or BINARY, not {other}"),
                    ));
                }
                let plain: ArrayRef = arrow::compute::cast(values, &plain)?;
                self.decode_values(&plain, origin)
            }
        }
    }

    /// `valid` says that the values are UTF-8 as a whole; a split in the middle of a letter is caught per value.
    fn decode_each<'a>(
        &mut self,
        values: impl Iterator<Item = Option<&'a [u8]>>,
        bytes: usize,
        valid: bool,
        origin: &Origin,
    ) -> Result<Decoded> {
        self.begin(bytes)?;
        let mut batch = Batch::default();
        let mut absent: Vec<usize> = Vec::new();
        for (index, value) in values.enumerate() {
            let Some(value) = value.filter(|value| !is_blank(value)) else {
                absent.push(self.rows);
                self.push_nulls();
                batch.keep();
                continue;
            };
            let whole = valid && value.first().is_none_or(|byte| byte & 0xc0 != 0x80) && ends_whole(value);
            let outcome = if whole { self.row(value) } else { self.row(String::from_utf8_lossy(value).as_bytes()) };
            if let Err(reason) = outcome {
                self.reject(&mut batch, |reason| malformed_value(origin, index, reason), reason)?;
            } else {
                batch.keep();
            }
        }
        let null_record = (!absent.is_empty()).then(|| {
            let mut present = vec![true; self.rows];
            for row in absent {
                present[row] = false;
            }
            NullBuffer::from(present)
        });
        self.finish(batch, null_record)
    }

    fn begin(&mut self, bytes: usize) -> Result<()> {
        check_size(bytes)?;
        self.rows = 0;
        for column in &mut self.columns {
            column.begin(bytes * 3)?;
        }
        Ok(())
    }

    fn finish(&mut self, batch: Batch, null_record: Option<NullBuffer>) -> Result<Decoded> {
        let columns = self.columns.iter_mut().map(Column::finish).collect::<Result<_>>()?;
        Ok(Decoded {
            columns,
            rows: self.rows,
            null_record,
            kept: batch.kept,
            rejected: Rejected { malformed: batch.malformed },
        })
    }

    /// Does what the mode says with the row just added from a malformed record.
    #[cold]
    fn reject(&mut self, batch: &mut Batch, error: impl FnOnce(&str) -> Error, reason: &'static str) -> Result<()> {
        match self.mode {
            ParseMode::FailFast => return Err(error(reason)),
            ParseMode::Permissive => batch.keep(),
            ParseMode::DropMalformed => {
                self.rows -= 1;
                self.columns.iter_mut().for_each(|column| column.truncate(self.rows));
                batch.skip();
            }
        }
        batch.malformed += 1;
        Ok(())
    }

    fn push_nulls(&mut self) {
        self.columns.iter_mut().for_each(Column::push_null);
        self.rows += 1;
    }

    /// Adds the row of a record, and says why when it is malformed.
    #[inline]
    fn row(&mut self, record: &[u8]) -> std::result::Result<(), &'static str> {
        self.record += 1;
        let outcome = self.object(record);
        let row = self.rows;
        let reason = match outcome {
            Ok((set, reason)) => {
                if set < self.columns.len() {
                    for column in self.columns.iter_mut().filter(|column| column.rows() == row) {
                        column.push_null();
                    }
                }
                reason
            }
            Err(Syntax(reason)) => {
                for column in &mut self.columns {
                    column.truncate(row);
                    column.push_null();
                }
                Some(reason)
            }
        };
        self.rows += 1;
        let Some(reason) = reason else { return Ok(()) };
        if let Some(column) = self.corrupt_record.and_then(|index| self.columns.get_mut(index)) {
            column.truncate(row);
            column.push_text(record);
        }
        Err(reason)
    }

    /// Reads the fields of a record: how many columns have a value, and why a field is bad if one is.
    #[inline]
    fn object(&mut self, record: &[u8]) -> std::result::Result<(usize, Option<&'static str>), Syntax> {
        let mut cursor = Cursor::new(record);
        cursor.skip_blank();
        if cursor.peek() != b'{' {
            return Err(Syntax("the record is not a JSON object"));
        }
        cursor.step();
        cursor.skip_blank();
        let (mut set, mut reason) = (0, None);
        if cursor.peek() == b'}' {
            return Ok((set, reason));
        }
        let mut place = 0;
        loop {
            let index = self.keys.read(&mut cursor, &mut place, &mut self.scratch)?;
            if index == UNWANTED {
                cursor.value(1)?;
            } else {
                let column = &mut self.columns[index];
                if self.set_by[index] == self.record {
                    column.truncate(self.rows);
                } else {
                    self.set_by[index] = self.record;
                    set += 1;
                }
                if !fields::read(&mut cursor, column, &mut self.formats, &mut self.scratch)? {
                    // A struct with a bad field inside has been added as far as it is good.
                    if column.rows() == self.rows {
                        column.push_null();
                    }
                    reason = Some("a value does not fit the type of its field");
                }
            }
            if !cursor.more(b'}')? {
                return Ok((set, reason));
            }
        }
    }
}

/// What a call has done with its records.
#[derive(Default)]
struct Batch {
    records: u32,
    malformed: u64,
    kept: Option<Vec<u32>>,
}

impl Batch {
    #[inline]
    fn keep(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.push(self.records);
        }
        self.records += 1;
    }

    fn skip(&mut self) {
        self.kept.get_or_insert_with(|| (0..self.records).collect());
        self.records += 1;
    }
}

/// The objects of an array.
fn elements(text: &[u8]) -> std::result::Result<Vec<&[u8]>, Syntax> {
    let mut cursor = Cursor::new(text);
    cursor.skip_blank();
    cursor.enter(1)?;
    let mut elements = Vec::new();
    if cursor.peek() == b']' {
        return Ok(elements);
    }
    loop {
        if cursor.peek() != b'{' {
            return Err(Syntax("an array's element is no object"));
        }
        elements.push(cursor.value(1)?);
        if !cursor.more(b']')? {
            return Ok(elements);
        }
    }
}

#[inline]
fn is_blank(record: &[u8]) -> bool {
    record.first() != Some(&b'{') && record.iter().all(|byte| *byte <= b' ')
}

/// Whether a piece of a valid text ends at the end of a letter.
#[inline]
fn ends_whole(value: &[u8]) -> bool {
    value.last().is_none_or(u8::is_ascii) || std::str::from_utf8(value).is_ok()
}
