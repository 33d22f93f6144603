//! Files on this machine.
//!
//! Comes in: planned files. Goes out: hidden, synced files beside the directories, which publication renames into place. Fails: IO, naming
//! the file; CHECKPOINT_CORRUPT where a staged file is gone or has other bytes.
//!
//! **fsyncs**: one per file and one for all names when a batch is staged; when it is published, one for each directory that gets a file, and
//! one for the parent of each new directory.

use super::format::Format;
use super::{Part, Planned, corrupt, rows_of};
use crate::checkpoint::{FailPoints, fail};
use crate::error::{Error, ErrorCode, Result};
use crate::options::file_uri;
use arrow::datatypes::SchemaRef;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes gathered before a write to the file.
const BUFFER: usize = 1 << 20;

/// Longest name of a file or directory on the file systems there are.
const LONGEST: usize = 255;

/// The directory as one query writes it. Its methods block, so they run on the blocking pool.
pub(super) struct Directory {
    root: PathBuf,
    /// The query's mark in the names of staged files.
    query: String,
    format: Arc<Format>,
    schema: SchemaRef,
    fail: FailPoints,
}

impl Directory {
    pub fn new(root: PathBuf, query: String, format: Arc<Format>, schema: SchemaRef, fail: FailPoints) -> Self {
        Self { root, query, format, schema, fail }
    }

    /// Makes the directory.
    pub fn create(&self) -> Result<()> {
        let made = !self.root.exists();
        std::fs::create_dir_all(&self.root).map_err(|cause| self.failed("create", "", cause))?;
        match self.root.parent() {
            Some(parent) if made => sync(parent).map_err(|cause| self.failed("create", "", cause)),
            _ => Ok(()),
        }
    }

    /// Writes the files under hidden names.
    pub fn stage(&self, planned: Vec<Planned>) -> Result<Vec<Part>> {
        let long = |name: &str| name.split('/').any(|part| part.len() > LONGEST);
        if let Some(planned) = planned.iter().find(|planned| long(&planned.name)) {
            return Err(Error::new(
                ErrorCode::Io,
                format!(
                    "a value of a partition column is too long for the name of a directory ({LONGEST} bytes): {}; partition by a shorter \
                     column, such as a prefix or a hash of it",
                    planned.name
                ),
            ));
        }
        let mut parts = Vec::with_capacity(planned.len());
        for planned in planned {
            parts.extend(self.write(&planned)?);
        }
        // The checkpoint will say that the files are there, so their names must be as durable as their bytes.
        self.sync_directory("")?;
        Ok(parts)
    }

    /// The hidden file of a planned one; none when it has no bytes.
    fn write(&self, planned: &Planned) -> Result<Option<Part>> {
        let staged = self.staged_name(&planned.name);
        let path = self.root.join(&staged);
        let failed = |cause| self.failed("write", &staged, cause);
        let file = File::create(&path).map_err(failed)?;
        let hashing = Hashing { inner: io::BufWriter::with_capacity(BUFFER, file), hash: Sha256::new(), bytes: 0 };
        let hashing = self
            .format
            .write(&self.schema, &planned.rows, hashing)
            .map_err(|failure| failure.naming(&file_uri(&path)))?;
        let (bytes, sha256) = (hashing.bytes, hex(&hashing.hash.finalize()));
        let file = hashing.inner.into_inner().map_err(|error| failed(error.into_error()))?;
        if bytes == 0 {
            std::fs::remove_file(&path).map_err(failed)?;
            return Ok(None);
        }
        file.sync_all().map_err(failed)?;
        Ok(Some(Part { name: planned.name.clone(), bytes, rows: rows_of(&planned.rows), sha256, upload: None }))
    }

