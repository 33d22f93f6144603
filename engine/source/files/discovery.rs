//! Which files there are, and which of them a batch takes.
//!
//! Comes in: a path, the limits of the user. Goes out: files in reading order, cut to a batch. Fails: a path that does
//! not exist, a logged file that is no longer what it was.

use super::reader::FileReader;
use crate::error::{Error, ErrorCode, Result};
use crate::options::file_uri;
use crate::source::Admission;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Handle;

/// Endings of compressed files, which cannot be cut at line ends.
const COMPRESSED: &[&str] = &["gz", "gzip", "zst", "zstd", "bz2", "xz", "lz4", "snappy", "deflate", "zip"];

/// A file as it was when it was discovered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileEntry {
    /// `file:///directory/name`.
    pub path: String,
    /// Length in bytes.
    pub size: u64,
    /// Modification time in milliseconds since the epoch.
    pub modified_ms: i64,
}

/// What a batch may take, and in which order.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// `maxFilesPerTrigger`.
    pub files: Option<u64>,
    /// `maxBytesPerTrigger`.
    pub bytes: Option<u64>,
    /// Newest files first.
    pub latest_first: bool,
    /// How much older than the newest file read a file may be; None for any age.
    pub max_age_ms: Option<i64>,
}

impl Limits {
    /// How many of `files`, from the first, the next batch takes; at least one.
    pub fn admit(&self, files: &[FileEntry], admission: Admission) -> usize {
        if admission == Admission::Unlimited {
            return files.len();
        }
        let by_count = self.files.map_or(files.len(), |most| usize::try_from(most).unwrap_or(usize::MAX));
        let by_bytes = self.bytes.map_or(files.len(), |most| {
            let mut total = 0u64;
            let fitting = files.iter().take_while(|file| {
                total = total.saturating_add(file.size);
                total <= most
            });
            fitting.count().max(1)
        });
        by_count.min(by_bytes).min(files.len())
    }
}

/// Sorts by modification time, then path, and leaves out what is too old; also says how many that were.
pub(super) fn in_order(files: Vec<FileEntry>, limits: &Limits, newest_ms: Option<i64>) -> (Vec<FileEntry>, usize) {
    let found = files.len();
    let oldest = newest_ms.zip(limits.max_age_ms).map(|(newest, age)| newest.saturating_sub(age));
    let mut files: Vec<_> =
        files.into_iter().filter(|file| oldest.is_none_or(|oldest| file.modified_ms >= oldest)).collect();
    if limits.latest_first {
        files.sort_by(|a, b| (Reverse(a.modified_ms), &a.path).cmp(&(Reverse(b.modified_ms), &b.path)));
    } else {
        files.sort_by(|a, b| (a.modified_ms, &a.path).cmp(&(b.modified_ms, &b.path)));
    }
    let too_old = found - files.len();
    (files, too_old)
}

/// Refuses a text file whose name says that it is compressed.
pub(super) fn refuse_compressed(file: &FileEntry) -> Result<()> {
    let ending = file.path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending);
    match ending.filter(|ending| COMPRESSED.iter().any(|known| known.eq_ignore_ascii_case(ending))) {
        Some(ending) => Err(Error::new(
            ErrorCode::UnsupportedOperation,
            format!("{} is compressed (.{ending}); unpack it, or move it out of the directory", file.path),
        )),
        None => Ok(()),
    }
}

/// Where the files are.
pub(super) struct Directory {
    store: Arc<dyn ObjectStore>,
    /// `file:///directory/`, the part of every path before the name.
    base: String,
    /// The only file to read, when the path names a file.
    only: Option<String>,
}

impl Directory {
    /// Opens a directory, or the directory of a single file.
    pub fn open(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|cause| {
            let uri = file_uri(path);
            match cause.kind() {
                std::io::ErrorKind::NotFound => {
                    Error::caused_by(ErrorCode::PathNotFound, format!("Path does not exist: {uri}"), cause)
                }
                _ => Error::caused_by(ErrorCode::Io, format!("cannot read {uri}: {cause}"), cause),
            }
        })?;
        let (directory, only): (PathBuf, _) = if metadata.is_dir() {
            (path.to_path_buf(), None)
        } else {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            (path.parent().unwrap_or(path).to_path_buf(), name)
        };
        let store = LocalFileSystem::new_with_prefix(&directory).map_err(|cause| {
            Error::caused_by(ErrorCode::Io, format!("cannot read {}: {cause}", file_uri(path)), cause)
        })?;
        let text = directory.to_string_lossy();
        Ok(Self { store: Arc::new(store), base: format!("file://{}/", text.trim_end_matches('/')), only })
    }

    /// The files that are there, in no order; hidden ones and those of sub-directories left out.
    pub async fn list(&self) -> Result<Vec<FileEntry>> {
        let listed =
            self.store.list_with_delimiter(None).await.map_err(|cause| {
                Error::caused_by(ErrorCode::Io, format!("cannot list {}: {cause}", self.base), cause)
            })?;
        let entries = listed.objects.into_iter().filter_map(|object| {
            let name = object.location.filename()?;
            let wanted = match &self.only {
                Some(only) => name == only,
                None => !name.starts_with(['_', '.']),
            };
            wanted.then(|| FileEntry {
                path: format!("{}{name}", self.base),
                size: object.size,
                modified_ms: object.last_modified.timestamp_millis(),
            })
        });
        Ok(entries.collect())
    }

    /// Finds a logged file again. `whole` asks for exactly the logged size; otherwise a file may have grown.
    pub async fn find(&self, entry: FileEntry, whole: bool) -> Result<FileReader> {
        let name = entry.path.strip_prefix(&self.base).filter(|name| !name.contains('/')).ok_or_else(|| {
            Error::new(
                ErrorCode::PathNotFound,
                format!(
                    "{} belongs to a batch that is not committed, but the source now reads {}; give it its old path",
                    entry.path, self.base
                ),
            )
        })?;
        let location = ObjectPath::parse(name)
            .map_err(|cause| Error::caused_by(ErrorCode::Io, format!("cannot read {}: {cause}", entry.path), cause))?;
        let found = self.store.head(&location).await.map_err(|cause| match cause {
            object_store::Error::NotFound { .. } => Error::caused_by(
                ErrorCode::PathNotFound,
                format!(
                    "{} belongs to a batch that is not committed and has vanished; put it back to go on",
                    entry.path
                ),
                cause,
            ),
            _ => Error::caused_by(ErrorCode::Io, format!("cannot read {}: {cause}", entry.path), cause),
        })?;
        if found.size < entry.size || (whole && found.size != entry.size) {
            return Err(Error::new(
                ErrorCode::Io,
                format!(
                    "{} had {} bytes when its batch was planned and has {} now; files must not change once they are in place",
                    entry.path, entry.size, found.size
                ),
            ));
        }
        let runtime =
            Handle::try_current().map_err(|_| Error::internal("a file source must be read inside a tokio runtime"))?;
        Ok(FileReader::new(self.store.clone(), runtime, location, Arc::from(entry.path), entry.size))
    }
}
