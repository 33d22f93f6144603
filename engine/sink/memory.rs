//! A table in this process, for tests and for looking at a query's result.
//!
//! Comes in: output rows. Goes out: [`MemoryTable`], which append and update add to, batch by batch, and which complete
//! replaces. At least once after a restart: a table does not outlive its process, so no batch is known to be in it.
//! Fails: a query without a name, which the table is known by.

use crate::batch::continuous::Flow;
use crate::error::{Error, ErrorCode, Result};
use crate::sink::{OutputMode, Prepared, Settled, Sink, Staged, Writer};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::sync::Arc;
use uuid::Uuid;

/// The rows that a query has written; clones share them.
#[derive(Clone)]
pub struct MemoryTable {
    name: String,
    content: Arc<Mutex<Content>>,
}

struct Content {
    schema: SchemaRef,
    rows: Vec<RecordBatch>,
}

impl MemoryTable {
    /// An empty table named after its query.
    ///
    /// # Errors
    /// [`ErrorCode::MissingOption`] without a name.
    pub fn new(query_name: Option<&str>) -> Result<Self> {
        let Some(name) = query_name.filter(|name| !name.is_empty()) else {
            return Err(Error::new(
                ErrorCode::MissingOption,
                "queryName must be specified for memory sink; it is the name of the table",
            ));
        };
        let content = Content { schema: Arc::new(Schema::empty()), rows: Vec::new() };
        Ok(Self { name: name.to_string(), content: Arc::new(Mutex::new(content)) })
    }

    /// The table's name, which is the query's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The columns; none before the query has started.
    pub fn schema(&self) -> SchemaRef {
        self.content.lock().schema.clone()
    }

    /// The rows in the order in which they were written, empty batches left out.
    pub fn rows(&self) -> Vec<RecordBatch> {
        self.content.lock().rows.clone()
    }

    /// All rows as one batch.
    ///
    /// # Errors
    /// What Arrow fails with when they do not fit into one batch.
    pub fn concat(&self) -> Result<RecordBatch> {
        let content = self.content.lock();
        Ok(concat_batches(&content.schema, &content.rows)?)
    }

    /// A sink into this table.
    pub fn sink(&self) -> MemorySink {
        MemorySink { table: self.clone(), mode: OutputMode::Append, staged: Staged::default() }
    }
}

/// The sink into a [`MemoryTable`].
pub struct MemorySink {
    table: MemoryTable,
    mode: OutputMode,
    staged: Staged,
}

#[async_trait]
impl Sink for MemorySink {
    fn description(&self) -> String {
        "MemorySink".to_string()
    }

    fn begin_continuous(&mut self, _flow: Flow) -> Result<()> {
        Ok(())
    }

    async fn open(&mut self, writer: &Writer) -> Result<()> {
        self.mode = writer.mode;
        self.table.content.lock().schema = writer.schema.clone();
        Ok(())
    }

    async fn stage(&mut self, batch: u64, attempt: Uuid, rows: &[RecordBatch]) -> Result<serde_json::Value> {
        self.staged.put(batch, attempt, rows);
        Ok(serde_json::Value::Null)
    }

    async fn publish(&mut self, prepared: &Prepared) -> Result<()> {
        let rows = self.staged.take(prepared)?;
        let mut content = self.table.content.lock();
        if self.mode == OutputMode::Complete {
            content.rows.clear();
        }
        content.rows.extend(rows.into_iter().filter(|rows| rows.num_rows() > 0));
        Ok(())
    }

    async fn settle(&mut self, _prepared: &Prepared) -> Result<Settled> {
        Ok(Settled::Absent)
    }
}

#[cfg(test)]
mod tests;
