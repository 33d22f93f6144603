//! Files as a stream or a table: `json`, `csv`, `text` (as undecoded records) and `parquet` (as columns).
//!
//! Comes in: directories, files and patterns, here or in an object store, a schema, Spark's options. Goes out: for every batch the list
//! of its files, kept in the source's log as entry N before offset `{"logOffset":N}` is given out, so that a replay reads the
//! same files. A file is known by its path and read once for ever; it must be complete when it appears (write it elsewhere, or
//! under a name that starts with `_` or `.`, and rename it). A file that grows later is read up to the size that was logged.
//! Fails: a path that does not exist, a file that vanished or shrank before its batch was committed, a log that does not hold
//! what the checkpoint asks for.

mod clean;
mod compression;
mod discovery;
mod glob;
mod infer;
mod limits;
mod lines;
mod parquet;
mod partitions;
mod pieces;
mod provider;
mod reader;
mod settings;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use compression::Compression;
#[cfg(feature = "connect")]
pub(crate) use infer::of_texts;
pub use provider::Files;
pub use settings::Reading;

use crate::error::{Error, ErrorCode, Result};
use crate::source::provider::Syntax;
use crate::source::{Admission, Chunks, Offset, PartitionValues, Proposal, ReadRequest, Source, SourceLog};
use crate::types::StructType;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use discovery::Roots;
use futures::{StreamExt, TryStreamExt};
use limits::FileEntry;
use lines::{Header, Layout};
use reader::{FileReader, Lookup};
use serde::{Deserialize, Serialize};
use settings::Settings;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

/// Files looked up at the same time before a batch is read.
const LOOKUPS: usize = 32;
/// Unread files below which listing again costs next to nothing.
const WORTH_REMEMBERING: usize = 1000;

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
    settings: Arc<Settings>,
    roots: Roots,
    schema: StructType,
    arrow: SchemaRef,
    /// Names of the columns that directories gave when the source was described.
    partitions: Arc<[String]>,
    /// A table's files.
    listing: Option<Arc<[FileEntry]>>,
    /// Set by `open`.
    log: Option<Arc<dyn SourceLog>>,
    /// Newest entry of the log; -1 when there is none.
    last: i64,
    /// Identities of all files ever logged, hashed. Never purged, as each file counts once for ever.
    seen: HashSet<u128>,
    /// Newest modification time logged.
    newest_ms: Option<i64>,
    /// Logged entries that are not known to be committed.
    pending: BTreeMap<i64, Vec<FileEntry>>,
    /// Newest entry that this process has seen committed.
    committed: Option<i64>,
    /// Files of committed entries that `cleanSource` has yet to remove.
    read_files: BTreeMap<i64, Vec<FileEntry>>,
    /// What `freeze` found, without what has been logged since.
    frozen: Option<Vec<FileEntry>>,
    /// Unread files of the last listing, in order.
    cached: Vec<FileEntry>,
    /// Files of the last listing that `maxFileAge` keeps out.
    too_old: usize,
}

impl FileSource {
    fn new(
        settings: Arc<Settings>,
        roots: Roots,
        schema: StructType,
        partitions: Arc<[String]>,
        listing: Option<Arc<[FileEntry]>>,
    ) -> Self {
        Self {
            settings,
            roots,
            arrow: schema.to_arrow_schema(),
            schema,
            partitions,
            listing,
            log: None,
            last: -1,
            seen: HashSet::new(),
            newest_ms: None,
            pending: BTreeMap::new(),
            committed: None,
            read_files: BTreeMap::new(),
            frozen: None,
            cached: Vec::new(),
            too_old: 0,
        }
    }

    fn log(&self) -> Result<&Arc<dyn SourceLog>> {
        self.log.as_ref().ok_or_else(|| Error::internal("a file source was used before it was opened"))
    }

