//! Files of a directory as a stream: `json`, `csv`, `text` (as undecoded lines) and `parquet` (as columns).
//!
//! Comes in: a directory (or one file), a schema, Spark's options. Goes out: for every batch the list of its files, kept
//! in the source's log as entry N before offset `{"logOffset":N}` is given out, so that a replay reads the same files.
//! A file is known by its path and read once for ever; it must be complete when it appears (write it elsewhere, or under
//! a name that starts with `_` or `.`, and rename it). A file that grows later is read up to the size that was logged.
//! Fails: a path that does not exist, a file that vanished or shrank before its batch was committed, a compressed text
//! file, a log that does not hold what the checkpoint asks for.

mod discovery;
mod lines;
mod parquet;
mod reader;
#[cfg(test)]
pub(crate) mod tests;

use crate::error::{Error, ErrorCode, Result};
use crate::options::{OptionReader, file_uri, local_path};
use crate::source::{Admission, Chunks, Offset, Proposal, ReadRequest, Source, SourceLog};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use discovery::{Directory, FileEntry, Limits};
use futures::{StreamExt, TryStreamExt};
use reader::FileReader;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

/// Files looked up at the same time before a batch is read.
const LOOKUPS: usize = 16;
/// Spark's default for `maxFileAge`.
const WEEK_MS: i64 = 7 * 24 * 3600 * 1000;

/// Formats of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// One JSON object per line.
    Json,
    /// Comma-separated values, one record per line.
    Csv,
    /// One string column, `value`, per line.
    Text,
    /// Apache Parquet.
    Parquet,
}

impl FileFormat {
    /// The format that a user's format name means.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Json, Self::Csv, Self::Text, Self::Parquet].into_iter().find(|f| f.name().eq_ignore_ascii_case(name))
    }

    /// The name that users write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Text => "text",
            Self::Parquet => "parquet",
        }
    }
}

/// A log entry: the files of one step of `logOffset`.
#[derive(Serialize, Deserialize)]
struct LogEntry {
    files: Vec<FileEntry>,
}

/// The file source.
pub struct FileSource {
    format: FileFormat,
    schema: SchemaRef,
    header: bool,
    by_name: bool,
    path: PathBuf,
    limits: Limits,
    /// Set by `open`.
    opened: Option<Opened>,
    /// Newest entry of the log; -1 when there is none.
    last: i64,
    /// Identities of all files ever logged. Never purged, as each file counts once for ever.
    seen: HashSet<String>,
    /// Newest modification time logged.
    newest_ms: Option<i64>,
    /// Logged entries that are not known to be committed.
    pending: BTreeMap<i64, Vec<FileEntry>>,
    /// What `freeze` found, without what has been logged since.
    frozen: Option<Vec<FileEntry>>,
    /// Files of the last listing that `maxFileAge` keeps out.
    too_old: usize,
}

struct Opened {
    directory: Directory,
    log: Arc<dyn SourceLog>,
}

