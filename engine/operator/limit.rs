//! `limit` and `offset`: of a stream the first rows that ever come; of the table that complete mode writes, those of each batch.
//!
//! Comes in: rows in order. Goes out: those between the two numbers, and how many have been counted. Fails: a state file that is
//! not a count.

use super::clock::BatchClock;
use super::{Metrics, OperatorClock, OperatorPlan, StatefulOperator};
use crate::error::{Error, ErrorCode, Result};
use crate::sink::OutputMode;
use arrow::array::RecordBatch;
use bytes::Bytes;

/// Which rows pass, counted from the first.
#[derive(Debug, Clone, Copy)]
pub struct LimitPlan {
    /// Rows passed over.
    pub skip: u64,
    /// Rows that pass after them; all if None.
    pub fetch: Option<u64>,
    /// Whether the input is a stream's table, whose rows all come in every batch of complete mode.
    pub above_aggregate: bool,
}

impl OperatorPlan for LimitPlan {
    fn kind(&self) -> &'static str {
        "limit"
    }

    fn describe(&self) -> String {
        let rows = self.fetch.map_or("all rows".to_string(), |n| format!("{n} rows"));
        match self.skip {
            0 => rows,
            skip => format!("{rows} after the first {skip}"),
        }
    }

    fn create(&self, mode: OutputMode, _clock: &BatchClock) -> Result<Box<dyn StatefulOperator>> {
        let each_batch = self.above_aggregate && mode == OutputMode::Complete;
        let metrics = Metrics::default();
        Ok(Box::new(Limit { plan: *self, each_batch, seen: 0, before: 0, passed: vec![], metrics }))
    }
}

struct Limit {
    plan: LimitPlan,
    /// Whether every batch is counted anew.
    each_batch: bool,
    /// Rows counted; no more than decide anything.
    seen: u64,
    /// That number before the batch.
    before: u64,
    passed: Vec<RecordBatch>,
    metrics: Metrics,
}

impl StatefulOperator for Limit {
    fn name(&self) -> &'static str {
        "globalLimit"
    }

    fn begin(&mut self, _clock: OperatorClock) {
        if self.each_batch {
            self.seen = 0;
        }
        self.before = self.seen;
        self.passed.clear();
        self.metrics = Metrics::default();
    }

    fn rows(&mut self, _port: usize, rows: &RecordBatch) -> Result<()> {
        let count = rows.num_rows() as u64;
        // Past the last row that passes, and past the last one skipped if there is no last row, counting is over.
        let last = self.plan.fetch.map_or(self.plan.skip, |fetch| self.plan.skip.saturating_add(fetch));
        let from = self.plan.skip.saturating_sub(self.seen).min(count);
        let to = match self.plan.fetch {
            Some(_) => last.saturating_sub(self.seen).min(count),
            None => count,
        };
        self.seen = self.seen.saturating_add(count).min(last);
        if from < to {
            self.passed.push(rows.slice(from as usize, (to - from) as usize));
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<RecordBatch>> {
        self.metrics.rows_total = u64::from(self.seen > 0);
        self.metrics.rows_updated = u64::from(self.seen != self.before);
        self.metrics.memory_bytes = 8;
        Ok(std::mem::take(&mut self.passed))
    }

    fn metrics(&self) -> Metrics {
        self.metrics
    }

    fn wants_empty_batch(&self, _moved: bool, _now_ms: i64) -> bool {
        false
    }

    fn delta(&self) -> Result<(Bytes, u64)> {
        self.snapshot()
    }

    fn snapshot(&self) -> Result<(Bytes, u64)> {
        Ok((Bytes::copy_from_slice(&self.seen.to_le_bytes()), 1))
    }

    fn restore(&mut self, bytes: &[u8], _snapshot: bool) -> Result<()> {
        let count = bytes.try_into().map_err(|_| {
            Error::new(ErrorCode::CheckpointCorrupt, format!("a limit's state is {} bytes, expected 8", bytes.len()))
        })?;
        self.seen = u64::from_le_bytes(count);
        Ok(())
    }
}
