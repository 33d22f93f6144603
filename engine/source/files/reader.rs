//! One file for workers, which are not async: byte ranges on demand.
//!
//! Comes in: a location in an object store. Goes out: bytes. Fails: what the store fails with, with the file's name.

use crate::error::{Error, ErrorCode, Result};
use bytes::{Buf, Bytes};
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use std::ops::Range;
use std::sync::Arc;
use tokio::runtime::Handle;

/// A file of logged size, cheap to clone.
#[derive(Clone)]
pub(super) struct FileReader {
    store: Arc<dyn ObjectStore>,
    runtime: Handle,
    location: ObjectPath,
    /// Full path, for origins and messages.
    pub path: Arc<str>,
    /// Bytes that count.
    pub size: u64,
}

impl FileReader {
    pub fn new(store: Arc<dyn ObjectStore>, runtime: Handle, location: ObjectPath, path: Arc<str>, size: u64) -> Self {
        Self { store, runtime, location, path, size }
    }

    /// The bytes of `range`, which must lie in the file. Blocks the calling thread.
    pub fn bytes(&self, range: Range<u64>) -> Result<Bytes> {
        let mut read = self.ranges(std::slice::from_ref(&range))?;
        read.pop().ok_or_else(|| Error::internal("an object store gave no bytes for a range"))
    }

    /// The bytes of several ranges; neighbours are read together. Blocks the calling thread.
    pub fn ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        // The store's timers and blocking pool belong to the runtime; only the waiting happens on this thread.
        let _inside = self.runtime.enter();
        let read = futures::executor::block_on(self.store.get_ranges(&self.location, ranges))
            .map_err(|cause| Error::caused_by(ErrorCode::Io, format!("cannot read {}: {cause}", self.path), cause))?;
        let complete = ranges.iter().zip(&read).all(|(range, bytes)| bytes.len() as u64 == range.end - range.start);
        if !complete || read.len() != ranges.len() {
            return Err(Error::new(ErrorCode::Io, format!("{} became shorter while it was read", self.path)));
        }
        Ok(read)
    }
}

/// For the footer of a Parquet file.
impl Length for FileReader {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for FileReader {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        let bytes = self.bytes(start.min(self.size)..self.size).map_err(|e| ParquetError::External(Box::new(e)))?;
        Ok(bytes.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let end = start.saturating_add(length as u64);
        if end > self.size {
            return Err(ParquetError::EOF(format!("bytes {start}..{end} of a file of {} bytes", self.size)));
        }
        self.bytes(start..end).map_err(|e| ParquetError::External(Box::new(e)))
    }
}
