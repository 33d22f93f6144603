//! Where rows come from: the [`Source`] contract and the sources that ship.
//!
//! Comes in: options and a start offset. Goes out: offsets to log, then the [`Chunk`]s of a logged range. A source never
//! decides what is read: it proposes an end, the runner logs it, and only then is the range read, possibly again after
//! a crash, and then it must give the same rows.

pub mod builtin;
pub mod files;
pub(crate) mod foreign;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod local;
pub mod memory;
pub mod provider;
pub mod range;
pub mod rate;
pub mod rate_micro_batch;
pub mod socket;
#[cfg(test)]
pub(crate) mod test_log;
pub mod transient;

use crate::batch::continuous::Flow;
use crate::error::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::common::ScalarValue;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A position in a source, in Spark's JSON form: `{"logOffset":3}`, `{"topic":{"0":23}}`, `7`.
pub type Offset = serde_json::Value;

/// How much of what is available a batch may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// As the source's own rate limit options say.
    Limited,
    /// Everything: `trigger(once)`.
    Unlimited,
}

/// A proposed end of the next batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// End of the next batch; equal to its start when there is nothing to read.
    pub end: Offset,
    /// The newest offset there is, for progress.
    pub latest: Offset,
}

/// What every source does; [`embedding`](crate::embedding) tells what a source of your own can rely on, with an example. Calls come from one task, in this order: `check` and `open` once; then for each batch
/// `propose`, (the runner logs the end), `read`, (the batch commits), `commit`.
/// After a crash `read` is called with a logged range again, without `propose`.
#[async_trait]
pub trait Source: Send + Sync {
    /// Columns that `read` can give, before projection.
    fn schema(&self) -> SchemaRef;

    /// Spark's description for progress: `FileStreamSource[file:/data/rides]`.
    fn description(&self) -> String;

    /// Connects and checks the options against reality, and changes nothing anywhere: the checkpoint is not open yet.
    ///
    /// # Errors
    /// Whatever makes the source unusable: a missing path or topic, refused credentials.
    async fn check(&mut self) -> Result<()> {
        Ok(())
    }

    /// Gives the source the flag that is set when the query is to stop, before anything else: a call that waits for data or for an answer
    /// from elsewhere looks at it, and then ends without having found any.
    fn stops_with(&mut self, _stop: &Arc<AtomicBool>) {}

    /// Prepares for being read as rows arrive, in ranges that are logged only after they were read (`trigger(continuous)`).
    /// Called once, before `open`.
    ///
    /// # Errors
    /// The default: a source whose ranges must be logged before they are read cannot do without.
    fn begin_continuous(&mut self, flow: Flow) -> Result<()> {
        Err(flow.refuse_source(&self.description()))
    }

    /// Takes the source's own log in the checkpoint, and reads what earlier runs left in it.
    async fn open(&mut self, _log: Arc<dyn SourceLog>) -> Result<()> {
        Ok(())
    }

    /// The offset before the first row of a fresh query (`startingOffsets` and the like). Asked once in a query's life.
    async fn initial(&mut self) -> Result<Offset>;

    /// Proposes the end of the batch that starts at `start`. Writes whatever `read` will need to find the same rows
    /// again to its log, before it returns.
    async fn propose(&mut self, start: &Offset, admission: Admission) -> Result<Proposal>;

    /// Fixes the newest offset: from now on `propose` never goes past what is available at this moment
    /// (`trigger(availableNow)`).
    async fn freeze(&mut self) -> Result<()>;

    /// The rows of `start..end`, at most `chunk_bytes` or so at a time. A query that has the stream in several places of a union asks
    /// once for each, and reads what it is given side by side.
    async fn read(&mut self, start: &Offset, end: &Offset, request: &ReadRequest) -> Result<Box<dyn Chunks>>;

    /// Everything before `end` is committed; the source may clean up.
    async fn commit(&mut self, _end: &Offset) -> Result<()> {
        Ok(())
    }

    /// Numbers for progress (`sources[].metrics`), such as lag and rows lost.
    fn metrics(&self) -> serde_json::Map<String, serde_json::Value> {
        serde_json::Map::new()
    }
}

/// What the query wants of a range.
#[derive(Debug, Clone)]
pub struct ReadRequest {
    /// Indices of the source's columns that the query reads, ascending. A source may leave the others out, and must
    /// give those asked for in this order.
    pub projection: Vec<usize>,
    /// Wanted size of a chunk in bytes.
    pub chunk_bytes: usize,
    /// Set when the query is to stop. A source that waits for data looks at it at least every half second, and then gives no
    /// more chunks; the batch is given up, and read again after the next start.
    pub stop: Arc<AtomicBool>,
}

/// The chunks of a range, in order. Several workers pull from one `Chunks` behind a lock, so `next` should hand out work
/// (a file range, a buffer of records), and leave decoding to [`Chunk`]'s consumer. It is called on a worker thread, which it may block. Every
/// worker asks until it hears of the end, so after the end the answer stays None.
pub trait Chunks: Send {
    /// The next chunk, or None at the end.
    fn next(&mut self) -> Result<Option<Chunk>>;
}

/// A piece of a source's range.
pub enum Chunk {
    /// Undecoded newline-separated records (JSON lines, CSV, text) to be decoded with the format's decoder.
    Lines(Lines),
    /// Columns, in the order of the request's projection.
    Columns { batch: RecordBatch, origin: Origin },
    /// Columns that are read when a worker calls the closure (Parquet row groups).
    Deferred(Box<dyn FnOnce() -> Result<(RecordBatch, Origin)> + Send>),
}

/// A byte range of a text file, read by the worker that decodes it.
pub struct Lines {
    /// Reads the bytes, whole records without the file's header line, and tells where in the file the first of them begins.
    pub load: Box<dyn FnOnce() -> Result<(Bytes, u64)> + Send>,
    /// Path of the file.
    pub path: Arc<str>,
    /// Columns whose values stand in the names of the file's directories, not in the file.
    pub partition: Option<Arc<PartitionValues>>,
}

/// Columns of a source that have one value throughout a file.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionValues {
    /// Index of the source's column, ascending, and its value.
    pub columns: Vec<(usize, ScalarValue)>,
}

impl PartitionValues {
    /// The value of a column of the source.
    pub fn get(&self, column: usize) -> Option<&ScalarValue> {
        self.columns.iter().find(|(index, _)| *index == column).map(|(_, value)| value)
    }
}

/// Where rows came from, so that errors and dead letters can name it.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A file and the byte offset of the chunk's range in it: its first record is the first that starts at or after
    /// `offset`. Line numbers are counted only when an error needs one.
    File { path: Arc<str>, offset: u64 },
    /// A run of Kafka records: `offsets[i]` is row i's.
    Kafka { topic: Arc<str>, partition: i32, offsets: Arc<[i64]> },
    /// Rows made in this process (memory, rate).
    Process,
}

/// A source's own durable log in the checkpoint: create-once entries, numbered by the source.
#[async_trait]
pub trait SourceLog: Send + Sync {
    /// Writes entry `index`. Writing the same bytes again is fine; other bytes under a used index are an error.
    async fn put(&self, index: u64, entry: Bytes) -> Result<()>;
    /// All entries in ascending order.
    async fn entries(&self) -> Result<Vec<(u64, Bytes)>>;
}
