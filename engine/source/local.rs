//! Rows that are at hand: a table made in this process, or the rows of a batch.
//!
//! Comes in: record batches of one schema. Goes out: a table that is read as often as wanted. Fails: nothing.

use super::provider::SourceProvider;
use super::{Admission, Chunk, Chunks, Offset, Origin, Proposal, ReadRequest, Source};
use crate::error::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use serde_json::json;
use std::sync::Arc;

/// A table of rows at hand; clones share them.
#[derive(Debug, Clone)]
pub struct LocalRelation {
    schema: SchemaRef,
    batches: Arc<[RecordBatch]>,
}

impl LocalRelation {
    /// A table of these rows, which are of `schema`.
    pub fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { schema, batches: batches.into() }
    }
}

impl SourceProvider for LocalRelation {
    fn describe(&self) -> String {
        format!("LocalRelation[{} rows]", self.batches.iter().map(RecordBatch::num_rows).sum::<usize>())
    }

    fn create(&self) -> Result<Box<dyn Source>> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Source for LocalRelation {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn description(&self) -> String {
        self.describe()
    }

    async fn initial(&mut self) -> Result<Offset> {
        Ok(json!(0))
    }

    async fn propose(&mut self, _start: &Offset, _admission: Admission) -> Result<Proposal> {
        let end = json!(self.batches.len());
        Ok(Proposal { latest: end.clone(), end })
    }

    async fn freeze(&mut self) -> Result<()> {
        Ok(())
    }

    async fn read(&mut self, start: &Offset, end: &Offset, request: &ReadRequest) -> Result<Box<dyn Chunks>> {
        let at = |offset: &Offset| offset.as_u64().unwrap_or(0) as usize;
        let batches = self.batches.get(at(start)..at(end)).unwrap_or_default().to_vec();
        Ok(Box::new(LocalChunks { batches: batches.into_iter(), projection: request.projection.clone() }))
    }
}

struct LocalChunks {
    batches: std::vec::IntoIter<RecordBatch>,
    projection: Vec<usize>,
}

impl Chunks for LocalChunks {
    fn next(&mut self) -> Result<Option<Chunk>> {
        let Some(batch) = self.batches.next() else { return Ok(None) };
        Ok(Some(Chunk::Columns { batch: batch.project(&self.projection)?, origin: Origin::Process }))
    }
}
