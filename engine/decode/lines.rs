//! The decoder of a file source's chunks, whatever their syntax, with the columns that the files' directories give.
//!
//! Comes in: a source's [`LineFormat`], the columns wanted of it, and its [`Lines`]. Goes out: [`Decoded`] and where it came from.
//! Fails: as the syntax's decoder.

use super::{CsvDecoder, Decoded, JsonDecoder, TextDecoder, Wanted};
use crate::error::{Error, Result};
use crate::source::provider::{LineFormat, Syntax};
use crate::source::{Lines, Origin, PartitionValues};
use crate::types::StructType;
use arrow::array::ArrayRef;
use arrow::datatypes::DataType as ArrowType;
use datafusion::common::ScalarValue;

/// Decodes the chunks of a source of undecoded records. Keeps its dictionaries from chunk to chunk.
#[derive(Debug)]
pub struct LineDecoder {
    format: LineFormat,
    wanted: Vec<Wanted>,
    /// One decoder per set of columns that directories give, which is one in all but odd cases.
    layouts: Vec<Layout>,
}

#[derive(Debug)]
struct Layout {
    /// The columns that directories give.
    given: Vec<usize>,
    syntax: Decoder,
    /// Where each wanted column comes from.
    columns: Vec<From>,
}

#[derive(Debug, Clone, Copy)]
enum From {
    /// The decoder's column.
    Decoded(usize),
    /// A directory's name: column of the schema, as dictionary codes or not.
    Given { field: usize, dictionary: bool },
}

#[derive(Debug)]
enum Decoder {
    Json(Box<JsonDecoder>),
    Csv(Box<CsvDecoder>),
    Text(TextDecoder),
}

impl LineDecoder {
    /// A decoder of the wanted columns.
    ///
    /// # Errors
    /// What the syntax says of schema and options.
    pub fn new(format: &LineFormat, wanted: &[Wanted]) -> Result<Self> {
        let mut decoder = Self { format: format.clone(), wanted: wanted.to_vec(), layouts: Vec::new() };
        // A text file has one column; those that its directories give are known with the first chunk.
        if !matches!(format.syntax, Syntax::Text(_)) {
            decoder.layout(&[])?;
        }
        Ok(decoder)
    }

    /// Reads and decodes a chunk.
    ///
    /// # Errors
    /// A file that cannot be read, a malformed record under `FAILFAST`.
    pub fn decode(&mut self, lines: Lines) -> Result<(Decoded, Origin)> {
        let (bytes, offset) = (lines.load)()?;
        let origin = Origin::File { path: lines.path, offset };
        let given: Vec<usize> = match lines.partition.as_deref() {
            None => Vec::new(),
            Some(values) => values.columns.iter().map(|(index, _)| *index).collect(),
        };
        let layout = self.layout(&given)?;
        let mut decoded = match &mut layout.syntax {
            Decoder::Json(decoder) => decoder.decode_lines(&bytes, &origin)?,
            Decoder::Csv(decoder) => decoder.decode_lines(&bytes, &origin)?,
            Decoder::Text(decoder) => decoder.decode_lines(&bytes)?,
        };
        if let Some(values) = lines.partition.as_deref() {
            let columns = layout.columns.iter().map(|from| from.column(&decoded, values));
            decoded.columns = columns.collect::<Result<_>>()?;
        }
        Ok((decoded, origin))
    }

    fn layout(&mut self, given: &[usize]) -> Result<&mut Layout> {
        let at = match self.layouts.iter().position(|layout| layout.given == given) {
            Some(at) => at,
            None => {
                self.layouts.push(Layout::new(&self.format, &self.wanted, given)?);
                self.layouts.len() - 1
            }
        };
        self.layouts.get_mut(at).ok_or_else(|| Error::internal("a decoder is not where it was put"))
    }
}

impl Layout {
    fn new(format: &LineFormat, wanted: &[Wanted], given: &[usize]) -> Result<Self> {
        // The file has the other columns, in their order.
        let inside: Vec<usize> = (0..format.schema.fields.len()).filter(|index| !given.contains(index)).collect();
        let fields = inside.iter().filter_map(|index| format.schema.fields.get(*index).cloned());
        let schema = StructType { fields: fields.collect() };
        let (mut columns, mut decoded) = (Vec::new(), Vec::new());
        for want in wanted {
            match inside.iter().position(|index| *index == want.field) {
                Some(field) => {
                    columns.push(From::Decoded(decoded.len()));
                    decoded.push(Wanted { field, dictionary: want.dictionary });
                }
                None => columns.push(From::Given { field: want.field, dictionary: want.dictionary }),
            }
        }
        let syntax = match &format.syntax {
            Syntax::Json(options) => Decoder::Json(Box::new(JsonDecoder::new(&schema, &decoded, options.clone())?)),
            Syntax::Csv(options) => Decoder::Csv(Box::new(CsvDecoder::new(&schema, &decoded, options.clone())?)),
            Syntax::Text(records) => Decoder::Text(TextDecoder::new(&decoded, records.clone())?),
        };
        Ok(Self { given: given.to_vec(), syntax, columns })
    }
}

impl From {
    fn column(self, decoded: &Decoded, values: &PartitionValues) -> Result<ArrayRef> {
        match self {
            From::Decoded(at) => decoded
                .columns
                .get(at)
                .cloned()
                .ok_or_else(|| Error::internal("a decoder gave fewer columns than asked for")),
            From::Given { field, dictionary } => {
                let value = values.get(field).ok_or_else(|| Error::internal("a directory's column has no value"))?;
                repeat(value, dictionary, decoded.rows)
            }
        }
    }
}

/// A column of one value.
pub(crate) fn repeat(value: &ScalarValue, dictionary: bool, rows: usize) -> Result<ArrayRef> {
    if dictionary && matches!(value, ScalarValue::Utf8(_)) {
        let coded = ScalarValue::Dictionary(Box::new(ArrowType::UInt32), Box::new(value.clone()));
        return Ok(coded.to_array_of_size(rows)?);
    }
    Ok(value.to_array_of_size(rows)?)
}
