//! Bytes to columns: JSON, CSV and text records, decoded straight into the Arrow columns that a query reads.
//!
//! Comes in: a schema, the columns wanted of it, and bytes (lines of a file, or a column of payloads). Goes out:
//! [`Decoded`]: Arrow columns in the order wanted, and how many records were malformed. What a malformed record does is the
//! [`ParseMode`]; only `FAILFAST` fails, and its error names the record's topic, partition and offset, or its file and line.

pub(crate) mod base64;
mod column;
mod csv;
mod formats;
mod infer;
mod interner;
mod json;
mod lines;
mod number;
mod options;
pub(crate) mod pattern;
mod records;
mod scan;
mod text;
pub(crate) mod timestamp;
pub(crate) mod zone;

pub use csv::{CsvDecoder, CsvOptions};
pub(crate) use csv::{first_csv_record, split_record};
pub(crate) use infer::{CsvInference, Inference, JsonInference, JsonRules, Sampling};
pub use json::{JsonDecoder, JsonOptions};
pub use lines::LineDecoder;
pub(crate) use lines::repeat;
pub(crate) use number::decimal as parse_decimal;
pub(crate) use records::record_ends;
pub use records::{QuoteRules, Records};
pub use text::TextDecoder;

use crate::error::{Error, ErrorCode, Result};
use crate::source::Origin;
use crate::types::DataType;
use arrow::array::ArrayRef;
use arrow::buffer::NullBuffer;
use chrono_tz::Tz;
use datafusion::common::ScalarValue;
use std::io::Read;
use std::str::FromStr;

/// What a malformed record does, as Spark's option `mode` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ParseMode {
    /// Its bad fields become NULL, or the whole of it when it does not parse.
    #[default]
    Permissive,
    /// It gives no row, and is counted.
    DropMalformed,
    /// It ends the query.
    FailFast,
}

impl FromStr for ParseMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_uppercase().as_str() {
            "PERMISSIVE" => Ok(ParseMode::Permissive),
            "DROPMALFORMED" => Ok(ParseMode::DropMalformed),
            "FAILFAST" => Ok(ParseMode::FailFast),
            _ => Err(Error::new(
                ErrorCode::InvalidOption,
                format!("mode {text:?} is none of PERMISSIVE, DROPMALFORMED and FAILFAST"),
            )),
        }
    }
}

/// A column that the query reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Its index in the schema.
    pub field: usize,
    /// For a string column: give `Dictionary(UInt32, Utf8)` instead of `Utf8`. The codes mean something within one
    /// [`Decoded`] only.
    pub dictionary: bool,
}

impl Wanted {
    /// Every column of a schema of `fields` columns, none as a dictionary.
    pub fn all(fields: usize) -> Vec<Wanted> {
        (0..fields).map(|field| Wanted { field, dictionary: false }).collect()
    }
}

/// Records that were not what the schema says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rejected {
    /// Records dropped, or given with NULLs in place of what did not parse.
    pub malformed: u64,
}

/// The columns of some records.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// One array per wanted column, in that order.
    pub columns: Vec<ArrayRef>,
    /// Their length.
    pub rows: usize,
    /// For `from_json`: which rows are a struct at all. A NULL or empty input is a NULL struct, a malformed one a struct of
    /// NULLs. None when every row is a struct.
    pub null_record: Option<NullBuffer>,
    /// The records that the rows came from, when `DROPMALFORMED` left some out: indices of the input values, or for lines
    /// the position among the records of the chunk.
    pub kept: Option<Vec<u32>>,
    /// What went wrong.
    pub rejected: Rejected,
}

/// The value of a text at a type, as CSV reads it; None for a text that does not fit.
pub(crate) fn read_text(text: &str, data_type: &DataType, time_zone: Tz) -> Result<Option<ScalarValue>> {
    let mut column = column::Column::new(data_type, false);
    let mut formats = formats::Formats::new(time_zone, None, None)?;
    if csv::put(&mut column, text.as_bytes(), &mut formats, &csv::Specials::default()).is_none() {
        return Ok(None);
    }
    let array = column.finish()?;
    Ok(Some(ScalarValue::try_from_array(array.as_ref(), 0)?))
}

/// Refuses chunks whose offsets would pass 32 bits; decoders call it before they start.
fn check_size(bytes: usize) -> Result<()> {
    // Replacing invalid UTF-8 can triple a text.
    if bytes > i32::MAX as usize / 3 {
        return Err(Error::new(
            ErrorCode::MalformedRecord,
            format!("a chunk of {bytes} bytes is more than a decoder takes at once (715 MB); read smaller chunks"),
        ));
    }
    Ok(())
}

/// The lines of a chunk with their byte positions, without their line ends. A last line needs no line end.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let start = at;
        let line = match memchr::memchr(b'\n', rest) {
            Some(length) => {
                at += length + 1;
                &rest[..length]
            }
            None => {
                at = bytes.len();
                rest
            }
        };
        Some((start, line.strip_suffix(b"\r").unwrap_or(line)))
    })
}

/// The error of `FAILFAST` for a line that begins at `position` of the chunk.
fn malformed_line(origin: &Origin, bytes: &[u8], position: usize, reason: &str) -> Error {
    let line = 1 + memchr::memchr_iter(b'\n', &bytes[..position]).count() as u64;
    let place = match origin {
        Origin::File { path, offset } => match lines_before(path, *offset) {
            Ok(before) => format!("file {path}, line {}", before + line),
            // The file went away meanwhile; the byte is known all the same.
            Err(_) => format!("file {path}, byte {}", offset + position as u64),
        },
        other => record_place(other, position),
    };
    malformed(&place, reason)
}

/// Lines of a file before a byte. Counted only here, on the way to an error, because chunks are cut by bytes.
fn lines_before(path: &str, offset: u64) -> std::io::Result<u64> {
    if offset == 0 {
        return Ok(0);
    }
    let packed = crate::source::files::Compression::of(path).map_err(std::io::Error::other)?;
    if packed.is_some() {
        return Err(std::io::Error::other("the bytes are those of the text, not of the file"));
    }
    let path = crate::options::local_path(path).map_err(std::io::Error::other)?;
    let mut file = std::fs::File::open(path)?.take(offset);
    let (mut lines, mut buffer) = (0, vec![0; 64 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(lines),
            read => lines += memchr::memchr_iter(b'\n', &buffer[..read]).count() as u64,
        }
    }
}

/// The error of `FAILFAST` for record `row` of a column.
fn malformed_value(origin: &Origin, row: usize, reason: &str) -> Error {
    malformed(&record_place(origin, row), reason)
}

fn record_place(origin: &Origin, row: usize) -> String {
    match origin {
        Origin::Kafka { topic, partition, offsets } => match offsets.get(row) {
            Some(offset) => format!("topic {topic}, partition {partition}, offset {offset}"),
            None => format!("topic {topic}, partition {partition}, record {row} of the chunk"),
        },
        Origin::File { path, offset } => format!("file {path}, row {row} from byte {offset}"),
        Origin::Process => format!("row {row} of the batch"),
    }
}

fn malformed(place: &str, reason: &str) -> Error {
    Error::new(
        ErrorCode::MalformedRecord,
        format!(
            "malformed record at {place}: {reason}; the mode is FAILFAST, set mode to PERMISSIVE to get NULL instead"
        ),
    )
}
