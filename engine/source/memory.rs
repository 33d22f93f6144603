//! Rows that the program itself adds, for tests and embedding.
//!
//! Comes in: [`MemoryStream::add`]. Goes out: the added batches; an offset is the number of batches added so far, and
//! everything added before a micro-batch is taken together. Rows stay until every query that reads the stream has committed
//! them, so a failed micro-batch can be read again by a query that is given the same stream. Fails: rows of another schema, and a checkpoint from a
//! process that has ended, because its rows ended with it.

use crate::batch::continuous::Flow;
use crate::error::{Error, ErrorCode, Result};
use crate::source::{Admission, Chunk, Chunks, Offset, Origin, Proposal, ReadRequest, Source, SourceLog};
use crate::types::IntoSchema;
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The columns of a stream in memory: DDL text, a [`StructType`](crate::types::StructType), or an Arrow schema.
pub trait IntoStreamSchema {
    /// The Arrow schema.
    ///
    /// # Errors
    /// [`ErrorCode::ParseSyntaxError`] for DDL text that does not parse.
    fn into_stream_schema(self) -> Result<SchemaRef>;
}

impl<T: IntoSchema> IntoStreamSchema for T {
    fn into_stream_schema(self) -> Result<SchemaRef> {
        Ok(self.into_schema()?.to_arrow_schema())
    }
}

impl IntoStreamSchema for SchemaRef {
    fn into_stream_schema(self) -> Result<SchemaRef> {
        Ok(self)
    }
}

/// A table without end in this process; clones share it.
///
/// ```
/// use std::sync::Arc;
/// use tidemill::arrow::array::{ArrayRef, Int64Array, RecordBatch};
/// use tidemill::prelude::*;
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let session = Session::builder().config("tidemill.device", "cpu").build().await?;
/// let numbers = MemoryStream::new("n BIGINT");
/// let table = MemoryTable::new(Some("doubled"))?;
/// let doubled = numbers.frame(&session)?.select([(col("n") * 2).alias("n")])?;
/// let query = doubled.write_stream().table(&table).start().await?;
/// let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
/// numbers.add(RecordBatch::try_from_iter_with_nullable([("n", column, true)])?)?;
/// query.process_all_available().await?;
/// assert_eq!(table.concat()?.num_rows(), 3);
/// query.stop().await;
/// # Ok::<(), tidemill::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct MemoryStream {
    schema: Result<SchemaRef>,
    added: Arc<Mutex<Added>>,
}

#[derive(Default)]
struct Added {
    /// Offset of the first batch kept.
    first: u64,
    batches: VecDeque<RecordBatch>,
    /// What each open source has committed, by its number.
    readers: BTreeMap<u64, u64>,
    opened: u64,
}

impl Added {
    fn end(&self) -> u64 {
        self.first + self.batches.len() as u64
    }

    /// Takes in a source, which has committed nothing of what is here.
    fn open(&mut self) -> u64 {
        self.opened += 1;
        self.readers.insert(self.opened, self.first);
        self.opened
    }

    /// Forgets what every open source has committed.
    fn commit(&mut self, reader: Option<u64>, end: u64) {
        if let Some(committed) = reader.and_then(|reader| self.readers.get_mut(&reader)) {
            *committed = end.max(*committed);
        }
        let everywhere = self.readers.values().copied().min().unwrap_or(end);
        while self.first < everywhere && self.batches.pop_front().is_some() {
            self.first += 1;
        }
    }
}

impl MemoryStream {
    /// A stream without rows. A schema text that does not parse is reported by the first call that uses the stream.
    pub fn new(schema: impl IntoStreamSchema) -> Self {
        Self { schema: schema.into_stream_schema(), added: Arc::default() }
    }

    /// The frame over the stream's rows.
    ///
    /// # Errors
    /// A schema that does not parse.
    pub fn frame(&self, session: &crate::Session) -> Result<crate::frame::DataFrame> {
        crate::frame::DataFrame::from_memory(session, self)
    }