impl FileSource {
    /// A source of `format` from the options `path`, `maxFilesPerTrigger`, `maxBytesPerTrigger`, `latestFirst`,
    /// `maxFileAge`, `fileNameOnly` and, for csv, `header`. The caller reads the decoder's options from the same reader
    /// and then calls [`OptionReader::finish`].
    ///
    /// # Errors
    /// [`ErrorCode::SchemaRequired`] without a schema (`text` has one of its own), [`ErrorCode::InvalidOption`],
    /// [`ErrorCode::UnsupportedOperation`] for a path that is not local.
    pub fn new(format: FileFormat, schema: Option<SchemaRef>, options: &mut OptionReader<'_>) -> Result<Self> {
        let text = || Arc::new(Schema::new(vec![Field::new("value", DataType::Utf8, true)]));
        let schema = match (format, schema) {
            (FileFormat::Text, None) => text(),
            (FileFormat::Text, Some(given))
                if given.fields().len() != 1 || *given.field(0).data_type() != DataType::Utf8 =>
            {
                return Err(Error::new(
                    ErrorCode::DatatypeMismatch,
                    "the text source gives one STRING column; leave the schema out, or give one such column",
                ));
            }
            (_, Some(given)) => given,
            (_, None) => {
                return Err(Error::new(
                    ErrorCode::SchemaRequired,
                    format!("a stream of {} files needs a schema; give it with schema(...)", format.name()),
                ));
            }
        };
        let path = local_path(options.path()?)?;
        let header = format == FileFormat::Csv && options.bool("header")?.unwrap_or(false);
        let by_name = options.bool("fileNameOnly")?.unwrap_or(false);
        let files = options.positive("maxFilesPerTrigger")?;
        let bytes = options.positive("maxBytesPerTrigger")?;
        if files.is_some() && bytes.is_some() {
            return Err(Error::new(
                ErrorCode::InvalidOption,
                format!(
                    "options 'maxFilesPerTrigger' and 'maxBytesPerTrigger' of {} exclude each other; set one of them",
                    options.owner()
                ),
            ));
        }
        let latest_first = options.bool("latestFirst")?.unwrap_or(false);
        let max_age_ms = options.duration("maxFileAge")?.map_or(WEEK_MS, |micros| micros / 1000);
        // Newest first under a limit would push everything unread past any age, so Spark ignores the age then.
        let max_age_ms = if latest_first && (files.is_some() || bytes.is_some()) { None } else { Some(max_age_ms) };
        Ok(Self {
            format,
            schema,
            header,
            by_name,
            path,
            limits: Limits { files, bytes, latest_first, max_age_ms },
            opened: None,
            last: -1,
            seen: HashSet::new(),
            newest_ms: None,
            pending: BTreeMap::new(),
            frozen: None,
            too_old: 0,
        })
    }

    /// The format that the chunks are in.
    pub fn format(&self) -> FileFormat {
        self.format
    }

    fn opened(&self) -> Result<&Opened> {
        self.opened.as_ref().ok_or_else(|| Error::internal("a file source was used before it was opened"))
    }

    fn identity(&self, entry: &FileEntry) -> String {
        let path = entry.path.as_str();
        if self.by_name { path.rsplit('/').next().unwrap_or(path).to_string() } else { path.to_string() }
    }

    fn remember(&mut self, index: i64, files: Vec<FileEntry>) {
        for file in &files {
            self.seen.insert(self.identity(file));
            self.newest_ms = self.newest_ms.max(Some(file.modified_ms));
        }
        self.last = self.last.max(index);
        self.pending.insert(index, files);
    }

    /// Files that no entry holds, in the order in which they are to be read.
    async fn unread(&mut self) -> Result<Vec<FileEntry>> {
        let listed = self.opened()?.directory.list().await?;
        let unseen = listed.into_iter().filter(|file| !self.seen.contains(&self.identity(file))).collect();
        let (fresh, too_old) = discovery::in_order(unseen, &self.limits, self.newest_ms);
        if too_old > self.too_old {
            tracing::warn!(
                source = %self.description(),
                files = too_old,
                "files are older than maxFileAge allows, counted back from the newest file read, and stay unread"
            );
        }
        self.too_old = too_old;
        if self.format != FileFormat::Parquet {
            for file in &fresh {
                discovery::refuse_compressed(file)?;
            }
        }
        Ok(fresh)
    }

    fn files_between(&self, start: &Offset, end: &Offset) -> Result<Vec<FileEntry>> {
        let mut files = Vec::new();
        for index in parse_offset(start)? + 1..=parse_offset(end)? {
            let entry = self.pending.get(&index).ok_or_else(|| {
                Error::new(
                    ErrorCode::CheckpointCorrupt,
                    format!("the log of {} has no entry {index}, which the checkpoint reads", self.description()),
                )
            })?;
            files.extend(entry.iter().cloned());
        }
        Ok(files)
    }
}

