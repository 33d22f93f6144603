//! Parquet files in a directory, exactly once, for every reader of the directory.
//!
//! Comes in: the rows of a batch, in append mode. Goes out: one file per batch that has rows,
//! `part-<batch>-<task>-<attempt>.parquet`. It is staged under a hidden name that readers of Parquet directories skip,
//! made durable, and renamed at publication, so that it appears whole or not at all; a rename that a crash kept from
//! happening is made up for by `settle`. Fails: other output modes, a directory that cannot be written, a staged file
//! that is gone or damaged.
//!
//! A batch is one file and so one rename: publication is atomic for readers that never heard of this engine.

use crate::error::{Error, ErrorCode, Result};
use crate::options::{OptionReader, file_uri, local_path};
use crate::sink::{OutputMode, Prepared, Settled, Sink, Writer};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

#[cfg(test)]
mod tests;

/// Bytes gathered before a write to the file.
const BUFFER: usize = 1 << 20;

/// The Parquet file sink.
pub struct ParquetSink {
    directory: PathBuf,
    compression: Compression,
    output: Option<Arc<Output>>,
}

/// The directory as one query writes it. Its methods block, so they run on the blocking pool.
struct Output {
    directory: PathBuf,
    compression: Compression,
    /// The query's mark in the names of staged files.
    query: String,
    schema: SchemaRef,
}

/// What `stage` hands to `publish` and `settle`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Payload {
    files: Vec<Part>,
}

/// A file of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    /// Name after publication.
    name: String,
    /// Length in bytes.
    bytes: u64,
    rows: u64,
    /// SHA-256 of the file, hexadecimal.
    sha256: String,
}

impl ParquetSink {
    /// A sink from the options `path` and `compression` (`snappy`, `zstd`, `none`).
    ///
    /// # Errors
    /// [`ErrorCode::InvalidOption`], [`ErrorCode::UnsupportedOperation`] for a path that is not local and for
    /// `partitionBy`.
    pub fn new(options: &mut OptionReader<'_>) -> Result<Self> {
        let directory = local_path(options.path()?)?;
        let compression = options.parsed("compression", "snappy, zstd, none or uncompressed", |text| {
            match text.to_ascii_lowercase().as_str() {
                "snappy" => Some(Compression::SNAPPY),
                "zstd" => Some(Compression::ZSTD(ZstdLevel::default())),
                "none" | "uncompressed" => Some(Compression::UNCOMPRESSED),
                _ => None,
            }
        })?;
        if options.text("partitionBy").is_some() {
            return Err(Error::new(
                ErrorCode::UnsupportedOperation,
                "the parquet sink does not write partition directories; leave partitionBy out and filter on the column",
            ));
        }
        Ok(Self { directory, compression: compression.unwrap_or(Compression::SNAPPY), output: None })
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Output) -> Result<T> + Send + 'static) -> Result<T> {
        let output = self.output.clone();
        let output = output.ok_or_else(|| Error::internal("a file sink was used before it was opened"))?;
        tokio::task::spawn_blocking(move || work(&output))
            .await
            .map_err(|cause| Error::internal(format!("writing files ended early: {cause}")))?
    }
}

impl Output {
    fn staged_name(&self, name: &str) -> String {
        format!(".{name}.{}.staging", self.query)
    }

    fn failed(&self, doing: &str, name: &str, cause: io::Error) -> Error {
        let place = file_uri(&self.directory.join(name));
        Error::caused_by(ErrorCode::Io, format!("cannot {doing} {place}: {cause}"), cause)
    }

    fn payload(&self, prepared: &Prepared) -> Result<Payload> {
        let payload: Payload = serde_json::from_value(prepared.payload.clone()).map_err(|cause| {
            self.corrupt(format!("the sink's record of batch {} cannot be read: {cause}", prepared.batch))
        })?;
        let foreign = payload.files.iter().find(|part| part.name.contains(['/', '\\']) || part.name.starts_with('.'));
        match foreign {
            Some(part) => Err(self.corrupt(format!("batch {} names '{}'", prepared.batch, part.name))),
            None => Ok(payload),
        }
    }

    fn corrupt(&self, reason: String) -> Error {
        Error::new(ErrorCode::CheckpointCorrupt, format!("{}: {reason}", file_uri(&self.directory)))
    }

    /// Gives every file of a batch its final name; `verify` reads them first, as after a restart.
    fn complete(&self, prepared: &Prepared, verify: bool) -> Result<()> {
        let payload = self.payload(prepared)?;
        for part in &payload.files {
            let target = self.directory.join(&part.name);
            let staged = self.directory.join(self.staged_name(&part.name));
            if self.is_whole(&target, part, verify)? {
                continue;
            }
            if !self.is_whole(&staged, part, verify)? {
                return Err(self.corrupt(format!(
                    "file {} of batch {} ({} bytes) was staged and is there neither under that name nor as {}; \
                     restore it, or start with a new checkpoint",
                    part.name,
                    prepared.batch,
                    part.bytes,
                    self.staged_name(&part.name)
                )));
            }
            std::fs::rename(&staged, &target).map_err(|cause| self.failed("publish", &part.name, cause))?;
        }
        if payload.files.is_empty() { Ok(()) } else { self.sync_directory() }
    }

