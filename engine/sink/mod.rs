//! Where rows go: the [`Sink`] contract and the sinks that ship.
//!
//! Comes in: the output rows of a batch. Goes out: staged data that nobody can see, then one atomic publication that
//! remembers which batch and attempt it was. `settle` tells a restarted query which of the two it finds.

pub mod builtin;
pub mod console;
pub mod files;
pub mod foreach;
pub mod foreach_batch;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod memory;
pub mod noop;
pub(crate) mod staged;

use crate::batch::continuous::Flow;
use crate::error::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use staged::Staged;
use uuid::Uuid;

/// Spark's output modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputMode {
    /// A row is written once, when it can no longer change.
    Append,
    /// Rows that changed in this batch.
    Update,
    /// The whole result table.
    Complete,
}

/// Who writes: what a sink needs to name, fence and recognise its own publications.
#[derive(Debug, Clone)]
pub struct Writer {
    /// The query's id, kept in its checkpoint for ever.
    pub query_id: Uuid,
    /// This start of the query.
    pub run_id: Uuid,
    /// Fencing epoch of this start; greater than every earlier one's.
    pub epoch: u64,
    /// Output mode.
    pub mode: OutputMode,
    /// Schema of the output rows.
    pub schema: SchemaRef,
}

/// A staged batch, as it is written to the checkpoint before publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// Batch number.
    pub batch: u64,
    /// The attempt that staged it.
    pub attempt: Uuid,
    /// What the sink's `stage` returned.
    pub payload: serde_json::Value,
}

/// What `settle` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The attempt is visible to readers (`settle` may have completed the publication itself). It must not run again.
    Published,
    /// Nothing of it is visible, or the sink cannot tell. The batch runs again as a new attempt.
    Absent,
}

/// What every sink does; [`embedding`](crate::embedding) tells what a sink of your own can rely on, with an example. Calls come from one task, in this order: `check` and `open` once; if the last run left a prepared
/// batch, `settle`; then for each batch `stage`, (the runner logs the payload), `publish`, (the runner commits).
#[async_trait]
pub trait Sink: Send {
    /// Spark's description for progress: `FileSink[file:/data/out]`.
    fn description(&self) -> String;

    /// Checks options, schema and destination, and changes nothing anywhere. Called before the checkpoint is touched.
    async fn check(&mut self, _mode: OutputMode, _schema: &SchemaRef) -> Result<()> {
        Ok(())
    }

    /// Prepares for rows as they arrive (`trigger(continuous)`): `stage` and `publish` are then called several times with
    /// the same batch and attempt, each time with further rows, and `settle` may answer for all of them. Called once, before
    /// `open`.
    ///
    /// # Errors
    /// The default: a sink that publishes a batch as a whole cannot publish parts of one.
    fn begin_continuous(&mut self, flow: Flow) -> Result<()> {
        Err(flow.refuse_sink(&self.description()))
    }

    /// The rows are a table (`DataFrame::write`): one batch, number 0, after which nothing is asked any more. Called once, before `check`. A sink
    /// whose readers should find a table without rows, too, writes something for it.
    fn begin_table(&mut self) {}

    /// Connects, and fences every earlier run of the same query.
    async fn open(&mut self, writer: &Writer) -> Result<()>;

    /// Writes the rows where no reader sees them and returns what `publish` and `settle` need to find them: small, no
    /// secrets. `rows` may be empty.
    async fn stage(&mut self, batch: u64, attempt: Uuid, rows: &[RecordBatch]) -> Result<serde_json::Value>;

    /// Makes the staged rows visible at once, and remembers batch and attempt where it can.
    async fn publish(&mut self, prepared: &Prepared) -> Result<()>;

    /// After a restart: whether `prepared` is visible. A sink whose staged data outlives the process completes the
    /// publication here.
    async fn settle(&mut self, prepared: &Prepared) -> Result<Settled>;

    /// Removes what earlier attempts staged and never published, except for `keep`.
    async fn sweep(&mut self, _keep: Option<&Prepared>) -> Result<()> {
        Ok(())
    }
}
