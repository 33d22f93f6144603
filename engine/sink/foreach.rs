//! User code as a sink, row by row: Spark's `ForeachWriter`.
//!
//! Comes in: the output rows of a batch. Goes out: for each batch `open(partition_id, epoch_id)`, `process` for every row if it said
//! true, then `close`. A batch is one partition, number 0, and one writer serves every batch. A continuous query calls them for
//! every small read, so several times for one epoch, which `open` must then not take for a repetition. At least once: after a crash
//! between `close` and the commit, the batch comes again under the same epoch; a writer that keeps partition and epoch with
//! what it writes can answer `false` to one it has. Fails: what the writer fails with, which `close` is told first; a panic in it
//! ends the query and nothing else.

use crate::batch::continuous::Flow;
use crate::error::{Error, ErrorCode, Result};
use crate::functions::to_json::{ToJsonOptions, to_json};
use crate::sink::{Prepared, Settled, Sink, Staged, Writer};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray};
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, SchemaRef,
    TimestampMicrosecondType,
};
use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use uuid::Uuid;

/// Writes rows one by one. It is called off the async threads, so it may block.
///
/// A closure that takes a [`Row`] is a writer as well, which takes every row.
pub trait ForeachWriter: Send {
    /// A batch begins. False passes over its rows, because they are already written.
    ///
    /// # Errors
    /// Whatever makes writing impossible; `close` is not called then.
    fn open(&mut self, _partition_id: i64, _epoch_id: u64) -> Result<bool> {
        Ok(true)
    }

    /// Writes a row.
    ///
    /// # Errors
    /// Whatever makes writing impossible.
    fn process(&mut self, row: &Row<'_>) -> Result<()>;

    /// The batch ends, with what `process` failed with, if it did.
    ///
    /// # Errors
    /// Whatever keeps the rows from being written.
    fn close(&mut self, _error: Option<&Error>) -> Result<()> {
        Ok(())
    }
}

impl<F: FnMut(&Row<'_>) -> Result<()> + Send> ForeachWriter for F {
    fn process(&mut self, row: &Row<'_>) -> Result<()> {
        self(row)
    }
}

/// A row of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    batch: &'a RecordBatch,
    index: usize,
}

impl<'a> Row<'a> {
    /// Row `index` of `batch`.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidExpression`] where the batch is shorter.
    pub fn new(batch: &'a RecordBatch, index: usize) -> Result<Self> {
        if index >= batch.num_rows() {
            let rows = batch.num_rows();
            return Err(Error::new(ErrorCode::InvalidExpression, format!("there is no row {index} of {rows}")));
        }
        Ok(Self { batch, index })
    }

    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        self.batch.schema()
    }

    /// A column's value by name, in any case; None for NULL.
    ///
    /// # Errors
    /// [`ErrorCode::UnresolvedColumn`], or [`ErrorCode::DatatypeMismatch`] for a column of another type.
    pub fn get<T: FromColumn<'a>>(&self, name: &str) -> Result<Option<T>> {
        let at = self.position(name)?;
        let column = self.batch.column(at);
        if column.is_null(self.index) {
            return Ok(None);
        }
        T::from_column(column, self.index).map(Some).ok_or_else(|| {
            let (found, wanted) = (column.data_type(), T::NAME);
            Error::new(ErrorCode::DatatypeMismatch, format!("the column {name:?} is {found} and was read as {wanted}"))
        })
    }

    /// Whether a column's value is NULL.
    ///
    /// # Errors
    /// [`ErrorCode::UnresolvedColumn`].
    pub fn is_null(&self, name: &str) -> Result<bool> {
        Ok(self.batch.column(self.position(name)?).is_null(self.index))
    }

    /// The row as JSON, as `to_json(struct(*))` in UTC writes it.
    ///
    /// # Errors
    /// A column of a type that has no JSON.
    pub fn json(&self) -> Result<String> {
        let row: ArrayRef = Arc::new(StructArray::from(self.batch.slice(self.index, 1)));
        Ok(to_json(&row, &ToJsonOptions::default())?.value(0).to_string())
    }

    fn position(&self, name: &str) -> Result<usize> {
        let schema = self.batch.schema_ref();
        let named = |test: &dyn Fn(&str) -> bool| schema.fields().iter().position(|field| test(field.name()));
        named(&|other| other == name).or_else(|| named(&|other| other.eq_ignore_ascii_case(name))).ok_or_else(|| {
            let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            Error::new(
                ErrorCode::UnresolvedColumn,
                format!("the row has no column {name:?}; it has {}", names.join(", ")),
            )
        })
    }
}

