//! Numbers in a row, made as they are read.
//!
//! Comes in: the first, how many, and the step between them. Goes out: a table of one column. Fails: nothing.

use super::provider::SourceProvider;
use super::{Admission, Chunk, Chunks, Offset, Origin, Proposal, ReadRequest, Source};
use crate::error::Result;
use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use serde_json::json;
use std::sync::Arc;

/// Rows of a chunk: workers share them, and none is large.
const CHUNK: i64 = 1 << 16;

/// A table of `rows` numbers from `start`, `step` apart; offsets count the rows.
#[derive(Debug, Clone)]
pub struct Range {
    schema: SchemaRef,
    start: i64,
    step: i64,
    rows: i64,
}

impl Range {
    /// The table, whose one column of longs `schema` names.
    pub fn new(schema: SchemaRef, start: i64, step: i64, rows: i64) -> Self {
        Self { schema, start, step, rows }
    }
}

impl SourceProvider for Range {
    fn describe(&self) -> String {
        format!("Range[{} rows from {}, step {}]", self.rows, self.start, self.step)
    }

    fn create(&self) -> Result<Box<dyn Source>> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Source for Range {
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
        let end = json!(self.rows);
        Ok(Proposal { latest: end.clone(), end })
    }

    async fn freeze(&mut self) -> Result<()> {
        Ok(())
    }

    async fn read(&mut self, start: &Offset, end: &Offset, request: &ReadRequest) -> Result<Box<dyn Chunks>> {
        let at = |offset: &Offset| offset.as_i64().unwrap_or(0);
        Ok(Box::new(Numbers {
            range: self.clone(),
            next: at(start),
            end: at(end),
            projection: request.projection.clone(),
        }))
    }
}

struct Numbers {
    range: Range,
    next: i64,
    end: i64,
    projection: Vec<usize>,
}

impl Chunks for Numbers {
    fn next(&mut self) -> Result<Option<Chunk>> {
        if self.next >= self.end {
            return Ok(None);
        }
        let last = self.end.min(self.next.saturating_add(CHUNK));
        let Range { schema, start, step, .. } = &self.range;
        // The last number fits, and so does every one before it.
        let number = |row: i64| start.wrapping_add(row.wrapping_mul(*step));
        let numbers = Int64Array::from_iter_values((self.next..last).map(number));
        self.next = last;
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(numbers)])?;
        Ok(Some(Chunk::Columns { batch: batch.project(&self.projection)?, origin: Origin::Process }))
    }
}
