//! What can be asked of a frame without a stream in it: its rows, at once.
//!
//! Comes in: a frame over tables. Goes out: rows, counts, text. Fails: frames over streams, and what reading and expressions fail with.

use super::data_frame::DataFrame;
use super::functions::count_all;
use crate::error::{Error, ErrorCode, Result};
use crate::functions;
use crate::plan::nullness::marked;
use crate::session::Session;
use crate::source::local::LocalRelation;
use crate::source::range::Range;
use crate::table;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use std::sync::Arc;

impl DataFrame {
    /// The table of these rows.
    ///
    /// # Errors
    /// Batches whose columns cannot be cast to those of `schema`.
    pub fn from_batches(session: &Session, schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<Self> {
        let schema = nullable(&schema);
        let conforming = batches.iter().map(|batch| table::conform(batch, &schema));
        let batches = conforming.collect::<Result<Vec<RecordBatch>>>()?;
        Self::from_table(session, Arc::new(LocalRelation::new(schema, batches)))
    }

    /// The numbers from `start` to before `end`, `step` apart, in a column `id`; they are made as they are read.
    ///
    /// # Errors
    /// A step of 0.
    pub fn range(session: &Session, start: i64, end: i64, step: i64) -> Result<Self> {
        if step == 0 {
            return Err(Error::new(ErrorCode::InvalidOption, "range: the step must not be 0"));
        }
        let distance = if step > 0 { i128::from(end) - i128::from(start) } else { i128::from(start) - i128::from(end) };
        let step_size = i128::from(step).abs();
        let rows = ((distance + step_size - 1) / step_size).max(0);
        let rows = i64::try_from(rows).map_err(|_| Error::new(ErrorCode::InvalidOption, "range: too many rows"))?;
        let schema: SchemaRef = Arc::new(Schema::new(vec![marked(Field::new("id", DataType::Int64, true))]));
        Self::from_table(session, Arc::new(Range::new(schema, start, step, rows)))
    }

    /// The rows.
    ///
    /// ```
    /// # use tidemill::prelude::*;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let session = Session::builder().build().await?;
    /// let even = DataFrame::range(&session, 0, 10, 1)?.filter((col("id") % 2).eq(0))?;
    /// assert_eq!(even.count().await?, 5);
    /// # Ok::<(), tidemill::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// `UnsupportedOperation` for a frame over a stream; what reading and expressions fail with.
    pub async fn collect(&self) -> Result<Vec<RecordBatch>> {
        table::collect(self.session(), self.plan()).await
    }

    /// Number of rows.
    ///
    /// # Errors
    /// As [`DataFrame::collect`].
    pub async fn count(&self) -> Result<u64> {
        let counted = self.agg([count_all().alias("count")])?.collect().await?;
        let count = counted.first().and_then(|batch| batch.column(0).as_primitive_opt::<Int64Type>());
        let count = count.filter(|counts| counts.len() == 1).map(|counts| counts.value(0));
        count.and_then(|count| u64::try_from(count).ok()).ok_or_else(|| Error::internal("count() gave no count"))
    }

    /// Whether there is no row.
    ///
    /// # Errors
    /// As [`DataFrame::collect`].
    pub async fn is_empty(&self) -> Result<bool> {
        Ok(self.limit(1).collect().await?.iter().all(|batch| batch.num_rows() == 0))
    }

    /// The first `rows` rows as Spark's `show` prints them: cells of more than `truncate` characters are cut, unless it is 0.
    ///
    /// # Errors
    /// As [`DataFrame::collect`]; columns of a type that has no text.
    pub async fn show_string(&self, rows: usize, truncate: usize) -> Result<String> {
        // One more, to tell whether there is more.
        let first = self.limit(rows as u64 + 1).collect().await?;
        let time_zone = self.session().conf().environment()?.time_zone;
        functions::show::show(&first, self.schema(), rows, truncate, time_zone)
    }

    /// Prints the first 20 rows to standard output.
    ///
    /// # Errors
    /// As [`DataFrame::show_string`].
    pub async fn show(&self) -> Result<()> {
        let text = self.show_string(20, 20).await?;
        println!("{text}");
        Ok(())
    }

    /// The plan that computes the table.
    ///
    /// # Errors
    /// As [`DataFrame::collect`].
    pub async fn explain(&self) -> Result<String> {
        table::explain(self.session(), self.plan()).await
    }
}

/// Batches that are read again have columns that may be NULL, as every column of a frame; those that are not are marked.
fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.is_nullable() {
        true => field.as_ref().clone(),
        false => marked(field.as_ref().clone().with_nullable(true)),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
