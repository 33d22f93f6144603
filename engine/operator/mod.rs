//! What runs inside a batch: decoding and stateless work per chunk ([`scan`], [`branch`], [`expand`]), partial aggregation on the device
//! ([`codes`], [`partial`]), and the stateful operators, each behind [`StatefulOperator`].
//!
//! Comes in: rows or partial aggregates of a batch, and the batch's clock. Goes out: the operator's rows, and its state as bytes. Fails:
//! values outside their type, state files of another shape.

pub mod aggregate;
pub mod branch;
pub mod clock;
pub mod codes;
pub mod custom;
pub mod deduplicate;
pub mod executable;
pub mod expand;
mod join;
pub mod limit;
pub mod measure;
pub mod partial;
pub mod scan;
pub mod session;
pub mod sort;

use crate::error::{Error, Result};
use crate::sink::OutputMode;
use arrow::array::RecordBatch;
use bytes::Bytes;
use clock::BatchClock;
use partial::Partials;
use std::fmt;

/// A stateful operator as it is planned. Only the engine makes plans, so this is to be read, not to be implemented elsewhere.
pub trait OperatorPlan: fmt::Debug + Send + Sync {
    /// The kind that names its state in a checkpoint: `aggregate`.
    fn kind(&self) -> &'static str;

    /// What it does and how long it keeps state, for `explain`.
    fn describe(&self) -> String;

    /// Why its state grows for ever, if it does, for the warning at start.
    fn unbounded(&self) -> Option<String> {
        None
    }

    /// Whether anything is kept between batches.
    fn keeps_state(&self) -> bool {
        true
    }

    /// The operator, without state. Its expressions tell the time by `clock`.
    ///
    /// # Errors
    /// Plans that cannot run in `mode`.
    fn create(&self, mode: OutputMode, clock: &BatchClock) -> Result<Box<dyn StatefulOperator>>;
}

/// What time it is for an operator in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperatorClock {
    /// The previous batch's watermark, which decides what is late, in milliseconds.
    pub late_ms: i64,
    /// The current watermark, which decides what has ended, in milliseconds.
    pub watermark_ms: i64,
    /// The batch's logged wall clock, in milliseconds.
    pub timestamp_ms: i64,
}

/// What a batch did to the state: the numbers of Spark's `stateOperators`, and our exact count of late rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Rows in state after the batch.
    pub rows_total: u64,
    /// Rows touched.
    pub rows_updated: u64,
    /// Rows evicted.
    pub rows_removed: u64,
    /// Late rows, as Spark counts them: after partial aggregation.
    pub rows_dropped_by_watermark: u64,
    /// Late input rows; a row late for two sliding windows counts twice.
    pub late_input_rows: u64,
    /// Bytes of state, roughly.
    pub memory_bytes: u64,
}

/// An operator with state. Calls come from one thread, for each batch: `begin`, the input (`partials` or `rows`), `finish`, then
/// `metrics` and one of `delta` and `snapshot`. After a failure of any of them the operator is thrown away.
pub trait StatefulOperator: Send {
    /// Spark's name of the operator in progress: `stateStoreSave`.
    fn name(&self) -> &'static str;

    /// Starts a batch.
    fn begin(&mut self, clock: OperatorClock);

    /// Whether partial aggregates must come in the order of the input: by branch, then by chunk.
    fn partials_in_order(&self) -> bool {
        false
    }

    /// Takes a chunk's partial aggregates, in any order unless [`StatefulOperator::partials_in_order`].
    ///
    /// # Errors
    /// Values outside their type.
    fn partials(&mut self, _partials: &Partials) -> Result<()> {
        Err(Error::internal(format!("{} does not take partial aggregates", self.name())))
    }

    /// Takes rows of an input, in the order of that input.
    ///
    /// # Errors
    /// Values that the operator cannot hold.
    fn rows(&mut self, _port: usize, _rows: &RecordBatch) -> Result<()> {
        Err(Error::internal(format!("{} does not take rows", self.name())))
    }

    /// Ends a batch: the rows that the output mode wants, after which what has ended is gone from the state.
    ///
    /// # Errors
    /// Values outside their type.
    fn finish(&mut self) -> Result<Vec<RecordBatch>>;

    /// The batch's numbers, complete after [`StatefulOperator::finish`].
    fn metrics(&self) -> Metrics;

    /// Whether a batch without input could emit or evict anything at `now_ms`, the watermark having `moved` or not.
    fn wants_empty_batch(&self, moved: bool, now_ms: i64) -> bool;

    /// The watermark of the operator's rows when that of its input is `input_ms`.
    fn output_watermark_ms(&self, input_ms: i64) -> i64 {
        input_ms
    }

    /// The state's change in this batch, with its number of rows.
    ///
    /// # Errors
    /// State that does not encode.
    fn delta(&self) -> Result<(Bytes, u64)>;

    /// The whole state, with its number of rows.
    ///
    /// # Errors
    /// State that does not encode.
    fn snapshot(&self) -> Result<(Bytes, u64)>;

    /// Applies a state file: a snapshot, which replaces everything, or a delta.
    ///
    /// # Errors
    /// `CheckpointCorrupt` where the file is not this operator's.
    fn restore(&mut self, bytes: &[u8], snapshot: bool) -> Result<()>;
}