    /// Gives every file of a batch its name; `verify` reads them first and trusts no directory to be durable, as after a restart.
    pub fn complete(&self, batch: u64, files: &[Part], verify: bool) -> Result<()> {
        let mut changed = BTreeSet::new();
        for part in files {
            let (target, staged) = (self.root.join(&part.name), self.root.join(self.staged_name(&part.name)));
            let parent = part.name.rsplit_once('/').map_or("", |(parent, _)| parent);
            if verify {
                changed.extend(ancestors(parent));
            }
            if self.is_whole(&target, part, verify)? {
                continue;
            }
            if !self.is_whole(&staged, part, verify)? {
                return Err(self.corrupt(format!(
                    "file {} of batch {batch} ({} bytes) was staged and is there neither under that name nor as {}; \
                     restore it, or start with a new checkpoint",
                    part.name,
                    part.bytes,
                    self.staged_name(&part.name)
                )));
            }
            self.make_directory(parent, &mut changed)?;
            changed.insert(parent.to_string());
            std::fs::rename(&staged, &target).map_err(|cause| self.failed("publish", &part.name, cause))?;
            self.fail.hit(fail::FILE_PUBLISHED)?;
        }
        if !files.is_empty() {
            changed.iter().rev().try_for_each(|directory| self.sync_directory(directory))?;
        }
        Ok(())
    }

    /// Makes the directories on the way to `path`; `changed` gets those that have new entries.
    fn make_directory(&self, path: &str, changed: &mut BTreeSet<String>) -> Result<()> {
        if path.is_empty() || self.root.join(path).is_dir() {
            return Ok(());
        }
        for directory in ancestors(path).filter(|directory| !directory.is_empty()) {
            match std::fs::create_dir(self.root.join(&directory)) {
                Ok(()) => {
                    changed.insert(directory.rsplit_once('/').map_or("", |(parent, _)| parent).to_string());
                }
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(self.failed("create", &directory, cause)),
            }
        }
        Ok(())
    }

    /// Whether `path` is there with the bytes that were staged.
    ///
    /// # Errors
    /// [`ErrorCode::CheckpointCorrupt`] when it is there with other bytes.
    fn is_whole(&self, path: &Path, part: &Part, verify: bool) -> Result<bool> {
        let name = path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy();
        let failed = |cause| self.failed("read", &name, cause);
        let found = match std::fs::metadata(path) {
            Ok(metadata) => metadata.len(),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(cause) => return Err(failed(cause)),
        };
        let same = found == part.bytes && (!verify || sha256_of(path).map_err(failed)? == part.sha256);
        if same {
            return Ok(true);
        }
        Err(self.corrupt(format!(
            "{name} is not the file that was staged ({found} bytes, {} expected); restore it, or start with a new checkpoint",
            part.bytes
        )))
    }

    /// Removes what this query staged and never published, except for `keep`.
    pub fn sweep(&self, keep: &[Part]) -> Result<()> {
        let kept = keep.iter().map(|part| self.staged_name(&part.name)).collect::<Vec<_>>();
        let ours = format!(".{}.staging", self.query);
        let listed = std::fs::read_dir(&self.root).map_err(|cause| self.failed("list", "", cause))?;
        for entry in listed {
            let name = entry.map_err(|cause| self.failed("list", "", cause))?.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(".part-") && name.ends_with(&ours) && !kept.iter().any(|kept| *kept == name) {
                match std::fs::remove_file(self.root.join(name.as_ref())) {
                    Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                        return Err(self.failed("remove", &name, cause));
                    }
                    _ => tracing::debug!(file = %name, "removed a staged file of an attempt that was never published"),
                }
            }
        }
        Ok(())
    }

    /// All staged files lie in the root, so that no directory appears before its first file does.
    fn staged_name(&self, name: &str) -> String {
        let file = name.rsplit_once('/').map_or(name, |(_, file)| file);
        format!(".{file}.{}.staging", self.query)
    }

    /// A name in a directory is durable once the directory is.
    fn sync_directory(&self, path: &str) -> Result<()> {
        sync(&self.root.join(path)).map_err(|cause| self.failed("sync", path, cause))
    }

    fn failed(&self, doing: &str, name: &str, cause: io::Error) -> Error {
        let place = file_uri(&self.root.join(name));
        Error::caused_by(ErrorCode::Io, format!("cannot {doing} {place}: {cause}"), cause)
    }

    fn corrupt(&self, reason: String) -> Error {
        corrupt(&file_uri(&self.root), reason)
    }
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// `a/b/c`: the root, `a`, `a/b` and `a/b/c`.
fn ancestors(path: &str) -> impl Iterator<Item = String> + '_ {
    let ends = path.match_indices('/').map(|(at, _)| at).chain((!path.is_empty()).then_some(path.len()));
    std::iter::once(String::new()).chain(ends.filter_map(|end| path.get(..end).map(str::to_string)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// Hashes what is written through it.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(data)?;
        self.hash.update(&data[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
