//! One file for workers, which are not async: byte ranges on demand.
//!
//! Comes in: a file of this machine or an object. Goes out: bytes. Fails: what the disk or the store says, with the file's name.

use super::limits::FileEntry;
use crate::error::{Error, ErrorCode, Result};
use crate::source::PartitionValues;
use crate::storage::{self, Location, ObjectLocation};
use bytes::{Buf, Bytes};
use object_store::ObjectStoreExt;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Handle;

/// A file of logged size, cheap to clone.
#[derive(Clone)]
pub(super) struct FileReader {
    place: Place,
    /// Full path, for origins and messages.
    pub path: Arc<str>,
    /// Bytes that count.
    pub size: u64,
    /// What its directories say.
    pub partition: Option<Arc<PartitionValues>>,
}

#[derive(Clone)]
enum Place {
    Local(Arc<PathBuf>),
    Object(ObjectLocation, Handle),
}

/// How a file that was logged is found now.
pub(super) enum Lookup {
    Found(FileReader),
    Missing(Error),
}

impl FileReader {
    /// Finds a logged file again. `whole` asks for exactly the logged size; otherwise a file may have grown.
    pub async fn find(
        location: Location,
        entry: FileEntry,
        whole: bool,
        partition: Option<Arc<PartitionValues>>,
    ) -> Result<Lookup> {
        let vanished = || {
            format!("{} belongs to a batch that is not committed and has vanished; put it back to go on", entry.path)
        };
        let (size, place) = match location {
            Location::Local(path) => match std::fs::metadata(&path) {
                Ok(metadata) => (metadata.len(), Place::Local(Arc::new(path))),
                Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                    return Ok(Lookup::Missing(Error::caused_by(ErrorCode::PathNotFound, vanished(), cause)));
                }
                Err(cause) => {
                    return Err(Error::caused_by(ErrorCode::Io, format!("cannot read {}: {cause}", entry.path), cause));
                }
            },
            Location::Object(object) => {
                let runtime = Handle::try_current()
                    .map_err(|_| Error::internal("a file source must be read inside a tokio runtime"))?;
                match object.head().await? {
                    Some(found) => (found.size, Place::Object(object, runtime)),
                    None => return Ok(Lookup::Missing(Error::new(ErrorCode::PathNotFound, vanished()))),
                }
            }
        };
        if size < entry.size || (whole && size != entry.size) {
            return Err(Error::new(
                ErrorCode::Io,
                format!(
                    "{} had {} bytes when its batch was planned and has {size} now; files must not change once they are in place",
                    entry.path, entry.size
                ),
            ));
        }
        Ok(Lookup::Found(Self { place, path: Arc::from(entry.path), size: entry.size, partition }))
    }

    /// The bytes of `range`, which must lie in the file. Blocks the calling thread.
    pub fn bytes(&self, range: Range<u64>) -> Result<Bytes> {
        let mut read = self.ranges(std::slice::from_ref(&range))?;
        read.pop().ok_or_else(|| Error::internal("an object store gave no bytes for a range"))
    }

    /// Bytes that are fetched at a time when the file is read from front to back.
    pub fn step(&self) -> u64 {
        match self.place {
            Place::Local(_) => 256 << 10,
            // A request costs some ten milliseconds, in which a connection carries about a megabyte.
            Place::Object(..) => 8 << 20,
        }
    }

    /// The bytes of several ranges. Blocks the calling thread.
    pub fn ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let read = match &self.place {
            Place::Local(path) => local_ranges(path, ranges).map_err(|cause| {
                Error::caused_by(ErrorCode::Io, format!("cannot read {}: {cause}", self.path), cause)
            })?,
            Place::Object(object, runtime) => {
                // The store's timers and connections belong to the runtime; only the waiting happens on this thread.
                let _inside = runtime.enter();
                futures::executor::block_on(async {
                    match ranges {
                        [only] => object.store.get_range(&object.path, only.clone()).await.map(|bytes| vec![bytes]),
                        several => object.store.get_ranges(&object.path, several).await,
                    }
                })
                .map_err(|cause| storage::failure(&self.path, "read", cause))?
            }
        };
        let complete = ranges.iter().zip(&read).all(|(range, bytes)| bytes.len() as u64 == range.end - range.start);
        if !complete || read.len() != ranges.len() {
            return Err(Error::new(ErrorCode::Io, format!("{} became shorter while it was read", self.path)));
        }
        Ok(read)
    }
}

fn local_ranges(path: &PathBuf, ranges: &[Range<u64>]) -> std::io::Result<Vec<Bytes>> {
    let mut file = File::open(path)?;
    let read = ranges.iter().map(|range| {
        let length = range.end.saturating_sub(range.start);
        file.seek(SeekFrom::Start(range.start))?;
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(usize::MAX));
        file.by_ref().take(length).read_to_end(&mut bytes)?;
        Ok(Bytes::from(bytes))
    });
    read.collect()
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