    fn identity(&self, entry: &FileEntry) -> u128 {
        xxh3_128(if self.settings.by_name { entry.name() } else { &entry.path }.as_bytes())
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
        let listed = match &self.listing {
            Some(listing) => listing.to_vec(),
            None => self.roots.list().await?.into_iter().map(|found| found.entry).collect(),
        };
        let unseen = listed.into_iter().filter(|file| !self.seen.contains(&self.identity(file))).collect();
        let (fresh, too_old) = limits::in_order(unseen, &self.settings.limits, self.newest_ms);
        if too_old > self.too_old {
            tracing::warn!(
                source = %self.description(),
                files = too_old,
                "files are older than maxFileAge allows, counted back from the newest file read, and stay unread"
            );
        }
        self.too_old = too_old;
        if self.settings.syntax.is_some() {
            for file in &fresh {
                Compression::of(&file.path)?;
            }
        }
        Ok(fresh)
    }

    /// The next batch's files and what is left after them.
    async fn choose(&mut self, admission: Admission) -> Result<Vec<FileEntry>> {
        let mut unread = match (&self.frozen, admission) {
            (Some(frozen), _) => frozen.clone(),
            (None, Admission::Limited) if !self.cached.is_empty() => std::mem::take(&mut self.cached),
            (None, _) => self.unread().await?,
        };
        let rest = unread.split_off(self.settings.limits.admit(&unread, admission));
        if self.frozen.is_some() {
            self.frozen = Some(rest);
        } else {
            self.cached = self.worth_caching(rest);
        }
        Ok(unread)
    }

    /// Unread files that the next batches take without another listing: a long backlog, read oldest first.
    fn worth_caching(&self, mut rest: Vec<FileEntry>) -> Vec<FileEntry> {
        let limits = &self.settings.limits;
        let enough = limits.files.map_or(0.0, |files| files as f64 * self.settings.discard_ratio);
        if limits.latest_first || rest.len() < WORTH_REMEMBERING || (rest.len() as f64) < enough {
            return Vec::new();
        }
        rest.truncate(self.settings.cached_files);
        rest
    }

    /// What the directories of a file say; `known` keeps what those of the same directory said.
    fn partition(
        &self,
        file: &FileEntry,
        known: &mut HashMap<String, Option<Arc<PartitionValues>>>,
    ) -> Result<Option<Arc<PartitionValues>>> {
        let directory = file.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        if let Some(values) = known.get(directory) {
            return Ok(values.clone());
        }
        let directories = self.roots.directories(&file.path)?;
        let names = |name: &String| directories.columns.iter().any(|(found, _)| found.eq_ignore_ascii_case(name));
        if let Some(missing) = self.partitions.iter().find(|name| !names(name)) {
            return Err(Error::new(
                ErrorCode::ConflictingDirectoryStructures,
                format!(
                    "{} lies in no directory '{missing}=...', as the other files of its source do; move it",
                    file.path
                ),
            ));
        }
        let values = partitions::values(&directories, &self.schema, &file.path, self.settings.time_zone)?.map(Arc::new);
        known.insert(directory.to_string(), values.clone());
        Ok(values)
    }

    async fn find(&self, file: FileEntry, partition: Option<Arc<PartitionValues>>) -> Result<Option<FileReader>> {
        let whole = self.settings.syntax.is_none() || Compression::of(&file.path)?.is_some();
        match FileReader::find(self.roots.locate(&file.path)?, file, whole, partition).await? {
            Lookup::Found(reader) => Ok(Some(reader)),
            Lookup::Missing(error) if self.settings.ignore_missing => {
                tracing::warn!(%error, "a file that vanished is left out, as ignoreMissingFiles says");
                Ok(None)
            }
            Lookup::Missing(error) => Err(error),
        }
    }

    fn layout(&self) -> Layout {
        let csv = match &self.settings.syntax {
            Some(Syntax::Csv(options)) => {
                let inside = self.schema.fields.iter().map(|field| &field.name);
                let inside =
                    inside.filter(|name| **name != options.corrupt_record_column && !self.partitions.contains(name));
                let names = (!self.settings.csv.enforce_schema).then(|| inside.cloned().collect());
                Some(Arc::new((options.clone(), names)))
            }
            _ => None,
        };
        Layout {
            records: infer::records(&self.settings),
            header: Header { skip: self.settings.csv.header, csv },
            ignore_corrupt: self.settings.ignore_corrupt,
        }
    }

