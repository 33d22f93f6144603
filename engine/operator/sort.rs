//! Sorting of a whole table, batch by batch: what complete mode allows above an aggregation.
//!
//! Comes in: all rows of the table. Goes out: the same in order. Fails: expressions. It keeps nothing between batches.

use super::clock::BatchClock;
use super::partial::{compile, evaluate};
use super::{Metrics, OperatorClock, OperatorPlan, StatefulOperator};
use crate::error::Result;
use crate::plan::spark_function::normalize;
use crate::sink::OutputMode;
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{SortOptions, concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use bytes::Bytes;
use datafusion::logical_expr::SortExpr;
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;

/// A sort over rows of `schema`.
#[derive(Debug, Clone)]
pub struct SortPlan {
    /// What rows are ordered by.
    pub keys: Vec<SortExpr>,
    /// Columns of the rows.
    pub schema: SchemaRef,
}

impl OperatorPlan for SortPlan {
    fn kind(&self) -> &'static str {
        "sort"
    }

    fn describe(&self) -> String {
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        format!("the table in order of [{}]", keys.join(", "))
    }

    fn keeps_state(&self) -> bool {
        false
    }

    fn create(&self, _mode: OutputMode, clock: &BatchClock) -> Result<Box<dyn StatefulOperator>> {
        let key = |key: &SortExpr| {
            let options = SortOptions { descending: !key.asc, nulls_first: key.nulls_first };
            Ok((compile(&key.expr, &self.schema, clock)?, options))
        };
        let keys = self.keys.iter().map(key).collect::<Result<_>>()?;
        Ok(Box::new(Sort { keys, schema: self.schema.clone(), rows: vec![] }))
    }
}

struct Sort {
    keys: Vec<(Arc<dyn PhysicalExpr>, SortOptions)>,
    schema: SchemaRef,
    rows: Vec<RecordBatch>,
}

impl StatefulOperator for Sort {
    fn name(&self) -> &'static str {
        "sort"
    }

    fn begin(&mut self, _clock: OperatorClock) {
        self.rows.clear();
    }

    fn rows(&mut self, _port: usize, rows: &RecordBatch) -> Result<()> {
        self.rows.push(rows.clone());
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<RecordBatch>> {
        let rows = concat_batches(&self.schema, &std::mem::take(&mut self.rows))?;
        if rows.num_rows() == 0 || self.keys.is_empty() {
            return Ok(vec![rows]);
        }
        let (mut columns, mut fields) = (Vec::new(), Vec::new());
        for (key, options) in &self.keys {
            let values = normalize(&evaluate(key, &rows)?);
            fields.push(SortField::new_with_options(values.data_type().clone(), *options));
            columns.push(values);
        }
        let keys = RowConverter::new(fields)?.convert_columns(&columns)?;
        let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
        order.sort_by_key(|row| keys.row(*row as usize));
        Ok(vec![take_record_batch(&rows, &UInt32Array::from(order))?])
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