    /// Whether `path` is there with the bytes that were staged.
    ///
    /// # Errors
    /// [`ErrorCode::CheckpointCorrupt`] when it is there with other bytes.
    fn is_whole(&self, path: &Path, part: &Part, verify: bool) -> Result<bool> {
        let failed = |cause| self.failed("read", &path.file_name().unwrap_or_default().to_string_lossy(), cause);
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
            "{} is not the file that was staged ({found} bytes, {} expected); restore it, or start with a new checkpoint",
            path.file_name().unwrap_or_default().to_string_lossy(),
            part.bytes
        )))
    }

    /// A name in a directory is durable once the directory is.
    fn sync_directory(&self) -> Result<()> {
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|cause| self.failed("sync", "", cause))
    }

    fn write(&self, name: &str, rows: &[RecordBatch]) -> Result<Part> {
        let staged = self.staged_name(name);
        let path = self.directory.join(&staged);
        let failed = |cause| self.failed("write", &staged, cause);
        let file = File::create(&path).map_err(failed)?;
        let hashing = Hashing { inner: io::BufWriter::with_capacity(BUFFER, file), hash: Sha256::new(), bytes: 0 };
        let properties = WriterProperties::builder()
            .set_compression(self.compression)
            .set_created_by(format!("tidemill version {}", env!("CARGO_PKG_VERSION")))
            .build();
        let unwritten = |cause: parquet::errors::ParquetError| {
            Error::caused_by(ErrorCode::Io, format!("cannot write {}: {cause}", file_uri(&path)), cause)
        };
        let mut writer = ArrowWriter::try_new(hashing, self.schema.clone(), Some(properties)).map_err(unwritten)?;
        for batch in rows {
            writer.write(batch).map_err(unwritten)?;
        }
        let hashing = writer.into_inner().map_err(unwritten)?;
        let (bytes, sha256) = (hashing.bytes, hex(&hashing.hash.finalize()));
        let file = hashing.inner.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        let rows = rows.iter().map(|batch| batch.num_rows() as u64).sum();
        Ok(Part { name: name.to_string(), bytes, rows, sha256 })
    }

    fn create(&self) -> Result<()> {
        let made = !self.directory.exists();
        std::fs::create_dir_all(&self.directory).map_err(|cause| self.failed("create", "", cause))?;
        match self.directory.parent() {
            Some(parent) if made => File::open(parent)
                .and_then(|parent| parent.sync_all())
                .map_err(|cause| self.failed("create", "", cause)),
            _ => Ok(()),
        }
    }

    fn stage(&self, name: &str, rows: &[RecordBatch]) -> Result<Part> {
        let part = self.write(name, rows)?;
        // The checkpoint will say that the file is there, so its name must be as durable as its bytes.
        self.sync_directory()?;
        Ok(part)
    }

    fn sweep(&self, keep: Option<&Prepared>) -> Result<()> {
        let kept = match keep {
            Some(prepared) => self.payload(prepared)?.files,
            None => Vec::new(),
        };
        let kept = kept.iter().map(|part| self.staged_name(&part.name)).collect::<Vec<_>>();
        let ours = format!(".parquet.{}.staging", self.query);
        let listed = std::fs::read_dir(&self.directory).map_err(|cause| self.failed("list", "", cause))?;
        for entry in listed {
            let name = entry.map_err(|cause| self.failed("list", "", cause))?.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(".part-") && name.ends_with(&ours) && !kept.iter().any(|kept| *kept == name) {
                match std::fs::remove_file(self.directory.join(name.as_ref())) {
                    Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                        return Err(self.failed("remove", &name, cause));
                    }
                    _ => tracing::debug!(file = %name, "removed a staged file of an attempt that was never published"),
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for ParquetSink {
    fn description(&self) -> String {
        format!("FileSink[{}]", file_uri(&self.directory))
    }

    async fn check(&mut self, mode: OutputMode, _schema: &SchemaRef) -> Result<()> {
        if mode != OutputMode::Append {
            return Err(Error::new(
                ErrorCode::OutputModeUnsupportedSink,
                format!(
                    "the parquet sink does not support the output mode {}: a file cannot take rows back; use append",
                    mode.name()
                ),
            ));
        }
        match std::fs::metadata(&self.directory) {
            Ok(found) if !found.is_dir() => Err(Error::new(
                ErrorCode::Io,
                format!("the parquet sink's path {} is a file, not a directory", self.directory.display()),
            )),
            _ => Ok(()),
        }
    }

    async fn open(&mut self, writer: &Writer) -> Result<()> {
        self.check(writer.mode, &writer.schema).await?;
        self.output = Some(Arc::new(Output {
            directory: self.directory.clone(),
            compression: self.compression,
            query: short(writer.query_id),
            schema: writer.schema.clone(),
        }));
        self.blocking(Output::create).await
    }

    async fn stage(&mut self, batch: u64, attempt: Uuid, rows: &[RecordBatch]) -> Result<serde_json::Value> {
        let mut files = Vec::new();
        if rows.iter().any(|rows| rows.num_rows() > 0) {
            let name = format!("part-{batch:05}-0-{}.parquet", short(attempt));
            let rows = rows.to_vec();
            files.push(self.blocking(move |output| output.stage(&name, &rows)).await?);
        }
        serde_json::to_value(Payload { files })
            .map_err(|cause| Error::internal(format!("a list of files could not be written as JSON: {cause}")))
    }

    async fn publish(&mut self, prepared: &Prepared) -> Result<()> {
        let prepared = prepared.clone();
        self.blocking(move |output| output.complete(&prepared, false)).await
    }

    async fn settle(&mut self, prepared: &Prepared) -> Result<Settled> {
        let prepared = prepared.clone();
        self.blocking(move |output| output.complete(&prepared, true)).await?;
        Ok(Settled::Published)
    }

    async fn sweep(&mut self, keep: Option<&Prepared>) -> Result<()> {
        let keep = keep.cloned();
        self.blocking(move |output| output.sweep(keep.as_ref())).await
    }
}

/// The first eight hexadecimal digits.
fn short(id: Uuid) -> String {
    let mut text = id.simple().to_string();
    text.truncate(8);
    text
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