    /// Removes files of batches before `from`, which is a batch behind what was read last.
    async fn clean(&mut self, from: i64) {
        let later = self.read_files.split_off(&(from + 1));
        let done = std::mem::replace(&mut self.read_files, later);
        for file in done.into_values().flatten() {
            self.settings.clean.apply(&file, self.roots.locate(&file.path)).await;
        }
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
        self.arrow.clone()
    }

    fn description(&self) -> String {
        format!("FileStreamSource[{}]", self.roots.texts().join(", "))
    }

    async fn check(&mut self) -> Result<()> {
        let emptied = self.settings.clean.is_on() && !self.roots.all_local();
        if self.listing.is_some() || emptied { Ok(()) } else { self.roots.check().await }
    }

    async fn open(&mut self, log: Arc<dyn SourceLog>) -> Result<()> {
        for (index, bytes) in log.entries().await? {
            let corrupt = |reason: String| {
                Error::new(
                    ErrorCode::CheckpointCorrupt,
                    format!("entry {index} of the log of {}: {reason}", self.description()),
                )
            };
            let entry: LogEntry = serde_json::from_slice(&bytes).map_err(|cause| corrupt(cause.to_string()))?;
            let index = i64::try_from(index).map_err(|_| corrupt("its number is too large".to_string()))?;
            if index != self.last + 1 {
                return Err(corrupt(format!("entry {} should come before it", self.last + 1)));
            }
            self.remember(index, entry.files);
        }
        self.log = Some(log);
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
            let chosen = self.choose(admission).await?;
            if !chosen.is_empty() {
                let index = self.last + 1;
                // A table is read once, by this process.
                if self.listing.is_none() {
                    let bytes = serde_json::to_vec(&LogEntry { files: chosen.clone() }).map_err(|cause| {
                        Error::internal(format!("a file list could not be written as JSON: {cause}"))
                    })?;
                    self.log()?.put(index.unsigned_abs(), Bytes::from(bytes)).await?;
                }
                self.remember(index, chosen);
            }
        }
        let end = if self.last < 0 { Offset::Null } else { offset(self.last) };
        Ok(Proposal { latest: end.clone(), end })
    }

    async fn freeze(&mut self) -> Result<()> {
        self.cached = Vec::new();
        self.frozen = Some(self.unread().await?);
        Ok(())
    }

    async fn read(&mut self, start: &Offset, end: &Offset, request: &ReadRequest) -> Result<Box<dyn Chunks>> {
        let mut known = HashMap::new();
        let mut files = Vec::new();
        for file in self.files_between(start, end)? {
            let partition = self.partition(&file, &mut known)?;
            files.push((file, partition));
        }
        let this = &*self;
        let files: Vec<Option<FileReader>> = futures::stream::iter(files)
            .map(|(file, partition)| this.find(file, partition))
            .buffered(LOOKUPS)
            .try_collect()
            .await?;
        let files: Vec<FileReader> = files.into_iter().flatten().collect();
        let chunks: Box<dyn Chunks> = match self.settings.format {
            FileFormat::Parquet => {
                let schema = self.arrow.clone();
                Box::new(parquet::ParquetChunks::new(files, schema, request, self.settings.ignore_corrupt)?)
            }
            _ => Box::new(lines::LineChunks::new(files, self.layout(), request.chunk_bytes)),
        };
        // This batch is logged, so the one before it is committed for good.
        self.clean(parse_offset(start)?).await;
        Ok(chunks)
    }

    async fn commit(&mut self, end: &Offset) -> Result<()> {
        let end = parse_offset(end)?;
        let open = self.pending.split_off(&(end + 1));
        let mut done = std::mem::replace(&mut self.pending, open);
        if self.settings.clean.is_on() {
            // After a restart only the last batch's files can still be there; the ones before went with its beginning.
            let first = self.committed.map_or(end, |committed| committed + 1);
            self.read_files.append(&mut done.split_off(&first));
        }
        self.committed = Some(end);
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
