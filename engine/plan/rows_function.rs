//! Functions of the user's own from whole relations to a relation: what `mapInPandas` and the like run.
//!
//! Comes in: the rows of relations: all of a table's, or those of one micro-batch. Goes out: rows. Fails: what the function says.

use crate::error::Result;
use crate::operator::clock::BatchClock;
use crate::operator::{Metrics, OperatorClock, OperatorPlan, StatefulOperator};
use crate::sink::OutputMode;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// A function from the rows of relations to rows. It keeps nothing between calls: of a stream, it is called with the rows of each batch.
pub trait RowsFunction: fmt::Debug + Send + Sync {
    /// Spark's name of the operation: `MapInPandas`.
    fn operation(&self) -> &'static str;

    /// The function's name.
    fn name(&self) -> &str;

    /// The rows that the function makes of the rows of each input, some of which there are. It may wait for another process.
    ///
    /// # Errors
    /// What the function says.
    fn call(&self, inputs: &[Vec<RecordBatch>]) -> Result<Vec<RecordBatch>>;
}

/// Calls the function, where there is a row.
pub(crate) fn call(function: &dyn RowsFunction, inputs: &[Vec<RecordBatch>]) -> Result<Vec<RecordBatch>> {
    match inputs.iter().flatten().any(|batch| batch.num_rows() > 0) {
        true => function.call(inputs),
        false => Ok(vec![]),
    }
}

/// A function over the rows of each batch of a stream.
#[derive(Debug, Clone)]
pub(crate) struct RowsPlan {
    pub function: Arc<dyn RowsFunction>,
    /// How many relations it reads.
    pub inputs: usize,
    /// Columns of its rows.
    pub schema: SchemaRef,
}

impl OperatorPlan for RowsPlan {
    fn kind(&self) -> &'static str {
        "map"
    }

    fn describe(&self) -> String {
        format!("{} {} over the rows of each batch", self.function.operation(), self.function.name())
    }

    fn keeps_state(&self) -> bool {
        false
    }

    fn create(&self, _mode: OutputMode, _clock: &BatchClock) -> Result<Box<dyn StatefulOperator>> {
        Ok(Box::new(Rows { plan: self.clone(), rows: vec![vec![]; self.inputs] }))
    }
}

struct Rows {
    plan: RowsPlan,
    rows: Vec<Vec<RecordBatch>>,
}

impl StatefulOperator for Rows {
    fn name(&self) -> &'static str {
        self.plan.function.operation()
    }

    fn begin(&mut self, _clock: OperatorClock) {
        self.rows.iter_mut().for_each(Vec::clear);
    }

    fn rows(&mut self, port: usize, rows: &RecordBatch) -> Result<()> {
        self.rows.get_mut(port).into_iter().for_each(|of| of.push(rows.clone()));
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<RecordBatch>> {
        let mut made = call(&*self.plan.function, &self.rows)?;
        self.rows.iter_mut().for_each(Vec::clear);
        if made.is_empty() {
            made.push(RecordBatch::new_empty(self.plan.schema.clone()));
        }
        Ok(made)
    }

    fn metrics(&self) -> Metrics {
        Metrics::default()
    }

    fn wants_empty_batch(&self, _moved: bool, _now_ms: i64) -> bool {
        false
    }

    fn delta(&self) -> Result<(Bytes, u64)> {
        Ok((Bytes::new(), 0))
    }

    fn snapshot(&self) -> Result<(Bytes, u64)> {
        Ok((Bytes::new(), 0))
    }

    fn restore(&mut self, _bytes: &[u8], _snapshot: bool) -> Result<()> {
        Ok(())
    }
}
