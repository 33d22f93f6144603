//! Decoding: a source's chunk becomes the columns that a branch reads.
//!
//! Comes in: a [`Chunk`]. Goes out: a [`Scanned`] batch in the order of the branch's [`Scan`]. Fails: malformed records under FAILFAST.
//! One per worker: decoders keep their dictionaries from chunk to chunk.

use crate::decode::{JsonDecoder, LineDecoder, Wanted};
use crate::error::{Error, Result};
use crate::plan::scan::{From, Scan};
use crate::plan::spark_function::Kind;
use crate::source::Chunk;
use crate::source::provider::LineFormat;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};

/// Decoder of one branch.
pub struct ScanExec {
    scan: Scan,
    lines: Option<LineDecoder>,
    json: Vec<JsonDecoder>,
}

/// A decoded chunk.
pub struct Scanned {
    /// The columns.
    pub batch: RecordBatch,
    /// Rows read from the source, dropped malformed ones included.
    pub input_rows: u64,
    /// Records that were malformed.
    pub malformed: u64,
}

impl ScanExec {
    /// A decoder for `scan`, given the format of the source's lines if it has any.
    pub fn new(scan: &Scan, format: Option<&LineFormat>) -> Result<Self> {
        let wanted: Vec<Wanted> = scan
            .projection
            .iter()
            .map(|source| {
                let column = scan.columns.iter().find(|c| c.from == From::Source(*source));
                let parsed = scan.json.iter().any(|j| j.source == *source);
                Wanted { field: *source, dictionary: column.is_some_and(|c| c.dictionary) && !parsed }
            })
            .collect();
        let lines = format.map(|format| LineDecoder::new(format, &wanted)).transpose()?;
        let mut json = Vec::new();
        for (index, column) in scan.json.iter().enumerate() {
            let Kind::FromJson { schema, .. } = &column.function.kind else {
                return Err(Error::internal("a JSON column without from_json"));
            };
            let wanted: Vec<Wanted> = scan
                .columns
                .iter()
                .filter_map(|c| match c.from {
                    From::Json { column, field } if column == index => Some(Wanted { field, dictionary: c.dictionary }),
                    _ => None,
                })
                .collect();
            json.push(JsonDecoder::new(schema, &wanted, column.function.json_options()?)?);
        }
        Ok(Self { scan: scan.clone(), lines, json })
    }

    /// Decodes a chunk.
    pub fn decode(&mut self, chunk: Chunk) -> Result<Scanned> {
        let (sources, origin, rows, input_rows, mut malformed) = match chunk {
            Chunk::Lines(lines) => {
                let decoder = self
                    .lines
                    .as_mut()
                    .ok_or_else(|| Error::internal("undecoded lines from a source without a format"))?;
                let (decoded, origin) = decoder.decode(lines)?;
                // Dropped records were read too; decoders leave rows out for no other reason.
                let dropped = if decoded.kept.is_some() { decoded.rejected.malformed } else { 0 };
                let input = decoded.rows as u64 + dropped;
                (decoded.columns, origin, decoded.rows, input, decoded.rejected.malformed)
            }
            Chunk::Columns { batch, origin } => {
                (batch.columns().to_vec(), origin, batch.num_rows(), batch.num_rows() as u64, 0)
            }
            Chunk::Deferred(read) => {
                let (batch, origin) = read()?;
                (batch.columns().to_vec(), origin, batch.num_rows(), batch.num_rows() as u64, 0)
            }
        };
        let source_column = |index: usize| -> Result<&ArrayRef> {
            let position = self.scan.projection.iter().position(|p| *p == index);
            position
                .and_then(|p| sources.get(p))
                .ok_or_else(|| Error::internal(format!("the source did not give its column {index}")))
        };
        let mut parsed: Vec<std::vec::IntoIter<ArrayRef>> = Vec::new();
        for (decoder, column) in self.json.iter_mut().zip(&self.scan.json) {
            let decoded = decoder.decode_values(source_column(column.source)?.as_ref(), &origin)?;
            malformed += decoded.rejected.malformed;
            parsed.push(decoded.columns.into_iter());
        }
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.scan.columns.len());
        for column in &self.scan.columns {
            columns.push(match column.from {
                From::Source(index) => source_column(index)?.clone(),
                From::Json { column, .. } => parsed
                    .get_mut(column)
                    .and_then(Iterator::next)
                    .ok_or_else(|| Error::internal("a decoder gave fewer columns than asked for"))?,
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.scan.schema.clone(), columns, &options)?;
        Ok(Scanned { batch, input_rows, malformed })
    }
}