    /// Adds rows; returns the offset after them.
    ///
    /// # Errors
    /// [`ErrorCode::DatatypeMismatch`] when the column names or types are not the stream's, [`ErrorCode::InvalidExpression`] when a
    /// column that the stream declares as never NULL holds one; a schema that does not parse.
    pub fn add(&self, rows: RecordBatch) -> Result<u64> {
        let shape = |schema: &SchemaRef| -> Vec<_> {
            schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
        };
        let schema = self.schema.clone()?;
        if shape(&rows.schema()) != shape(&schema) {
            return Err(Error::new(
                ErrorCode::DatatypeMismatch,
                format!("rows of {} do not fit a memory stream of {}", names(&rows.schema()), names(&schema)),
            ));
        }
        // The stream's own schema: nullability and metadata of the given one do not matter.
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(schema, rows.columns().to_vec(), &options)?;
        let mut added = self.added.lock();
        added.batches.push_back(rows);
        Ok(added.end())
    }

    /// A source over this stream.
    ///
    /// # Errors
    /// A schema that does not parse.
    pub fn source(&self) -> Result<MemorySource> {
        Ok(MemorySource { schema: self.schema.clone()?, stream: self.clone(), reader: None, frozen: None })
    }
}

fn names(schema: &SchemaRef) -> String {
    let fields = schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type()));
    format!("({})", fields.collect::<Vec<_>>().join(", "))
}

/// The source over a [`MemoryStream`].
pub struct MemorySource {
    schema: SchemaRef,
    stream: MemoryStream,
    /// Its number among the stream's readers, once it is open.
    reader: Option<u64>,
    frozen: Option<u64>,
}

impl Drop for MemorySource {
    /// A query that has ended holds back no rows.
    fn drop(&mut self) {
        if let Some(reader) = self.reader {
            self.stream.added.lock().readers.remove(&reader);
        }
    }
}

#[async_trait]
impl Source for MemorySource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn description(&self) -> String {
        let columns: Vec<_> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        format!("MemoryStream[{}]", columns.join(","))
    }

    fn begin_continuous(&mut self, _flow: Flow) -> Result<()> {
        Ok(())
    }

    async fn open(&mut self, _log: Arc<dyn SourceLog>) -> Result<()> {
        let mut added = self.stream.added.lock();
        self.reader.get_or_insert_with(|| added.open());
        Ok(())
    }

    async fn initial(&mut self) -> Result<Offset> {
        Ok(Offset::from(self.stream.added.lock().first))
    }

    async fn propose(&mut self, start: &Offset, _admission: Admission) -> Result<Proposal> {
        let start = parse_offset(start)?;
        let end = self.stream.added.lock().end();
        if start > end {
            return Err(lost(start, end));
        }
        let latest = self.frozen.map_or(end, |frozen| end.min(frozen)).max(start);
        Ok(Proposal { end: Offset::from(latest), latest: Offset::from(latest) })
    }

    async fn freeze(&mut self) -> Result<()> {
        self.frozen = Some(self.stream.added.lock().end());
        Ok(())
    }

    async fn read(&mut self, start: &Offset, end: &Offset, request: &ReadRequest) -> Result<Box<dyn Chunks>> {
        let (start, end) = (parse_offset(start)?, parse_offset(end)?);
        let added = self.stream.added.lock();
        if start < end && (start < added.first || end > added.end()) {
            return Err(lost(start, added.end()));
        }
        let skip = start.saturating_sub(added.first) as usize;
        let batches = added.batches.iter().skip(skip).take(end.saturating_sub(start) as usize);
        let batches = batches.map(|batch| batch.project(&request.projection)).collect::<Result<Vec<_>, _>>()?;
        Ok(Box::new(MemoryChunks(batches.into_iter())))
    }

    async fn commit(&mut self, end: &Offset) -> Result<()> {
        let end = parse_offset(end)?;
        self.stream.added.lock().commit(self.reader, end);
        Ok(())
    }
}

fn parse_offset(offset: &Offset) -> Result<u64> {
    offset.as_u64().ok_or_else(|| {
        Error::new(ErrorCode::CheckpointCorrupt, format!("{offset} is not an offset of the memory source"))
    })
}

fn lost(start: u64, end: u64) -> Error {
    Error::new(
        ErrorCode::UnsupportedOperation,
        format!(
            "the checkpoint reads a memory stream from offset {start}, but this stream no longer or not yet holds it \
             (it ends at {end}); rows in memory do not survive their process: start with a new checkpoint"
        ),
    )
}

struct MemoryChunks(std::vec::IntoIter<RecordBatch>);

impl Chunks for MemoryChunks {
    fn next(&mut self) -> Result<Option<Chunk>> {
        Ok(self.0.next().map(|batch| Chunk::Columns { batch, origin: Origin::Process }))
    }
}

#[cfg(test)]
mod tests;
