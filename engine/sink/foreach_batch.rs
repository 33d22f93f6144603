//! User code as a sink: a function that is given every batch.
//!
//! Comes in: an async function of the output rows, their schema and the batch number. Goes out: whatever it does.
//! At least once: after a crash between the function's end and the commit, it is called again with the same batch number
//! and rows of the same input. To have it exactly once, write batch number and rows in one transaction of the target and
//! skip a batch number that is already there, or overwrite what is kept under it. Fails: what the function fails with; a
//! panic in it ends the query and nothing else.

use crate::error::{Error, ErrorCode, Result};
use crate::sink::{Prepared, Settled, Sink, Staged, Writer};
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use uuid::Uuid;

/// What is called for every batch: rows, their schema, batch number.
pub type BatchFunction = Arc<dyn Fn(Vec<RecordBatch>, SchemaRef, u64) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// The sink that calls a function.
pub struct ForeachBatchSink {
    function: BatchFunction,
    schema: SchemaRef,
    staged: Staged,
}

impl ForeachBatchSink {
    /// A sink that calls `function`.
    pub fn new(function: BatchFunction) -> Self {
        Self { function, schema: Arc::new(Schema::empty()), staged: Staged::default() }
    }
}

#[async_trait]
impl Sink for ForeachBatchSink {
    fn description(&self) -> String {
        "ForeachBatchSink".to_string()
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
        let (function, schema, batch) = (self.function.clone(), self.schema.clone(), prepared.batch);
        // The function may panic before it returns its future as well as in it.
        let call = async move { function(rows, schema, batch).await };
        match AssertUnwindSafe(call).catch_unwind().await {
            Ok(done) => done.map_err(|error| error.within(format!("foreachBatch, batch {batch}"))),
            Err(panic) => Err(Error::new(
                ErrorCode::UserCode,
                format!("the foreachBatch function panicked in batch {batch}: {}", words(&*panic)),
            )),
        }
    }

    async fn settle(&mut self, _prepared: &Prepared) -> Result<Settled> {
        Ok(Settled::Absent)
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests;
