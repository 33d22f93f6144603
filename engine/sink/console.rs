//! Rows for a person or a pipe: Spark's tables, or one JSON object per row.
//!
//! Comes in: output rows, the options `numRows`, `truncate` and `format`. Goes out: on standard output or another
//! writer, for every batch, empty ones too, a heading and a table (of a table that is no stream, without the heading); with `format` = `json` one line
//! `{"batchId":3,"row":{...}}` per row and nothing else. At least once after a restart. Fails: a writer that fails; a
//! reader that has closed its end of the pipe is noted once and ends the output, not the query.
//!
//! # The JSON lines
//!
//! They are an interface for programs, and stay as they are: one object per row, in UTF-8, ended by a line feed, with `batchId` (a number)
//! and `row`, an object of the columns in their order. Batches come in their order; a batch without rows has no line. A batch that was
//! printed when the process died may be printed again under the same `batchId`.
//!
//! | type of the column | value |
//! |---|---|
//! | `BOOLEAN` | `true`, `false` |
//! | `TINYINT`, `SMALLINT`, `INT`, `BIGINT` | a number, all digits: `9007199254740993` |
//! | `FLOAT`, `DOUBLE` | the shortest number that reads back as the same, as Java writes it: `0.1`, `1.0E21`; the strings `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | `DECIMAL(p, s)` | a number with s digits behind the point: `12.50` |
//! | `STRING` | a string |
//! | `BINARY` | a string in Base64 |
//! | `DATE` | `"2026-01-02"` |
//! | `TIMESTAMP` | a string with microseconds and the offset of the session's zone: `"2026-01-02T03:04:05.123456Z"` |
//! | `ARRAY` | an array; elements that are NULL are `null` |
//! | `MAP` | an object; values that are NULL are `null` |
//! | `STRUCT`, `window` | an object of the fields |
//!
//! Columns and fields of structs that are NULL are left out.

use crate::batch::continuous::Flow;
use crate::error::{Error, ErrorCode, Result};
use crate::options::OptionReader;
use crate::sink::{Prepared, Settled, Sink, Staged, Writer};
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use std::io::{self, Write};
use std::sync::Arc;
use uuid::Uuid;

const RULE: &str = "-------------------------------------------";
/// Spark's defaults for rows of a table and characters of a cell.
const ROWS: usize = 20;
const CHARACTERS: usize = 20;

/// Makes a table's text of rows, their schema, the most rows to show, and the most characters of a cell (0: all).
pub type TableText = Arc<dyn Fn(&[RecordBatch], &SchemaRef, usize, usize) -> Result<String> + Send + Sync>;
/// Makes the JSON object of every row of a batch.
pub type RowsToJson = Arc<dyn Fn(&RecordBatch) -> Result<Vec<String>> + Send + Sync>;

/// How rows become text: the caller's, because it depends on the session's time zone.
#[derive(Clone)]
pub struct Renderers {
    /// For `format` = `table`.
    pub table: TableText,
    /// For `format` = `json`.
    pub json: RowsToJson,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Table { rows: usize, characters: usize },
    Json,
}

/// The console sink.
pub struct ConsoleSink {
    layout: Layout,
    renderers: Renderers,
    /// None once the reader has gone.
    output: Option<Box<dyn Write + Send>>,
    schema: SchemaRef,
    staged: Staged,
    /// Whether the rows are a table, whose text has no heading.
    table: bool,
}

impl ConsoleSink {
    /// A sink to standard output.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`] for values that are not what the options expect.
    pub fn new(options: &mut OptionReader<'_>, renderers: Renderers) -> Result<Self> {
        Self::with_output(options, renderers, Box::new(io::stdout()))
    }

    /// A sink to `output`.
    ///
    /// # Errors
    /// As [`ConsoleSink::new`].
    pub fn with_output(
        options: &mut OptionReader<'_>,
        renderers: Renderers,
        output: Box<dyn Write + Send>,
    ) -> Result<Self> {
        let rows = options.usize("numRows")?.unwrap_or(ROWS);
        let characters = options.parsed("truncate", "true, false or a number of characters", |text| {
            match text.to_ascii_lowercase().as_str() {
                "true" => Some(CHARACTERS),
                "false" => Some(0),
                number => number.parse().ok(),
            }
        })?;
        let table = Layout::Table { rows, characters: characters.unwrap_or(CHARACTERS) };
        let layout = options.parsed("format", "table or json", |text| match text.to_ascii_lowercase().as_str() {
            "table" => Some(table),
            "json" => Some(Layout::Json),
            _ => None,
        })?;
        Ok(Self {
            layout: layout.unwrap_or(table),
            renderers,
            output: Some(output),
            schema: Arc::new(Schema::empty()),
            staged: Staged::default(),
            table: false,
        })
    }

    fn text(&self, batch: u64, rows: &[RecordBatch]) -> Result<String> {
        match self.layout {
            Layout::Table { rows: most, characters } => {
                let table = (self.renderers.table)(rows, &self.schema, most, characters)?;
                if self.table {
                    return Ok(format!("{}\n\n", table.trim_end_matches('\n')));
                }
                Ok(format!("{RULE}\nBatch: {batch}\n{RULE}\n{}\n\n", table.trim_end_matches('\n')))
            }
            Layout::Json => {
                let mut text = String::new();
                for rows in rows {
                    for row in (self.renderers.json)(rows)? {
                        text.push_str(&format!("{{\"batchId\":{batch},\"row\":{row}}}\n"));
                    }
                }
                Ok(text)
            }
        }
    }
}

#[async_trait]
impl Sink for ConsoleSink {
    fn description(&self) -> String {
        "ConsoleSink".to_string()
    }

    fn begin_continuous(&mut self, _flow: Flow) -> Result<()> {
        Ok(())
    }

    fn begin_table(&mut self) {
        self.table = true;
    }

    async fn open(&mut self, writer: &Writer) -> Result<()> {
        self.schema = writer.schema.clone();
        Ok(())
    }

    async fn stage(&mut self, batch: u64, attempt: Uuid, rows: &[RecordBatch]) -> Result<serde_json::Value> {
        self.staged.put(batch, attempt, rows);
        Ok(serde_json::Value::Null)
    }

    async fn publish(&mut self, prepared: &Prepared) -> Result<()> {
        let rows = self.staged.take(prepared)?;
        let text = self.text(prepared.batch, &rows)?;
        let Some(output) = &mut self.output else { return Ok(()) };
        match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
            Ok(()) => Ok(()),
            Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => {
                tracing::warn!(batch = prepared.batch, "the console sink's reader has gone; the query goes on unseen");
                self.output = None;
                Ok(())
            }
            Err(cause) => Err(Error::caused_by(
                ErrorCode::Io,
                format!("the console sink cannot write batch {}: {cause}", prepared.batch),
                cause,
            )),
        }
    }

    async fn settle(&mut self, _prepared: &Prepared) -> Result<Settled> {
        Ok(Settled::Absent)
    }
}

#[cfg(test)]
mod tests;
