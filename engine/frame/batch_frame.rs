//! [`BatchFrame`]: the rows of one batch, as `foreach_batch` is given them.
//!
//! Comes in: output batches. Goes out: rows, counts, text. Fails: rows that do not print.

use crate::error::Result;
use crate::functions;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

/// A bounded table: the output rows of one batch.
#[derive(Debug, Clone)]
pub struct BatchFrame {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl BatchFrame {
    pub(super) fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { schema, batches }
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows.
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// Number of rows.
    pub fn count(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// The first `rows` rows as Spark's `show` prints them, in UTC.
    ///
    /// # Errors
    /// Columns of a type that has no text.
    pub fn show_string(&self, rows: usize) -> Result<String> {
        functions::show::show(&self.batches, &self.schema, rows, 20, chrono_tz::Tz::UTC)
    }
}