/// A type that a [`Row`] gives values as.
pub trait FromColumn<'a>: Sized {
    /// The type's name for messages.
    const NAME: &'static str;

    /// The value of a row that is not NULL; None where the column has another type.
    fn from_column(column: &'a ArrayRef, index: usize) -> Option<Self>;
}

macro_rules! from_column {
    ($($rust:ty, $name:literal, |$column:ident, $index:ident| $value:expr;)*) => {$(
        impl<'a> FromColumn<'a> for $rust {
            const NAME: &'static str = $name;
            fn from_column($column: &'a ArrayRef, $index: usize) -> Option<Self> {
                $value
            }
        }
    )*};
}
from_column! {
    bool, "BOOLEAN", |column, index| Some(column.as_boolean_opt()?.value(index));
    i8, "TINYINT", |column, index| Some(column.as_primitive_opt::<Int8Type>()?.value(index));
    i16, "SMALLINT", |column, index| Some(column.as_primitive_opt::<Int16Type>()?.value(index));
    i32, "INT", |column, index| Some(column.as_primitive_opt::<Int32Type>()?.value(index));
    i64, "BIGINT", |column, index| Some(column.as_primitive_opt::<Int64Type>()?.value(index));
    f32, "FLOAT", |column, index| Some(column.as_primitive_opt::<Float32Type>()?.value(index));
    f64, "DOUBLE", |column, index| Some(column.as_primitive_opt::<Float64Type>()?.value(index));
    &'a str, "STRING", |column, index| Some(column.as_string_opt::<i32>()?.value(index));
    String, "STRING", |column, index| <&str>::from_column(column, index).map(str::to_string);
    &'a [u8], "BINARY", |column, index| Some(column.as_binary_opt::<i32>()?.value(index));
    NaiveDate, "DATE", |column, index| column.as_primitive_opt::<Date32Type>()?.value_as_date(index);
    DateTime<Utc>, "TIMESTAMP", |column, index| match column.data_type() {
        DataType::Timestamp(_, _) => {
            DateTime::from_timestamp_micros(column.as_primitive_opt::<TimestampMicrosecondType>()?.value(index))
        }
        _ => None,
    };
}

/// The sink that calls a writer for every row.
pub struct ForeachSink {
    /// None while it writes.
    writer: Option<Box<dyn ForeachWriter>>,
    staged: Staged,
}

impl ForeachSink {
    /// A sink into `writer`.
    pub fn new(writer: impl ForeachWriter + 'static) -> Self {
        Self { writer: Some(Box::new(writer)), staged: Staged::default() }
    }
}

#[async_trait]
impl Sink for ForeachSink {
    fn description(&self) -> String {
        "ForeachWriterTable".to_string()
    }

    fn begin_continuous(&mut self, _flow: Flow) -> Result<()> {
        Ok(())
    }

    async fn open(&mut self, _writer: &Writer) -> Result<()> {
        Ok(())
    }

    async fn stage(&mut self, batch: u64, attempt: Uuid, rows: &[RecordBatch]) -> Result<serde_json::Value> {
        self.staged.put(batch, attempt, rows);
        Ok(serde_json::Value::Null)
    }

    async fn publish(&mut self, prepared: &Prepared) -> Result<()> {
        let rows = self.staged.take(prepared)?;
        let batch = prepared.batch;
        let mut writer =
            self.writer.take().ok_or_else(|| Error::internal("the foreach writer was lost in a failed batch"))?;
        let written = tokio::task::spawn_blocking(move || {
            let written = write(writer.as_mut(), batch, &rows);
            (writer, written)
        });
        let (writer, written) = written.await.map_err(|error| {
            Error::caused_by(ErrorCode::UserCode, format!("the foreach writer did not finish batch {batch}"), error)
        })?;
        self.writer = Some(writer);
        written.map_err(|error| error.within(format!("foreach, batch {batch}")))
    }

    async fn settle(&mut self, _prepared: &Prepared) -> Result<Settled> {
        Ok(Settled::Absent)
    }
}

fn write(writer: &mut dyn ForeachWriter, batch: u64, rows: &[RecordBatch]) -> Result<()> {
    if !guarded("open", || writer.open(0, batch))? {
        return guarded("close", || writer.close(None));
    }
    let processed = guarded("process", || {
        for rows in rows {
            for index in 0..rows.num_rows() {
                writer.process(&Row { batch: rows, index })?;
            }
        }
        Ok(())
    });
    let closed = guarded("close", || writer.close(processed.as_ref().err()));
    processed.and(closed)
}

/// Calls the writer, whose panics are failures with their words.
fn guarded<T>(call: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        Err(Error::new(ErrorCode::UserCode, format!("{call} panicked: {text}")))
    })
}

#[cfg(test)]
mod tests;