#[async_trait]
impl Source for FileSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn description(&self) -> String {
        format!("FileStreamSource[{}]", file_uri(&self.path))
    }

    async fn check(&mut self) -> Result<()> {
        Directory::open(&self.path).map(drop)
    }

    async fn open(&mut self, log: Arc<dyn SourceLog>) -> Result<()> {
        let directory = Directory::open(&self.path)?;
        for (index, bytes) in log.entries().await? {
            let corrupt = |reason: String| {
                Error::new(
                    ErrorCode::CheckpointCorrupt,
                    format!("entry {index} of the log of FileStreamSource[{}]: {reason}", file_uri(&self.path)),
                )
            };
            let entry: LogEntry = serde_json::from_slice(&bytes).map_err(|cause| corrupt(cause.to_string()))?;
            let index = i64::try_from(index).map_err(|_| corrupt("its number is too large".to_string()))?;
            if index != self.last + 1 {
                return Err(corrupt(format!("entry {} should come before it", self.last + 1)));
            }
            self.remember(index, entry.files);
        }
        self.opened = Some(Opened { directory, log });
        Ok(())
    }

    async fn initial(&mut self) -> Result<Offset> {
        // Before entry 0. Spark logs and reports no offset at all here.
        Ok(Offset::Null)
    }

    async fn propose(&mut self, start: &Offset, admission: Admission) -> Result<Proposal> {
        let from = parse_offset(start)?;
        if from > self.last {
            return Err(Error::new(
                ErrorCode::CheckpointCorrupt,
                format!(
                    "the checkpoint is at logOffset {from} of {}, whose log ends at {}",
                    self.description(),
                    self.last
                ),
            ));
        }
        // A batch starts where the one before ended, so what lies before is committed.
        self.pending.retain(|index, _| *index > from);
        // An entry past `start` was logged just before a crash and belongs to this batch.
        if self.last == from || admission == Admission::Unlimited {
            let unread = match &self.frozen {
                Some(frozen) => frozen.clone(),
                None => self.unread().await?,
            };
            let (chosen, rest) = unread.split_at(self.limits.admit(&unread, admission));
            if !chosen.is_empty() {
                let chosen = chosen.to_vec();
                let index = self.last + 1;
                let bytes = serde_json::to_vec(&LogEntry { files: chosen.clone() })
                    .map_err(|cause| Error::internal(format!("a file list could not be written as JSON: {cause}")))?;
                self.opened()?.log.put(index.unsigned_abs(), Bytes::from(bytes)).await?;
                self.remember(index, chosen);
                if let Some(frozen) = &mut self.frozen {
                    *frozen = rest.to_vec();
                }
            }
        }
        let end = if self.last < 0 { Offset::Null } else { offset(self.last) };
        Ok(Proposal { latest: end.clone(), end })
    }

    async fn freeze(&mut self) -> Result<()> {
        self.frozen = Some(self.unread().await?);
        Ok(())
    }

    async fn read(&mut self, start: &Offset, end: &Offset, request: &ReadRequest) -> Result<Box<dyn Chunks>> {
        let files = self.files_between(start, end)?;
        let directory = &self.opened()?.directory;
        let whole = self.format == FileFormat::Parquet;
        let files: Vec<FileReader> = futures::stream::iter(files)
            .map(|file| directory.find(file, whole))
            .buffered(LOOKUPS)
            .try_collect()
            .await?;
        Ok(match self.format {
            FileFormat::Parquet => Box::new(parquet::ParquetChunks::new(files, self.schema.clone(), request)?),
            _ => Box::new(lines::LineChunks::new(files, self.header, request.chunk_bytes)),
        })
    }

    async fn commit(&mut self, end: &Offset) -> Result<()> {
        let end = parse_offset(end)?;
        self.pending.retain(|index, _| *index > end);
        Ok(())
    }

    fn metrics(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut metrics = serde_json::Map::new();
        metrics.insert("filesOlderThanMaxFileAge".to_string(), self.too_old.into());
        metrics
    }
}

fn offset(index: i64) -> Offset {
    serde_json::json!({ "logOffset": index })
}

fn parse_offset(offset: &Offset) -> Result<i64> {
    if offset.is_null() {
        return Ok(-1);
    }
    offset.get("logOffset").and_then(Offset::as_i64).filter(|index| *index >= -1).ok_or_else(|| {
        Error::new(ErrorCode::CheckpointCorrupt, format!("{offset} is not an offset of the file source"))
    })
}
